//! Loss of orderers in a Fabric network.

use crate::holder::Holder;
use anyhow::{Result, ensure};
use chainpool_api::HealthState;
use chainpool_tests::{Bed, Engine};
use serde_json::{Value, json};

/// Kills two orderers. Without the first one the network commits; without both it is broken, with `lost` in
/// the reason. It recovers when maintenance ends.
pub(crate) async fn survives_one_loss(
    bed: &Bed,
    holder: &Holder,
    orderers: [&str; 2],
    lost: &str,
) -> Result<()> {
    let cluster = bed.cluster(holder.lease.cluster_id).await?;
    let path = format!("/clusters/{}", cluster.id);
    let [first, second] = orderers;
    let _: Value = bed.api.patch(&path, json!({"maintenance_seconds": 600})).await?;
    bed.engine.kill(&Engine::container(&cluster, first)).await?;
    // If the leader died, another one is elected first.
    bed.wait_for_health(
        cluster.id,
        HealthState::Degraded,
        &[first, "no further orderer failure tolerated"],
    )
    .await?;
    holder.put("org2", "hal").await?;
    holder.must_have("org1", "hal").await?;
    bed.engine.kill(&Engine::container(&cluster, second)).await?;
    bed.wait_for_health(cluster.id, HealthState::Broken, &[lost])
        .await?;

    let _: Value = bed.api.patch(&path, json!({"maintenance_seconds": 0})).await?;
    let healed = bed
        .wait_for_health(
            cluster.id,
            HealthState::Healthy,
            &["1 further orderer failure tolerated"],
        )
        .await?;
    ensure!(
        healed.generation == cluster.generation,
        "a leased network was reset"
    );
    holder.must_have("org2", "hal").await
}
