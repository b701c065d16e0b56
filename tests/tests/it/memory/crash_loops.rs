//! Nodes that exit again and again.

use super::faults::{node, one_free_cluster};
use anyhow::{Result, ensure};
use chainpool_agent::ClusterId;
use chainpool_agent_memory::{Fault, Verb};
use chainpool_api::{Cluster, HealthState, Lease, Operation, OperationState, StepState};
use chainpool_tests::{MemoryBed, MemoryOptions, within};
use serde_json::json;
use std::time::Duration;

/// Longer than any step here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

/// Reports this many exits of v0, one after the other.
async fn report_exits(bed: &MemoryBed, cluster: &Cluster, times: usize) -> Result<()> {
    for _ in 0..times {
        bed.orchestrator.node_died(ClusterId(cluster.id), &node("v0"), 1);
        bed.orchestrator.cluster_assess(cluster.id, false).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_looping_node_makes_its_cluster_broken_with_its_last_log_lines() -> Result<()> {
    let (bed, cluster) = one_free_cluster(MemoryOptions {
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let _: Lease = bed.api.post("/leases", json!({})).await?;
    report_exits(&bed, &cluster, 5).await?;
    let before = bed.cluster(cluster.id).await?;
    ensure!(before.health.state != HealthState::Broken, "{:?}", before.health);
    report_exits(&bed, &cluster, 1).await?;
    let looped = bed.cluster(cluster.id).await?.health;
    let reason = "v0 exited 6 times within 2 min (crash loop); last log lines: ledger node started";
    ensure!(
        looped.state == HealthState::Broken && looped.reason == reason,
        "{looped:?}"
    );
    // The reason is written once per crash loop, because the node's log differs each time.
    let read = bed.world.calls(Verb::Logs);
    report_exits(&bed, &cluster, 1).await?;
    let still = bed.cluster(cluster.id).await?.health;
    ensure!(
        still.reason == reason && bed.world.calls(Verb::Logs) == read,
        "{still:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn restarting_a_crash_looping_node_fails_with_its_last_log_lines() -> Result<()> {
    let (bed, cluster) = one_free_cluster(MemoryOptions {
        watchdog: false,
        ..MemoryOptions::default()
    })
    .await?;
    let _: Lease = bed.api.post("/leases", json!({})).await?;
    bed.world.always(Verb::Dial, Some(Fault::Unreachable));
    let restart: Operation = bed
        .api
        .post_empty(&format!("/clusters/{}/restart", cluster.id))
        .await?;
    within(LONG, "a restart that waits for the nodes", async || {
        let now: Operation = bed.api.get(&format!("/operations/{}", restart.id)).await?;
        let waits = now
            .steps
            .iter()
            .any(|step| step.title == "wait for the nodes to respond" && step.state == StepState::Started);
        Ok(if waits { Ok(()) } else { Err(format!("{now:?}")) })
    })
    .await?;
    report_exits(&bed, &cluster, 5).await?;
    let waits: Operation = bed.api.get(&format!("/operations/{}", restart.id)).await?;
    ensure!(!waits.state.is_over(), "{waits:?}");
    report_exits(&bed, &cluster, 1).await?;
    let failed = bed.wait_ended(&restart).await?;
    let why = failed.error.clone().unwrap_or_default();
    ensure!(
        failed.state == OperationState::Failed
            && why.contains("v0 exited 6 times")
            && why.contains("crash loop"),
        "{failed:?}"
    );
    ensure!(why.ends_with("ledger node started"), "{why}");
    bed.world.always(Verb::Dial, None);
    bed.end().await
}
