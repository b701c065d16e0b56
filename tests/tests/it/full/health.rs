//! Verdicts are the truth about the ledger, and faults are mended by the rules.

use crate::support::{applied, commit, read, rpc};
use anyhow::{Result, ensure};
use chainpool_api::{Cluster, ClusterState, HealthChange, HealthState, Page};
use chainpool_tests::{Bed, Engine, Options, within};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

async fn maintained(bed: &Bed) -> Result<Cluster> {
    let cluster = bed.filled().await?.remove(0);
    bed.api.patch(&format!("/clusters/{}", cluster.id), json!({"maintenance_seconds": 600})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_quorum_is_broken_although_every_port_answers() -> Result<()> {
    let bed = Bed::start(Options { capacity: 1, ..Options::default() }).await?;
    let cluster = maintained(&bed).await?;
    let (_, bundle) = applied(&bed).await?;
    for node in ["v2", "v3"] {
        bed.engine.pause(&Engine::container(&cluster, node)).await?;
    }
    let broken = bed.judged(cluster.id, HealthState::Broken, &["2 of 4", "v2", "v3"]).await?;
    let health: Value = reqwest::get(format!("{}/health", rpc(&bundle, 0)?)).await?.json().await?;
    ensure!(health["result"].is_object(), "the others' /health says OK: {health}");

    let stalled = broken.height.unwrap_or(0);
    for node in ["v2", "v3"] {
        bed.engine.unpause(&Engine::container(&cluster, node)).await?;
    }
    let healed = bed.cluster_when(cluster.id, "healthy again", |c| c.health.state == HealthState::Healthy).await?;
    ensure!(healed.height.unwrap_or(0) > stalled, "healthy at {:?} without a block above {stalled}", healed.height);

    bed.engine.pause(&Engine::container(&cluster, "v1")).await?;
    bed.judged(cluster.id, HealthState::Degraded, &["v1"]).await?;
    commit(&bundle, 0, "still", "commits").await?;
    bed.engine.unpause(&Engine::container(&cluster, "v1")).await?;
    bed.cluster_when(cluster.id, "healthy again", |c| c.health.state == HealthState::Healthy).await?;
    let history: Page<HealthChange> = bed.api.get(&format!("/clusters/{}/health", cluster.id)).await?;
    let states: Vec<HealthState> = history.items.iter().map(|h| h.state).collect();
    ensure!(states.contains(&HealthState::Broken) && states.contains(&HealthState::Degraded), "{states:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_of_a_free_cluster_is_started_in_place_and_offered_again() -> Result<()> {
    let bed = Bed::start(Options { capacity: 1, ..Options::default() }).await?;
    let cluster = bed.filled().await?.remove(0);
    let container = Engine::container(&cluster, "v1");
    let before = bed.engine.life(&container).await?;
    bed.engine.kill(&container).await?;
    bed.cluster_when(cluster.id, "withdrawn", |c| !c.offered).await?;
    let mended = bed.cluster_when(cluster.id, "offered again", |c| c.offered).await?;
    let after = bed.engine.life(&container).await?;
    ensure!(mended.generation == 1 && before.0 == after.0 && before.1 != after.1, "not in place: {before:?} {after:?} {mended:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_cluster_without_quorum_is_made_again() -> Result<()> {
    let bed = Bed::start(Options { capacity: 1, ..Options::default() }).await?;
    let cluster = bed.filled().await?.remove(0);
    // Removed by hand, so that starting in place takes longer than noticing.
    let names = ["v0", "v1", "v2"].map(|node| Engine::container(&cluster, node));
    join_all(names.iter().map(|name| bed.engine.remove(name))).await.into_iter().collect::<Result<Vec<_>>>()?;
    bed.cluster_when(cluster.id, "withdrawn", |c| !c.offered).await?;
    let fresh = bed.cluster_when(cluster.id, "offered again", |c| c.offered).await?;
    ensure!(fresh.health.state == HealthState::Healthy, "{fresh:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_cluster_is_mended_in_place_with_its_data() -> Result<()> {
    let bed = Bed::start(Options { capacity: 1, ..Options::default() }).await?;
    let cluster = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.engine.kill(&Engine::container(&cluster, "v0")).await?;
    bed.engine.pause(&Engine::container(&cluster, "v1")).await?;
    bed.engine.remove(&Engine::container(&cluster, "v2")).await?;
    let mended = bed.cluster_when(cluster.id, "bad", |c| c.health.state != HealthState::Healthy).await?;
    ensure!(mended.state == ClusterState::Ready, "{mended:?}");
    let healed = bed.cluster_when(cluster.id, "healthy again", |c| c.health.state == HealthState::Healthy).await?;
    ensure!(healed.generation == 1 && healed.lease_id.is_some(), "an applied cluster was wiped: {healed:?}");
    within(Duration::from_secs(30), "the data", async || {
        Ok(if read(&bundle, 2, "kept").await.ok().flatten().as_deref() == Some("yes") { Ok(()) } else { Err("not there".to_owned()) })
    })
    .await?;
    commit(&bundle, 3, "after", "repair").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_validator_keeps_its_consensus_state() -> Result<()> {
    let bed = Bed::start(Options { capacity: 1, ..Options::default() }).await?;
    let cluster = bed.filled().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "a", "b").await?;
    let state = async || -> Result<i64> {
        let bytes = bed.engine.file(&Engine::container(&cluster, "v1"), "priv_validator_state.json").await?;
        let state: Value = serde_json::from_slice(&bytes)?;
        Ok(state["height"].as_str().unwrap_or_default().parse()?)
    };
    let before = state().await?;
    ensure!(before > 0, "a validator that signed has a height");
    bed.engine.remove(&Engine::container(&cluster, "v1")).await?;
    bed.cluster_when(cluster.id, "bad", |c| c.health.state == HealthState::Degraded).await?;
    bed.cluster_when(cluster.id, "healthy again", |c| c.health.state == HealthState::Healthy).await?;
    let after = state().await?;
    ensure!(after >= before, "the state file was written again: {before} then {after}");
    bed.end().await
}
