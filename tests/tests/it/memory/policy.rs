//! The health policy is injected: other timing rules change which event comes first.

use anyhow::{Result, ensure};
use chainpool_agent::NodeName;
use chainpool_agent_memory::ledger::NodeBehavior;
use chainpool_api::{self as api, Cluster, HealthState, Lease, Operation, OperationKind, Page, Timestamp};
use chainpool_health::{HealthPolicy, HostRules, Repair, millis};
use chainpool_tests::{MemoryBed, MemoryOptions, key_of, within};
use serde_json::json;
use std::time::Duration;

/// Longer than any step here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);
/// Longer than any test takes.
const NEVER: Duration = Duration::from_hours(24);
pub(super) const AT_ONCE: Duration = Duration::from_millis(1);

/// Sets if two of four nodes take part: without them the ledger cannot commit, although all nodes answer.
pub(super) fn take_part(bed: &MemoryBed, cluster: &Cluster, participate: bool) {
    for name in ["v0", "v1"] {
        let behavior = NodeBehavior {
            stalled: !participate,
            ..NodeBehavior::default()
        };
        let node = NodeName::parse(name).expect("a node name");
        bed.world.set_behavior(&key_of(cluster), &node, behavior);
    }
}

/// Starts a bed with these rules, one cluster and no watchdog.
pub(super) async fn unwatched(repair: Repair) -> Result<(MemoryBed, Cluster)> {
    let (bed, mut clusters) = unwatched_clusters(1, repair).await?;
    Ok((bed, clusters.remove(0)))
}

async fn unwatched_clusters(capacity: u32, repair: Repair) -> Result<(MemoryBed, Vec<Cluster>)> {
    let host = HostRules {
        settle: AT_ONCE,
        ..HostRules::default()
    };
    let bed = MemoryBed::start(MemoryOptions {
        capacity,
        watchdog: false,
        health: HealthPolicy {
            repair,
            host,
            ..HealthPolicy::default()
        },
        ..MemoryOptions::default()
    })
    .await?;
    let host: api::Host = bed.api.get("/hosts/h1").await?;
    bed.orchestrator.host_assess(host.id).await?;
    let clusters = bed.fill().await?;
    Ok((bed, clusters))
}

/// Starts a bed with these rules and without a watchdog, and breaks its only cluster.
async fn broken_cluster(repair: Repair) -> Result<(MemoryBed, Cluster)> {
    let (bed, cluster) = unwatched(repair).await?;
    take_part(&bed, &cluster, false);
    bed.orchestrator.cluster_assess(cluster.id, true).await?;
    let broken = bed.cluster(cluster.id).await?;
    ensure!(broken.health.state == HealthState::Broken, "{broken:?}");
    Ok((bed, broken))
}

/// Waits until a cluster has had its health for this long.
async fn wait_since(cluster: &Cluster, limit: Duration) -> Result<()> {
    let since = cluster.health.since;
    within(LONG, "the time to pass", async || {
        let elapsed = Timestamp::now().millis_since(since);
        Ok(if elapsed >= millis(limit) {
            Ok(())
        } else {
            Err(format!("{elapsed} ms"))
        })
    })
    .await
}

/// Waits until a cluster has been broken for this long, and assesses it once.
pub(super) async fn assess_after(bed: &MemoryBed, cluster: &Cluster, limit: Duration) -> Result<()> {
    wait_since(cluster, limit).await?;
    Ok(bed.orchestrator.cluster_assess(cluster.id, true).await?)
}

/// Kinds of the operations on a cluster, oldest first, without its creation.
pub(super) async fn operations(bed: &MemoryBed, cluster: &Cluster) -> Result<Vec<OperationKind>> {
    let page: Page<Operation> = bed.api.get("/operations?limit=500").await?;
    let mut own: Vec<Operation> = page
        .items
        .into_iter()
        .filter(|operation| {
            operation.cluster_id == Some(cluster.id) && operation.kind != OperationKind::ClusterCreate
        })
        .collect();
    own.sort_by_key(|operation| operation.id);
    Ok(own.into_iter().map(|operation| operation.kind).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_cluster_is_reset_by_the_first_assessment_after_its_confirmation() -> Result<()> {
    let short = Repair {
        broken_confirm: AT_ONCE,
        ..Repair::default()
    };
    for repair in [Repair::default(), short] {
        let confirmation = repair.broken_confirm;
        let (bed, cluster) = broken_cluster(repair).await?;
        ensure!(operations(&bed, &cluster).await?.is_empty());
        assess_after(&bed, &cluster, confirmation).await?;
        ensure!(operations(&bed, &cluster).await? == [OperationKind::ClusterReset]);
        bed.wait_for_cluster(cluster.id, "the next generation", |now| {
            now.generation == 2 && now.offered
        })
        .await?;
        bed.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_confirmation_is_due_is_probed_before_other_unhealthy_ones() -> Result<()> {
    for confirmation in [AT_ONCE, NEVER] {
        let repair = Repair {
            broken_confirm: confirmation,
            broken_reset: NEVER,
            degraded_reset: NEVER,
            ..Repair::default()
        };
        let (bed, clusters) = unwatched_clusters(2, repair).await?;
        let lease: Lease = bed.api.post("/leases", json!({})).await?;
        let (leased, free): (Vec<_>, Vec<_>) = clusters
            .into_iter()
            .partition(|cluster| cluster.name == lease.cluster);
        // A leased cluster is not reset, so its confirmation decides nothing.
        let (leased, free) = (&leased[0], &free[0]);
        for cluster in [leased, free] {
            take_part(&bed, cluster, false);
            bed.orchestrator.cluster_assess(cluster.id, true).await?;
        }
        let broken = bed.cluster(free.id).await?;
        ensure!(broken.health.state == HealthState::Broken, "{broken:?}");
        wait_since(&broken, AT_ONCE).await?;
        let order = bed.orchestrator.clusters_to_assess().await?;
        if confirmation == AT_ONCE {
            ensure!(order == [free.id, leased.id], "{order:?}");
        } else {
            ensure!(order == [leased.id, free.id], "{order:?}");
        }
        bed.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_confirmation_delays_the_reset_until_the_cluster_has_recovered() -> Result<()> {
    let (bed, cluster) = broken_cluster(Repair {
        broken_confirm: NEVER,
        broken_reset: NEVER,
        degraded_reset: NEVER,
        ..Repair::default()
    })
    .await?;
    // The default policy resets the cluster here.
    assess_after(&bed, &cluster, Repair::default().broken_confirm).await?;
    ensure!(operations(&bed, &cluster).await?.is_empty());
    take_part(&bed, &cluster, true);
    let recovered = within(LONG, "a proven recovery", async || {
        bed.orchestrator.cluster_assess(cluster.id, true).await?;
        let now = bed.cluster(cluster.id).await?;
        Ok(if now.offered {
            Ok(now)
        } else {
            Err(format!("{now:?}"))
        })
    })
    .await?;
    ensure!(recovered.generation == 1, "{recovered:?}");
    let kinds = operations(&bed, &cluster).await?;
    ensure!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == OperationKind::ClusterRepair),
        "{kinds:?}"
    );
    bed.end().await
}
