//! Manual changes on the engine are detected, reported with a specific reason, and repaired where possible.

use crate::support::{applied, commit, read_back};
use anyhow::{Result, ensure};
use bollard::{models::NetworkDisconnectRequest, query_parameters::RenameContainerOptionsBuilder};
use chainpool_api::{Cluster, ClusterState, HealthState, Operation, OperationKind, Page, Timestamp};
use chainpool_tests::{Bed, Engine, Options, within};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

pub(super) const LONG: Duration = Duration::from_mins(2);

/// Returns the names of a node's containers, found by label.
pub(super) async fn containers_of_node(bed: &Bed, cluster: &Cluster, node: &str) -> Result<Vec<String>> {
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

pub(super) async fn operation(bed: &Bed, path: &str) -> Result<Operation> {
    bed.wait_ended(&bed.api.post_empty(path).await?).await
}

pub(super) async fn repairs(bed: &Bed, cluster: &Cluster) -> Result<usize> {
    let page: Page<Operation> = bed.api.get("/operations?limit=500&kind=cluster_repair").await?;
    Ok(page
        .items
        .iter()
        .filter(|o| o.cluster_id == Some(cluster.id) && o.kind == OperationKind::ClusterRepair)
        .count())
}

/// Leases a cluster of this number of validators without empty blocks.
pub(super) async fn leased(validators: u32) -> Result<(Bed, Cluster, chainpool_api::Bundle)> {
    let bed = Bed::start(Options {
        capacity: 1,
        validators,
        ..Options::default()
    })
    .await?;
    let create = json!({"name": "one", "parameters": {"validators": validators, "empty_blocks": false}});
    bed.wait_succeeded(&bed.api.post("/clusters", create).await?)
        .await?;
    let (_, bundle) = applied(&bed).await?;
    let cluster = bed.cluster("one").await?;
    Ok((bed, cluster, bundle))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_node_is_stopped_started_and_repaired_and_never_duplicated() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    let (own, other) = (
        Engine::container(&cluster, "v2"),
        format!("by-hand-{}", cluster.id.simple()),
    );
    let id = bed.engine.incarnation(&own).await?.0;
    rename(&bed, &own, &other).await?;
    bed.wait_succeeded(
        &bed.api
            .post_empty(&format!("/clusters/{}/stop?node=v2", cluster.id))
            .await?,
    )
    .await?;
    bed.wait_for_health(cluster.id, HealthState::Degraded, &["v2", "stopped on request"])
        .await?;
    ensure!(
        containers_of_node(&bed, &cluster, "v2").await?.len() == 1,
        "the node was duplicated"
    );
    bed.wait_succeeded(
        &bed.api
            .post_empty(&format!("/clusters/{}/start?node=v2", cluster.id))
            .await?,
    )
    .await?;
    bed.wait_for_cluster(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    ensure!(
        bed.engine.incarnation(&own).await?.0 == id,
        "the container did not get its name back, or was replaced"
    );

    rename(&bed, &own, &other).await?;
    bed.engine.kill(&other).await?;
    bed.wait_for_cluster(cluster.id, "bad", |c| c.health.state == HealthState::Degraded)
        .await?;
    bed.wait_for_cluster(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    ensure!(
        containers_of_node(&bed, &cluster, "v2").await? == [own.clone()]
            && bed.engine.incarnation(&own).await?.0 == id,
        "the node was duplicated"
    );
    commit(&bundle, 0, "after", "renames").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_node_is_repaired_once_and_in_place() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    let container = Engine::container(&cluster, "v2");
    let (incarnation, before) = (
        bed.engine.incarnation(&container).await?,
        repairs(&bed, &cluster).await?,
    );
    let request = NetworkDisconnectRequest {
        container: container.clone(),
        force: Some(true),
    };
    bed.engine
        .docker()
        .disconnect_network(&Engine::network(&cluster), request)
        .await?;
    bed.wait_for_health(cluster.id, HealthState::Degraded, &["v2", "without its network"])
        .await?;
    bed.wait_for_cluster(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    ensure!(
        bed.engine.incarnation(&container).await? == incarnation,
        "the node was restarted"
    );
    ensure!(
        repairs(&bed, &cluster).await? == before + 1,
        "more than one repair ran"
    );
    commit(&bundle, 2, "through", "v2").await?;
    read_back(&bundle, 0, "through", "v2").await?;
    bed.end().await
}

/// Accepts and discards log messages until the task is aborted, which disconnects the senders.
fn log_server(listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut senders = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            senders.spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_log_server_wipes_no_ledger() -> Result<()> {
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
    bed.wait_succeeded(
        &bed.api
            .post(
                "/clusters",
                json!({"name": "one", "parameters": {"validators": 4}}),
            )
            .await?,
    )
    .await?;
    let cluster = bed.wait_all_offered().await?.remove(0);
    server.abort();
    bed.engine.kill(&Engine::container(&cluster, "v1")).await?;
    let bad = bed
        .wait_for_health(
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
    // Longer than the time after which an unhealthy free cluster is otherwise reset.
    within(LONG, "a longer outage", async || {
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
        bed.history(cluster.id).await?
    );

    let server = log_server(TcpListener::bind(address).await?);
    bed.wait_succeeded(&create).await?;
    let healed = bed
        .wait_for_cluster(cluster.id, "offered again", |c| c.offered)
        .await?;
    ensure!(healed.generation == 1, "{}", bed.history(cluster.id).await?);
    bed.end().await?;
    server.abort();
    Ok(())
}
