//! A process that lost a host to another one changes nothing there.

use super::policy::{AT_ONCE, assess_after, operations, take_part, unwatched};
use anyhow::{Result, ensure};
use chainpool_agent::NodeName;
use chainpool_api::{HealthState, Host, Lease, LeaseState, OperationKind, Timestamp};
use chainpool_health::Repair;
use chainpool_store::testing::move_leadership;
use chainpool_tests::{key_of, within};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_of_a_host_expires_its_leases() -> Result<()> {
    let (bed, _) = unwatched(Repair::default()).await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    let lease: Lease = bed
        .api
        .post(&format!("/leases/{}/renew", lease.id), json!({"ttl_seconds": 1}))
        .await?;
    let now = async || bed.api.get::<Lease>(&format!("/leases/{}", lease.id)).await;
    within(Duration::from_secs(20), "the lease to be due", async || {
        let due = lease.expires_at.is_some_and(|at| at < Timestamp::now());
        Ok(if due { Ok(()) } else { Err(String::new()) })
    })
    .await?;
    move_leadership(&bed.folder, 1).await;
    bed.orchestrator.expire_leases().await?;
    ensure!(now().await?.state == LeaseState::Active);
    move_leadership(&bed.folder, -1).await;
    bed.orchestrator.expire_leases().await?;
    ensure!(now().await?.state == LeaseState::Expired);
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_of_a_host_records_verdicts_and_repairs() -> Result<()> {
    let (bed, cluster) = unwatched(Repair::default()).await?;
    let host: Host = bed.api.get("/hosts/h1").await?;
    bed.world
        .kill(&key_of(&cluster), &NodeName::parse("v0").expect("a node name"), 1);
    move_leadership(&bed.folder, 1).await;
    bed.orchestrator.cluster_assess(cluster.id, true).await?;
    bed.orchestrator.host_assess(host.id).await?;
    bed.orchestrator.note_checked().await?;
    let now = bed.cluster(cluster.id).await?;
    ensure!(now.health.state == HealthState::Healthy && now.offered, "{now:?}");
    ensure!(operations(&bed, &cluster).await?.is_empty());
    let after: Host = bed.api.get("/hosts/h1").await?;
    ensure!(
        serde_json::to_value(&after)? == serde_json::to_value(&host)?,
        "{after:?}"
    );

    move_leadership(&bed.folder, -1).await;
    bed.orchestrator.cluster_assess(cluster.id, true).await?;
    let now = bed.cluster(cluster.id).await?;
    ensure!(now.health.state == HealthState::Degraded, "{now:?}");
    ensure!(operations(&bed, &cluster).await? == [OperationKind::ClusterRepair]);
    bed.wait_idle().await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_of_a_host_resets_a_cluster() -> Result<()> {
    let (bed, cluster) = unwatched(Repair {
        broken_confirm: AT_ONCE,
        ..Repair::default()
    })
    .await?;
    take_part(&bed, &cluster, false);
    bed.orchestrator.cluster_assess(cluster.id, true).await?;
    let broken = bed.cluster(cluster.id).await?;
    ensure!(broken.health.state == HealthState::Broken, "{broken:?}");
    move_leadership(&bed.folder, 1).await;
    assess_after(&bed, &broken, AT_ONCE).await?;
    ensure!(operations(&bed, &cluster).await?.is_empty());
    move_leadership(&bed.folder, -1).await;
    bed.orchestrator.cluster_assess(cluster.id, true).await?;
    ensure!(operations(&bed, &cluster).await? == [OperationKind::ClusterReset]);
    bed.wait_idle().await?;
    bed.end().await
}
