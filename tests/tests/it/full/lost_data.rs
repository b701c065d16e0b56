//! Lost volumes and ledgers are detected, and no ledger is started empty.

use super::drift::{LONG, containers_of_node, leased, operation, repairs};
use crate::support::{applied, commit, read, read_back};
use anyhow::{Context, Result, ensure};
use bollard::{models::VolumeCreateRequest, query_parameters::RemoveVolumeOptions};
use chainpool_api::{Cluster, ClusterState, HealthState, OperationState, Status, Timestamp};
use chainpool_tests::{Bed, Engine, Options, within};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Removes a node's container and volumes on the engine; returns the names of the volumes.
async fn remove_node_data(bed: &Bed, cluster: &Cluster, node: &str) -> Result<Vec<String>> {
    for container in containers_of_node(bed, cluster, node).await? {
        bed.engine.remove(&container).await?;
    }
    let prefix = format!("{}-", Engine::container(cluster, node));
    let volumes: Vec<String> = bed
        .engine
        .volumes_of(cluster.id)
        .await?
        .into_iter()
        .filter(|name| name.starts_with(&prefix))
        .collect();
    for volume in &volumes {
        bed.engine
            .docker()
            .remove_volume(volume, None::<RemoveVolumeOptions>)
            .await?;
    }
    Ok(volumes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_ledger_with_lost_volumes_is_never_started_empty() -> Result<()> {
    let (bed, cluster, bundle) = leased(4).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.wait_succeeded(&bed.api.post_empty("/clusters/one/stop").await?)
        .await?;
    for node in ["v0", "v1", "v2", "v3"] {
        ensure!(remove_node_data(&bed, &cluster, node).await?.len() == 1);
    }
    let start = operation(&bed, "/clusters/one/start").await?;
    let words = [
        "v0, v1, v2, v3",
        "data volumes",
        "no node is started",
        "release or reset",
    ];
    let error = start.error.clone().unwrap_or_default();
    ensure!(
        start.state == OperationState::Failed && words.iter().all(|word| error.contains(word)),
        "{start:?}"
    );
    let broken = bed
        .wait_for_health(cluster.id, HealthState::Broken, &words)
        .await?;
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

    // The watchdog does not restart it either, also after a restart of Chainpool.
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
        .wait_for_cluster(cluster.id, "assessed", |c| c.health.checked_at > Some(checked))
        .await?;
    ensure!(
        seen.health.state == HealthState::Broken && seen.generation == 1,
        "{seen:?}"
    );
    ensure!(
        bed.engine.volumes_of(cluster.id).await?.is_empty() && repairs(&bed, &cluster).await? == 0,
        "something was created"
    );
    let lease = bed
        .api
        .get(&format!(
            "/leases/{}",
            seen.lease_id.context("the cluster has no lease")?
        ))
        .await?;
    bed.release(&lease).await?;
    let fresh = bed
        .wait_for_cluster(cluster.id, "healthy", |c| c.health.state == HealthState::Healthy)
        .await?;
    ensure!(fresh.generation == 2);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fabric_network_with_lost_volumes_is_reported_broken() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    bed.wait_succeeded(
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
    bed.wait_succeeded(&bed.api.post_empty("/clusters/one/stop").await?)
        .await?;
    for node in &cluster.nodes {
        remove_node_data(&bed, &cluster, &node.name).await?;
    }
    let start = operation(&bed, "/clusters/one/start").await?;
    let words = [
        "orderer0",
        "data volumes",
        "no node is started",
        "release or reset",
    ];
    let error = start.error.clone().unwrap_or_default();
    ensure!(
        start.state == OperationState::Failed && words.iter().all(|word| error.contains(word)),
        "{start:?}"
    );
    bed.wait_for_health(cluster.id, HealthState::Broken, &words)
        .await?;
    ensure!(
        bed.engine.volumes_of(cluster.id).await?.is_empty(),
        "empty nodes were created"
    );
    bed.end().await
}

/// As after a virtual machine's disk is reverted, or when a clone of the machine answers: the same engine,
/// without any object.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_lost_everything_gets_no_empty_ledgers_for_active_leases() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 2,
        validators: 1,
        autofill: true,
        ..Options::default()
    })
    .await?;
    let clusters = within(LONG, "two clusters", async || {
        let clusters = bed.wait_all_offered().await?;
        Ok(if clusters.len() == 2 {
            Ok(clusters)
        } else {
            Err(format!("{} clusters", clusters.len()))
        })
    })
    .await?;
    let (lease, _) = applied(&bed).await?;
    let (held, free): (Vec<_>, Vec<_>) = clusters.into_iter().partition(|c| c.id == lease.cluster_id);
    // When maintenance ends, all objects are found missing at once, as after a restart of the engine.
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"maintenance_seconds": 600}))
        .await?;
    for cluster in held.iter().chain(&free) {
        remove_node_data(&bed, cluster, "v0").await?;
        bed.engine
            .docker()
            .remove_network(&Engine::network(cluster))
            .await?;
    }
    let _: Value = bed
        .api
        .patch("/hosts/h1", json!({"maintenance_seconds": 0}))
        .await?;
    bed.wait_for_health(held[0].id, HealthState::Broken, &["data volumes of v0 are gone"])
        .await?;
    let fresh = bed
        .wait_for_cluster(free[0].id, "reset", |c| c.generation == 2 && c.offered)
        .await?;
    ensure!(fresh.health.state == HealthState::Healthy);
    let held = bed
        .wait_for_health(held[0].id, HealthState::Broken, &["data volumes of v0 are gone"])
        .await?;
    ensure!(
        held.generation == 1 && bed.engine.volumes_of(held.id).await?.is_empty(),
        "an empty ledger was created under an active lease"
    );
    ensure!(repairs(&bed, &held).await? == 0);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_volume_syncs_the_ledger_and_the_loss_is_reported() -> Result<()> {
    let (bed, cluster, bundle) = leased(4).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.wait_succeeded(&bed.api.post_empty("/clusters/one/stop").await?)
        .await?;
    remove_node_data(&bed, &cluster, "v2").await?;
    bed.wait_succeeded(&bed.api.post_empty("/clusters/one/start").await?)
        .await?;
    let history = within(LONG, "the report on v2", async || {
        let history = bed.history(cluster.id).await?;
        Ok(if history.contains("the data volume of v2 is gone") {
            Ok(history)
        } else {
            Err(history)
        })
    })
    .await?;
    ensure!(!history.contains("no node is started"), "{history}");
    bed.wait_for_cluster(cluster.id, "healthy", |c| c.health.state == HealthState::Healthy)
        .await?;
    read_back(&bundle, 2, "kept", "yes").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_restarted_from_genesis_stays_broken_until_it_is_released() -> Result<()> {
    let (bed, cluster, bundle) = leased(1).await?;
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
    bed.wait_succeeded(&bed.api.post_empty("/clusters/one/stop").await?)
        .await?;
    // An empty volume replaces the lost one, so a check of the volumes alone finds nothing.
    let volume = bed
        .engine
        .volumes_of(cluster.id)
        .await?
        .pop()
        .context("the cluster has no volume")?;
    let labels: HashMap<String, String> = bed.engine.docker().inspect_volume(&volume).await?.labels;
    remove_node_data(&bed, &cluster, "v0").await?;
    let replacement = VolumeCreateRequest {
        name: Some(volume),
        labels: Some(labels),
        ..VolumeCreateRequest::default()
    };
    bed.engine.docker().create_volume(replacement).await?;
    // The known height survives a restart of the process.
    let options = Options {
        capacity: 1,
        validators: 1,
        ..Options::default()
    };
    let bed = Bed::open(bed.stop().await?, options.clone()).await?;
    bed.wait_succeeded(&bed.api.post_empty("/clusters/one/start").await?)
        .await?;
    let words = ["the ledger was replaced or restarted", "committed data is lost"];
    bed.wait_for_health(cluster.id, HealthState::Broken, &words)
        .await?;
    ensure!(
        read(&bundle, 0, "kept").await?.is_none(),
        "the ledger did not restart from genesis"
    );

    let bed = Bed::open(bed.stop().await?, options).await?;
    for n in 0..=height {
        commit(&bundle, 0, "new", &n.to_string()).await?;
    }
    let checked = Timestamp::now();
    let seen = bed
        .wait_for_cluster(cluster.id, "assessed", |c| c.health.checked_at > Some(checked))
        .await?;
    ensure!(
        seen.health.state == HealthState::Broken
            && words.iter().all(|word| seen.health.reason.contains(word)),
        "{seen:?}"
    );
    let lease = bed
        .api
        .get(&format!(
            "/leases/{}",
            seen.lease_id.context("the cluster has no lease")?
        ))
        .await?;
    bed.release(&lease).await?;
    bed.wait_for_cluster(cluster.id, "healthy", |c| {
        c.health.state == HealthState::Healthy && c.generation == 2
    })
    .await?;
    bed.end().await
}
