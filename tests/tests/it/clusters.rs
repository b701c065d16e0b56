//! The operations of a cluster.

use crate::support::{applied, commit, read_back};
use anyhow::{Result, ensure};
use chainpool_agent_memory::{Fault, Verb, ledger};
use chainpool_api::{ClusterState, HealthState, Operation, Step};
use chainpool_tests::{Bed, Engine, MemoryBed, MemoryOptions, Options, within_ok};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_made_stopped_started_restarted_reset_and_deleted() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "one", "parameters": {"validators": 4}, "labels": {"team": "a"}}),
        )
        .await?;
    let create = bed.done(&create).await?;
    ensure!(
        create.done == create.total
            && create
                .steps
                .iter()
                .any(|s: &Step| s.title.contains("commit a transaction")),
        "{create:?}"
    );
    let made = bed.cluster("one").await?;
    ensure!(
        made.state == ClusterState::Ready
            && made.size == 4
            && made.nodes.len() == 4
            && made.health.state == HealthState::Healthy,
        "{made:?}"
    );
    ensure!(made.labels["team"] == "a");

    let stop: Operation = bed.api.ask("/clusters/one/stop").await?;
    bed.done(&stop).await?;
    let stopped = bed.cluster("one").await?;
    ensure!(
        stopped.state == ClusterState::Stopped
            && stopped.health.state == HealthState::Stopped
            && !stopped.offered,
        "{stopped:?}"
    );
    let start: Operation = bed.api.ask("/clusters/one/start").await?;
    bed.done(&start).await?;
    let started = bed
        .cluster_when(made.id, "health after the start", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(started.generation == 1 && started.chain_id == made.chain_id);

    let before = bed.engine.life(&Engine::container(&made, "v2")).await?;
    let other = bed.engine.life(&Engine::container(&made, "v1")).await?;
    let restart: Operation = bed.api.ask("/clusters/one/restart?node=v2").await?;
    bed.done(&restart).await?;
    let after = bed.engine.life(&Engine::container(&made, "v2")).await?;
    ensure!(
        before.0 == after.0 && before.1 != after.1,
        "the node was not restarted in place: {before:?} {after:?}"
    );
    ensure!(
        bed.engine.life(&Engine::container(&made, "v1")).await? == other,
        "another node was touched"
    );

    let prove: Operation = bed.api.ask("/clusters/one/prove").await?;
    let prove = bed.done(&prove).await?;
    ensure!(
        prove
            .result
            .as_ref()
            .is_some_and(|r| r["proof"]["transaction"].is_string()),
        "{prove:?}"
    );
    let log = bed
        .api
        .raw(Method::GET, "/clusters/one/nodes/v0/logs?tail=5", None, &[])
        .await?
        .1;
    ensure!(log.lines().count() == 5, "{log}");

    let reset: Operation = bed.api.ask("/clusters/one/reset").await?;
    bed.done(&reset).await?;
    let fresh = bed.cluster("one").await?;
    ensure!(
        fresh.generation == 2 && fresh.chain_id != made.chain_id && fresh.state == ClusterState::Ready,
        "{fresh:?}"
    );
    let ports = |c: &chainpool_api::Cluster| {
        c.nodes
            .iter()
            .flat_map(|n| n.endpoints.clone())
            .map(|e| e.address)
            .collect::<Vec<_>>()
    };
    ensure!(ports(&fresh) == ports(&made), "a reset keeps the ports");

    let delete: Operation = bed.api.delete("/clusters/one").await?;
    bed.done(&delete).await?;
    bed.api.refused(Method::GET, "/clusters/one", None).await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_can_be_stopped_and_is_left_alone_until_it_is_started() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let cluster = bed.filled().await?.remove(0);
    let _: Value = bed.api.post("/leases", json!({})).await?;
    let stop: Operation = bed
        .api
        .ask(&format!("/clusters/{}/stop?node=v3", cluster.id))
        .await?;
    bed.done(&stop).await?;
    bed.judged(cluster.id, HealthState::Degraded, &["v3"]).await?;
    let start: Operation = bed
        .api
        .ask(&format!("/clusters/{}/start?node=v3", cluster.id))
        .await?;
    bed.done(&start).await?;
    bed.cluster_when(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    bed.end().await
}

/// `docker system prune` removes what is stopped and the networks that nothing running is on. The ledger's data are in volumes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cluster_starts_again_on_an_engine_that_was_tidied_up() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let made = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "kept", "through").await?;
    for with_containers in [false, true] {
        let stop: Operation = bed.api.ask(&format!("/clusters/{}/stop", made.id)).await?;
        bed.done(&stop).await?;
        if with_containers {
            for (container, _) in bed.engine.containers_of(made.id).await? {
                bed.engine.remove(&container).await?;
            }
        }
        // The engine may tell of the last end before it has let go of the network.
        let network = Engine::network(&made);
        within_ok(Duration::from_mins(1), "the network away", async || {
            Ok(bed.engine.docker().remove_network(&network).await?)
        })
        .await?;
        let start: Operation = bed.api.ask(&format!("/clusters/{}/start", made.id)).await?;
        bed.done(&start).await?;
        bed.cluster_when(made.id, "health after the start", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
        read_back(&bundle, 1, "kept", "through").await?;
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_supersedes_and_nothing_supersedes_a_delete() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    })
    .await?;
    // The create hangs on its image, and the delete on the removal.
    bed.world.always(Verb::EnsureImage, Some(Fault::Hang));
    bed.world.always(Verb::DropCluster, Some(Fault::Hang));
    let create: Operation = bed
        .api
        .post("/clusters", json!({"name": "one", "network_type": ledger::TYPE}))
        .await?;
    let refused = bed.api.refused(Method::POST, "/clusters/one/stop", None).await?;
    ensure!(refused.problem.code == "wrong_state", "{refused:?}");
    let delete: Operation = bed.api.delete("/clusters/one").await?;
    let create = bed.ended(&create).await?;
    ensure!(
        create.state == chainpool_api::OperationState::Superseded,
        "{create:?}"
    );
    let refused = bed.api.refused(Method::POST, "/clusters/one/reset", None).await?;
    ensure!(refused.problem.code == "operation_running", "{refused:?}");
    bed.world.forget_faults(Verb::DropCluster);
    bed.done(&delete).await?;
    bed.end().await
}
