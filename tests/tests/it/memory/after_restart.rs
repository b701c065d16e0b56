//! Cluster views right after a restart, before this process has probed the clusters.

use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, Lease};
use chainpool_tests::{MemoryBed, MemoryOptions};
use serde_json::json;
use std::time::Duration;

/// The stored height of a free cluster is not kept up to date, so it is not shown as current after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_only_leased_clusters_have_a_known_height() -> Result<()> {
    let options = MemoryOptions {
        nodes: 1,
        watchdog: false,
        ..MemoryOptions::default()
    };
    let bed = MemoryBed::start(options.clone()).await?;
    let clusters = bed.fill().await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    bed.world.advance(Duration::from_mins(1));
    for cluster in &clusters {
        bed.orchestrator.cluster_assess(cluster.id, true).await?;
    }
    bed.orchestrator.note_checked().await?;
    let before = bed.clusters().await?;
    for cluster in &clusters {
        let now = before
            .iter()
            .find(|now| now.id == cluster.id)
            .context("the cluster is not listed")?;
        ensure!(
            now.height > cluster.height && now.health.checked_at.is_some(),
            "{now:?}"
        );
    }

    let bed = MemoryBed::open(bed.stop().await?, options).await?;
    let listed = bed.clusters().await?;
    ensure!(listed.len() == 2, "{listed:?}");
    for known in &before {
        let shown = bed.cluster(known.id).await?;
        let listed = listed
            .iter()
            .find(|now| now.id == known.id)
            .context("the cluster is not listed")?;
        for now in [&shown, listed] {
            let height = known.height.filter(|_| known.id == lease.cluster_id);
            ensure!(
                now.height == height,
                "{:?} instead of {height:?}: {now:?}",
                now.height
            );
            ensure!(
                now.health.checked_at == known.health.checked_at,
                "{:?}: {now:?}",
                known.health.checked_at
            );
        }
    }
    for known in &before {
        bed.orchestrator.cluster_assess(known.id, true).await?;
        let now: Cluster = bed.cluster(known.id).await?;
        ensure!(
            now.height >= known.height && now.health.checked_at > known.health.checked_at,
            "{now:?}"
        );
    }
    bed.end().await
}
