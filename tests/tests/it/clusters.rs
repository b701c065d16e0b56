//! Operations of a cluster.

use crate::support::{applied, commit, read_back};
use anyhow::{Result, ensure};
use chainpool_agent_memory::{Fault, Verb, ledger};
use chainpool_api::{ClusterState, HealthState, Operation, Step};
use chainpool_tests::{Bed, Engine, MemoryBed, MemoryOptions, Options, within_ok};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_created_stopped_started_restarted_reset_and_deleted() -> Result<()> {
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
    let create = bed.wait_succeeded(&create).await?;
    ensure!(
        create.done == create.total
            && create
                .steps
                .iter()
                .any(|s: &Step| s.title.contains("commit a transaction")),
        "{create:?}"
    );
    let created = bed.cluster("one").await?;
    ensure!(
        created.state == ClusterState::Ready
            && created.size == 4
            && created.nodes.len() == 4
            && created.health.state == HealthState::Healthy,
        "{created:?}"
    );
    ensure!(created.labels["team"] == "a");

    let stop: Operation = bed.api.post_empty("/clusters/one/stop").await?;
    bed.wait_succeeded(&stop).await?;
    let stopped = bed.cluster("one").await?;
    ensure!(
        stopped.state == ClusterState::Stopped
            && stopped.health.state == HealthState::Stopped
            && !stopped.offered,
        "{stopped:?}"
    );
    let start: Operation = bed.api.post_empty("/clusters/one/start").await?;
    bed.wait_succeeded(&start).await?;
    let started = bed
        .wait_for_cluster(created.id, "health after the start", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(started.generation == 1 && started.chain_id == created.chain_id);

    let before = bed.engine.incarnation(&Engine::container(&created, "v2")).await?;
    let other = bed.engine.incarnation(&Engine::container(&created, "v1")).await?;
    let restart: Operation = bed.api.post_empty("/clusters/one/restart?node=v2").await?;
    bed.wait_succeeded(&restart).await?;
    let after = bed.engine.incarnation(&Engine::container(&created, "v2")).await?;
    ensure!(
        before.0 == after.0 && before.1 != after.1,
        "the node was not restarted in place: {before:?} {after:?}"
    );
    ensure!(
        bed.engine.incarnation(&Engine::container(&created, "v1")).await? == other,
        "another node was touched"
    );

    let prove: Operation = bed.api.post_empty("/clusters/one/prove").await?;
    let prove = bed.wait_succeeded(&prove).await?;
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

    let reset: Operation = bed.api.post_empty("/clusters/one/reset").await?;
    bed.wait_succeeded(&reset).await?;
    let fresh = bed.cluster("one").await?;
    ensure!(
        fresh.generation == 2 && fresh.chain_id != created.chain_id && fresh.state == ClusterState::Ready,
        "{fresh:?}"
    );
    let ports = |c: &chainpool_api::Cluster| {
        c.nodes
            .iter()
            .flat_map(|n| n.endpoints.clone())
            .map(|e| e.address)
            .collect::<Vec<_>>()
    };
    ensure!(ports(&fresh) == ports(&created), "a reset keeps the ports");

    let delete: Operation = bed.api.delete("/clusters/one").await?;
    bed.wait_succeeded(&delete).await?;
    bed.api.refused(Method::GET, "/clusters/one", None).await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_stays_stopped_until_it_is_started() -> Result<()> {
    let bed = MemoryBed::start(MemoryOptions {
        capacity: 1,
        ..MemoryOptions::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let _: Value = bed.api.post("/leases", json!({})).await?;
    let stop: Operation = bed
        .api
        .post_empty(&format!("/clusters/{}/stop?node=v3", cluster.id))
        .await?;
    bed.wait_succeeded(&stop).await?;
    bed.wait_for_health(cluster.id, HealthState::Degraded, &["v3"])
        .await?;
    let start: Operation = bed
        .api
        .post_empty(&format!("/clusters/{}/start?node=v3", cluster.id))
        .await?;
    bed.wait_succeeded(&start).await?;
    bed.wait_for_cluster(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    bed.end().await
}

/// `docker system prune` removes stopped containers and unused networks. The ledger's data is in volumes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cluster_starts_after_docker_system_prune() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let created = bed.fill().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "kept", "through").await?;
    for with_containers in [false, true] {
        let stop: Operation = bed
            .api
            .post_empty(&format!("/clusters/{}/stop", created.id))
            .await?;
        bed.wait_succeeded(&stop).await?;
        if with_containers {
            for (container, _) in bed.engine.containers_of(created.id).await? {
                bed.engine.remove(&container).await?;
            }
        }
        // The engine may report the last exit before it detaches the container from the network.
        let network = Engine::network(&created);
        within_ok(Duration::from_mins(1), "the removal of the network", async || {
            Ok(bed.engine.docker().remove_network(&network).await?)
        })
        .await?;
        let start: Operation = bed
            .api
            .post_empty(&format!("/clusters/{}/start", created.id))
            .await?;
        bed.wait_succeeded(&start).await?;
        bed.wait_for_cluster(created.id, "health after the start", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
        read_back(&bundle, 1, "kept", "through").await?;
    }
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_supersedes_other_operations_and_is_never_superseded() -> Result<()> {
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
    let create = bed.wait_ended(&create).await?;
    ensure!(
        create.state == chainpool_api::OperationState::Superseded,
        "{create:?}"
    );
    let refused = bed.api.refused(Method::POST, "/clusters/one/reset", None).await?;
    ensure!(refused.problem.code == "operation_running", "{refused:?}");
    bed.world.clear_faults(Verb::DropCluster);
    bed.wait_succeeded(&delete).await?;
    bed.end().await
}
