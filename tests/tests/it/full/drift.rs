//! What somebody does to the engine by hand is found, told in its own words, and put right where that is possible.

use crate::support::{applied, commit, read, read_back};
use anyhow::{Context, Result, ensure};
use bollard::{
    models::{NetworkDisconnectRequest, VolumeCreateRequest},
    query_parameters::{RemoveVolumeOptions, RenameContainerOptionsBuilder},
};
use chainpool_api::{
    Cluster, ClusterState, HealthState, Operation, OperationKind, OperationState, Page, Status, Timestamp,
};
use chainpool_tests::{Bed, Engine, Options, within};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

const LONG: Duration = Duration::from_mins(2);

/// The containers of a node, by its labels: name and labels.
async fn of_node(bed: &Bed, cluster: &Cluster, node: &str) -> Result<Vec<String>> {
    let all = bed.engine.containers_of(cluster.id).await?.into_iter();
    Ok(all
        .filter(|(_, labels)| labels.get("chainpool.node").is_some_and(|n| n == node))
        .map(|(name, _)| name)
        .collect())
}

async fn rename(bed: &Bed, from: &str, to: &str) -> Result<()> {
    let options = RenameContainerOptionsBuilder::new().name(to).build();
    Ok(bed.engine.docker().rename_container(from, options).await?)
}

/// Removes a node's container and its volumes by hand, and says which volumes these were.
async fn lose(bed: &Bed, cluster: &Cluster, node: &str) -> Result<Vec<String>> {
    for container in of_node(bed, cluster, node).await? {
        bed.engine.remove(&container).await?;
    }
    let own = format!("{}-", Engine::container(cluster, node));
    let volumes: Vec<String> = bed
        .engine
        .volumes_of(cluster.id)
        .await?
        .into_iter()
        .filter(|name| name.starts_with(&own))
        .collect();
    for volume in &volumes {
        bed.engine
            .docker()
            .remove_volume(volume, None::<RemoveVolumeOptions>)
            .await?;
    }
    Ok(volumes)
}

async fn operation(bed: &Bed, path: &str) -> Result<Operation> {
    bed.ended(&bed.api.ask(path).await?).await
}

async fn repairs(bed: &Bed, cluster: &Cluster) -> Result<usize> {
    let page: Page<Operation> = bed.api.get("/operations?limit=500&kind=cluster_repair").await?;
    Ok(page
        .items
        .iter()
        .filter(|o| o.cluster_id == Some(cluster.id) && o.kind == OperationKind::ClusterRepair)
        .count())
}

/// Somebody holds a cluster of so many validators that makes blocks for transactions alone.
async fn held(validators: u32) -> Result<(Bed, Cluster, chainpool_api::Bundle)> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators,
        ..Options::default()
    })
    .await?;
    let create = json!({"name": "one", "parameters": {"validators": validators, "empty_blocks": false}});
    bed.done(&bed.api.post("/clusters", create).await?).await?;
    let (_, bundle) = applied(&bed).await?;
    let cluster = bed.cluster("one").await?;
    Ok((bed, cluster, bundle))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_node_is_stopped_started_and_repaired_and_never_made_twice() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    let (own, other) = (
        Engine::container(&cluster, "v2"),
        format!("by-hand-{}", cluster.id.simple()),
    );
    let id = bed.engine.life(&own).await?.0;
    rename(&bed, &own, &other).await?;
    bed.done(
        &bed.api
            .ask(&format!("/clusters/{}/stop?node=v2", cluster.id))
            .await?,
    )
    .await?;
    bed.judged(cluster.id, HealthState::Degraded, &["v2", "stopped on purpose"])
        .await?;
    ensure!(
        of_node(&bed, &cluster, "v2").await?.len() == 1,
        "it was made twice"
    );
    bed.done(
        &bed.api
            .ask(&format!("/clusters/{}/start?node=v2", cluster.id))
            .await?,
    )
    .await?;
    bed.cluster_when(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    ensure!(
        bed.engine.life(&own).await?.0 == id,
        "it has not its name back, or is another container"
    );

    rename(&bed, &own, &other).await?;
    bed.engine.kill(&other).await?;
    bed.cluster_when(cluster.id, "bad", |c| c.health.state == HealthState::Degraded)
        .await?;
    bed.cluster_when(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    ensure!(
        of_node(&bed, &cluster, "v2").await? == [own.clone()] && bed.engine.life(&own).await?.0 == id,
        "it was made twice"
    );
    commit(&bundle, 0, "after", "renames").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_network_is_repaired_once_and_in_place() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    let container = Engine::container(&cluster, "v2");
    let (life, before) = (bed.engine.life(&container).await?, repairs(&bed, &cluster).await?);
    let request = NetworkDisconnectRequest {
        container: container.clone(),
        force: Some(true),
    };
    bed.engine
        .docker()
        .disconnect_network(&Engine::network(&cluster), request)
        .await?;
    bed.judged(cluster.id, HealthState::Degraded, &["v2", "without its network"])
        .await?;
    bed.cluster_when(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    ensure!(bed.engine.life(&container).await? == life, "it was started anew");
    ensure!(
        repairs(&bed, &cluster).await? == before + 1,
        "it took more than one repair"
    );
    commit(&bundle, 2, "through", "v2").await?;
    read_back(&bundle, 0, "through", "v2").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_volumes_are_gone_is_started_under_no_holder() -> Result<()> {
    let (bed, cluster, bundle) = held(4).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.done(&bed.api.ask("/clusters/one/stop").await?).await?;
    for node in ["v0", "v1", "v2", "v3"] {
        ensure!(lose(&bed, &cluster, node).await?.len() == 1);
    }
    let start = operation(&bed, "/clusters/one/start").await?;
    let words = [
        "v0, v1, v2, v3",
        "data volumes",
        "begin again from nothing",
        "release or reset",
    ];
    let error = start.error.clone().unwrap_or_default();
    ensure!(
        start.state == OperationState::Failed && words.iter().all(|word| error.contains(word)),
        "{start:?}"
    );
    let broken = bed.judged(cluster.id, HealthState::Broken, &words).await?;
    ensure!(
        broken.state == ClusterState::Ready && broken.lease_id.is_some(),
        "{broken:?}"
    );
    let status: Status = bed.api.get("/status").await?;
    ensure!(
        !status.ok && status.problems.iter().any(|p| p.contains("data volumes")),
        "{:?}",
        status.problems
    );

    // The watchdog, too, leaves it, also when Chainpool was away.
    let bed = Bed::open(
        bed.stop().await?,
        Options {
            capacity: 1,
            ..Options::default()
        },
    )
    .await?;
    let checked = Timestamp::now();
    let seen = bed
        .cluster_when(cluster.id, "looked at", |c| c.health.checked_at > Some(checked))
        .await?;
    ensure!(
        seen.health.state == HealthState::Broken && seen.generation == 1,
        "{seen:?}"
    );
    ensure!(
        bed.engine.volumes_of(cluster.id).await?.is_empty() && repairs(&bed, &cluster).await? == 0,
        "something was made"
    );
    let lease = bed
        .api
        .get(&format!("/leases/{}", seen.lease_id.context("it is held")?))
        .await?;
    bed.released(&lease).await?;
    let fresh = bed
        .cluster_when(cluster.id, "healthy", |c| c.health.state == HealthState::Healthy)
        .await?;
    ensure!(fresh.generation == 2);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_whose_volumes_are_gone_is_told_so() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    bed.done(
        &bed.api
            .post(
                "/clusters",
                json!({"name": "one", "network_type": "fabric", "preset": "tiny"}),
            )
            .await?,
    )
    .await?;
    let _: Value = bed.api.post("/leases", json!({})).await?;
    let cluster = bed.cluster("one").await?;
    bed.done(&bed.api.ask("/clusters/one/stop").await?).await?;
    for node in &cluster.nodes {
        lose(&bed, &cluster, &node.name).await?;
    }
    let start = operation(&bed, "/clusters/one/start").await?;
    let words = [
        "orderer0",
        "data volumes",
        "begin again from nothing",
        "release or reset",
    ];
    let error = start.error.clone().unwrap_or_default();
    ensure!(
        start.state == OperationState::Failed && words.iter().all(|word| error.contains(word)),
        "{start:?}"
    );
    bed.judged(cluster.id, HealthState::Broken, &words).await?;
    ensure!(
        bed.engine.volumes_of(cluster.id).await?.is_empty(),
        "empty nodes were made"
    );
    bed.end().await
}

/// As when the disk of a virtual machine is set back, or a clone of it answers in its place: the same engine, and nothing on it.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_has_lost_all_is_not_filled_with_empty_ledgers_for_holders() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 2,
        validators: 1,
        autofill: true,
        ..Options::default()
    })
    .await?;
    let clusters = within(LONG, "two clusters", async || {
        let clusters = bed.all_offered().await?;
        Ok(if clusters.len() == 2 {
            Ok(clusters)
        } else {
            Err(format!("{} clusters", clusters.len()))
        })
    })
    .await?;
    let (lease, _) = applied(&bed).await?;
    let (held, free): (Vec<_>, Vec<_>) = clusters.into_iter().partition(|c| c.id == lease.cluster_id);
    // Its end finds all of it gone at once, as an engine finds it that comes up.
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"maintenance_seconds": 600}))
        .await?;
    for cluster in held.iter().chain(&free) {
        lose(&bed, cluster, "v0").await?;
        bed.engine
            .docker()
            .remove_network(&Engine::network(cluster))
            .await?;
    }
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"maintenance_seconds": 0}))
        .await?;
    bed.judged(held[0].id, HealthState::Broken, &["data volumes of v0 are gone"])
        .await?;
    let fresh = bed
        .cluster_when(free[0].id, "made again", |c| c.generation == 2 && c.offered)
        .await?;
    ensure!(fresh.health.state == HealthState::Healthy);
    let held = bed
        .judged(held[0].id, HealthState::Broken, &["data volumes of v0 are gone"])
        .await?;
    ensure!(
        held.generation == 1 && bed.engine.volumes_of(held.id).await?.is_empty(),
        "an empty ledger was made under a holder"
    );
    ensure!(repairs(&bed, &held).await? == 0);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_that_lost_its_volume_fetches_the_ledger_again_and_that_is_told() -> Result<()> {
    let (bed, cluster, bundle) = held(4).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.done(&bed.api.ask("/clusters/one/stop").await?).await?;
    lose(&bed, &cluster, "v2").await?;
    bed.done(&bed.api.ask("/clusters/one/start").await?).await?;
    let story = within(LONG, "what is told of v2", async || {
        let story = bed.story(cluster.id).await?;
        Ok(if story.contains("the data volume of v2 is gone") {
            Ok(story)
        } else {
            Err(story)
        })
    })
    .await?;
    ensure!(!story.contains("begin again"), "{story}");
    bed.cluster_when(cluster.id, "healthy", |c| c.health.state == HealthState::Healthy)
        .await?;
    read_back(&bundle, 2, "kept", "yes").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_has_begun_again_stays_broken_until_it_is_released() -> Result<()> {
    let (bed, cluster, bundle) = held(1).await?;
    for n in 0..4 {
        commit(&bundle, 0, "kept", &n.to_string()).await?;
    }
    let height = within(LONG, "the height", async || {
        let seen = bed.cluster("one").await?.height.unwrap_or_default();
        Ok(if seen > 4 {
            Ok(seen)
        } else {
            Err(format!("height {seen}"))
        })
    })
    .await?;
    bed.done(&bed.api.ask("/clusters/one/stop").await?).await?;
    // Another empty volume in place of the lost one: whoever looks at volumes alone finds nothing.
    let volume = bed
        .engine
        .volumes_of(cluster.id)
        .await?
        .pop()
        .context("its volume")?;
    let labels: HashMap<String, String> = bed.engine.docker().inspect_volume(&volume).await?.labels;
    lose(&bed, &cluster, "v0").await?;
    let again = VolumeCreateRequest {
        name: Some(volume),
        labels: Some(labels),
        ..VolumeCreateRequest::default()
    };
    bed.engine.docker().create_volume(again).await?;
    // What was seen is not forgotten with the process.
    let options = Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    };
    let bed = Bed::open(bed.stop().await?, options.clone()).await?;
    bed.done(&bed.api.ask("/clusters/one/start").await?).await?;
    let words = ["has begun again", "what was committed before is lost"];
    bed.judged(cluster.id, HealthState::Broken, &words).await?;
    ensure!(
        read(&bundle, 0, "kept").await?.is_none(),
        "it did not begin again"
    );

    let bed = Bed::open(bed.stop().await?, options).await?;
    for n in 0..=height {
        commit(&bundle, 0, "new", &n.to_string()).await?;
    }
    let checked = Timestamp::now();
    let seen = bed
        .cluster_when(cluster.id, "looked at", |c| c.health.checked_at > Some(checked))
        .await?;
    ensure!(
        seen.health.state == HealthState::Broken
            && words.iter().all(|word| seen.health.reason.contains(word)),
        "{seen:?}"
    );
    let lease = bed
        .api
        .get(&format!("/leases/{}", seen.lease_id.context("it is held")?))
        .await?;
    bed.released(&lease).await?;
    bed.cluster_when(cluster.id, "healthy", |c| {
        c.health.state == HealthState::Healthy && c.generation == 2
    })
    .await?;
    bed.end().await
}

/// Takes what comes to this listener, until it is aborted; whoever sends then is cut off.
fn log_server(listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut senders = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            senders.spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ledger_is_wiped_for_a_log_server_that_is_away() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = log_server(listener);
    let bed = Bed::start(Options {
        capacity: 2,
        ..Options::default()
    })
    .await?;
    let log = json!({"type": "syslog", "level": "info", "server": format!("tcp://{address}")});
    let _: Value = bed.api.patch("/hosts/h1", json!({"log": log})).await?;
    bed.done(
        &bed.api
            .post(
                "/clusters",
                json!({"name": "one", "parameters": {"validators": 4}}),
            )
            .await?,
    )
    .await?;
    let cluster = bed.all_offered().await?.remove(0);
    server.abort();
    bed.engine.kill(&Engine::container(&cluster, "v1")).await?;
    let bad = bed
        .judged(
            cluster.id,
            HealthState::Degraded,
            &["v1", "cannot be repaired now", "logging driver"],
        )
        .await?;
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "two", "parameters": {"validators": 1}}),
        )
        .await?;
    // For longer than a free one may be bad for any other reason.
    within(LONG, "a while", async || {
        let passed = Timestamp::now().millis_since(bad.health.since);
        Ok(if passed > 25_000 {
            Ok(())
        } else {
            Err(format!("{passed} ms"))
        })
    })
    .await?;
    let kept = bed.cluster(cluster.id).await?;
    ensure!(
        kept.generation == 1 && kept.state == ClusterState::Ready,
        "{kept:?}\n{}",
        bed.story(cluster.id).await?
    );

    let server = log_server(TcpListener::bind(address).await?);
    bed.done(&create).await?;
    let healed = bed
        .cluster_when(cluster.id, "offered again", |c| c.offered)
        .await?;
    ensure!(healed.generation == 1, "{}", bed.story(cluster.id).await?);
    bed.end().await?;
    server.abort();
    Ok(())
}
