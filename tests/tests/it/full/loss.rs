//! A Fabric network loses orderers.

use crate::holder::Holder;
use anyhow::{Result, ensure};
use chainpool_api::HealthState;
use chainpool_tests::{Bed, Engine};
use serde_json::{Value, json};

/// Orderers die one after the other: without the first one the network commits, without both it is said to be `lost`, and it is whole again
/// when Chainpool may start them.
pub(crate) async fn bears_one(bed: &Bed, holder: &Holder, orderers: [&str; 2], lost: &str) -> Result<()> {
    let cluster = bed.cluster(holder.lease.cluster_id).await?;
    let path = format!("/clusters/{}", cluster.id);
    let [first, second] = orderers;
    let _: Value = bed.api.patch(&path, json!({"maintenance_seconds": 600})).await?;
    bed.engine.kill(&Engine::container(&cluster, first)).await?;
    // Where the leader died another one is elected first.
    bed.judged(
        cluster.id,
        HealthState::Degraded,
        &[first, "can lose no more orderer"],
    )
    .await?;
    holder.put("org2", "hal").await?;
    holder.must_have("org1", "hal").await?;
    bed.engine.kill(&Engine::container(&cluster, second)).await?;
    bed.judged(cluster.id, HealthState::Broken, &[lost]).await?;

    let _: Value = bed.api.patch(&path, json!({"maintenance_seconds": 0})).await?;
    let healed = bed
        .judged(cluster.id, HealthState::Healthy, &["1 more orderer"])
        .await?;
    ensure!(
        healed.generation == cluster.generation,
        "an applied network was made anew"
    );
    holder.must_have("org2", "hal").await
}
