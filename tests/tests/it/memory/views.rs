//! What views show of clusters that this process has not seen yet.

use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, Lease};
use chainpool_tests::{MemoryBed, MemoryOptions};
use serde_json::json;
use std::time::Duration;

/// The height of a free cluster is not kept up to date: after a start nobody is told of one as if it were so now.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_only_the_height_of_what_somebody_holds_is_known() -> Result<()> {
    let options = MemoryOptions {
        nodes: 1,
        watchdog: false,
        ..MemoryOptions::default()
    };
    let bed = MemoryBed::start(options.clone()).await?;
    let made = bed.filled().await?;
    let lease: Lease = bed.api.post("/leases", json!({})).await?;
    bed.world.advance(Duration::from_mins(1));
    for cluster in &made {
        bed.orchestrator.cluster_judge(cluster.id, true).await?;
    }
    bed.orchestrator.note_checked().await?;
    let before = bed.clusters().await?;
    for cluster in &made {
        let now = before
            .iter()
            .find(|now| now.id == cluster.id)
            .context("it is there")?;
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
            .context("it is there")?;
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
        bed.orchestrator.cluster_judge(known.id, true).await?;
        let now: Cluster = bed.cluster(known.id).await?;
        ensure!(
            now.height >= known.height && now.health.checked_at > known.health.checked_at,
            "{now:?}"
        );
    }
    bed.end().await
}
