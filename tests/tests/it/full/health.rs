//! Verdicts are the truth about the ledger, and faults are mended by the rules.

use crate::support::{applied, commit, read, rpc};
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, ClusterState, HealthChange, HealthState, Page};
use chainpool_tests::{Bed, Engine, Options, within};
use futures::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};

async fn maintained(bed: &Bed) -> Result<Cluster> {
    let cluster = bed.filled().await?.remove(0);
    bed.api
        .patch(
            &format!("/clusters/{}", cluster.id),
            json!({"maintenance_seconds": 600}),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_quorum_is_broken_although_every_port_answers() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = maintained(&bed).await?;
    let (_, bundle) = applied(&bed).await?;
    for node in ["v2", "v3"] {
        bed.engine.pause(&Engine::container(&cluster, node)).await?;
    }
    let broken = bed
        .judged(cluster.id, HealthState::Broken, &["2 of 4", "v2", "v3"])
        .await?;
    let health: Value = reqwest::get(format!("{}/health", rpc(&bundle, 0)?))
        .await?
        .json()
        .await?;
    ensure!(
        health["result"].is_object(),
        "the others' /health says OK: {health}"
    );

    let stalled = broken.height.unwrap_or(0);
    for node in ["v2", "v3"] {
        bed.engine.unpause(&Engine::container(&cluster, node)).await?;
    }
    let healed = bed
        .cluster_when(cluster.id, "healthy again", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.height.unwrap_or(0) > stalled,
        "healthy at {:?} without a block above {stalled}",
        healed.height
    );

    bed.engine.pause(&Engine::container(&cluster, "v1")).await?;
    bed.judged(cluster.id, HealthState::Degraded, &["v1"]).await?;
    commit(&bundle, 0, "still", "commits").await?;
    bed.engine.unpause(&Engine::container(&cluster, "v1")).await?;
    bed.cluster_when(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    let history: Page<HealthChange> = bed.api.get(&format!("/clusters/{}/health", cluster.id)).await?;
    let states: Vec<HealthState> = history.items.iter().map(|h| h.state).collect();
    ensure!(
        states.contains(&HealthState::Broken) && states.contains(&HealthState::Degraded),
        "{states:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_of_a_free_cluster_is_started_in_place_and_offered_again() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let container = Engine::container(&cluster, "v1");
    let before = bed.engine.life(&container).await?;
    bed.engine.kill(&container).await?;
    bed.cluster_when(cluster.id, "withdrawn", |c| !c.offered).await?;
    let mended = bed
        .cluster_when(cluster.id, "offered again", |c| c.offered)
        .await?;
    let after = bed.engine.life(&container).await?;
    ensure!(
        mended.generation == 1 && before.0 == after.0 && before.1 != after.1,
        "not in place: {before:?} {after:?} {mended:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_cluster_without_quorum_is_made_again() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    // Removed by hand, so that starting in place takes longer than noticing.
    let names = ["v0", "v1", "v2"].map(|node| Engine::container(&cluster, node));
    join_all(names.iter().map(|name| bed.engine.remove(name)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    bed.cluster_when(cluster.id, "withdrawn", |c| !c.offered).await?;
    let fresh = bed
        .cluster_when(cluster.id, "offered again", |c| c.offered)
        .await?;
    ensure!(fresh.health.state == HealthState::Healthy, "{fresh:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_cluster_is_mended_in_place_with_its_data() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.engine.kill(&Engine::container(&cluster, "v0")).await?;
    bed.engine.pause(&Engine::container(&cluster, "v1")).await?;
    bed.engine.remove(&Engine::container(&cluster, "v2")).await?;
    let mended = bed
        .cluster_when(cluster.id, "bad", |c| c.health.state != HealthState::Healthy)
        .await?;
    ensure!(mended.state == ClusterState::Ready, "{mended:?}");
    let healed = bed
        .cluster_when(cluster.id, "healthy again", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.generation == 1 && healed.lease_id.is_some(),
        "an applied cluster was wiped: {healed:?}"
    );
    within(Duration::from_secs(30), "the data", async || {
        Ok(
            if read(&bundle, 2, "kept").await.ok().flatten().as_deref() == Some("yes") {
                Ok(())
            } else {
                Err("not there".to_owned())
            },
        )
    })
    .await?;
    commit(&bundle, 3, "after", "repair").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_validator_keeps_its_consensus_state() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "a", "b").await?;
    let state = async || -> Result<i64> {
        let bytes = bed
            .engine
            .file(&Engine::container(&cluster, "v1"), "priv_validator_state.json")
            .await?;
        let state: Value = serde_json::from_slice(&bytes)?;
        Ok(state["height"].as_str().unwrap_or_default().parse()?)
    };
    let before = state().await?;
    ensure!(before > 0, "a validator that signed has a height");
    bed.engine.remove(&Engine::container(&cluster, "v1")).await?;
    bed.cluster_when(cluster.id, "bad", |c| c.health.state == HealthState::Degraded)
        .await?;
    bed.cluster_when(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    let after = state().await?;
    ensure!(
        after >= before,
        "the state file was written again: {before} then {after}"
    );
    bed.end().await
}

/// A node of this program takes 900 connections at each of its ports, and closes those that ask for nothing after a while.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_use_up_a_ledgers_connections_do_not_get_it_judged_broken_or_made_again() -> Result<()> {
    const CLIENTS: usize = 1_100;
    // An idle ledger makes one every 11 s: longer than a free cluster may be degraded.
    const BLOCKS: u64 = 3;
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    ensure!(
        maximum.is_none_or(|most| most > 2 * 1_100),
        "this test needs 2200 open files, the limit is {maximum:?}"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    let bed = Bed::start(Options {
        capacity: 1,
        validators: 1,
        autofill: true,
        ..Options::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let detailed = bed.cluster(cluster.id).await?;
    let endpoints = detailed.nodes.iter().flat_map(|node| &node.endpoints);
    let address = endpoints
        .filter(|endpoint| endpoint.name == "rpc")
        .map(|endpoint| endpoint.address.clone())
        .next();
    let address = address.context("the node has a port for users")?;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let address = address.clone();
        clients.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await {
                    let _ends_when_closed = stream.read(&mut [0]).await;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let closed = bed
        .judged(
            cluster.id,
            HealthState::Degraded,
            &["it commits", "port for users", "v0"],
        )
        .await?;
    ensure!(!closed.offered, "{closed:?}");
    let since = closed.height.unwrap_or_default();
    let later = bed
        .cluster_when(cluster.id, "blocks later", |c| {
            c.height.unwrap_or_default() > since + BLOCKS
        })
        .await?;
    ensure!(
        later.generation == 1 && later.state == ClusterState::Ready,
        "{later:?}"
    );
    clients.shutdown().await;
    let again = bed
        .cluster_when(cluster.id, "offered again", |c| c.offered)
        .await?;
    ensure!(again.generation == 1, "{again:?}");
    let history: Page<HealthChange> = bed.api.get(&format!("/clusters/{}/health", cluster.id)).await?;
    ensure!(
        history
            .items
            .iter()
            .all(|change| change.state != HealthState::Broken),
        "{history:?}"
    );
    bed.end().await
}
