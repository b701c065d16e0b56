//! The history of a cluster's verdicts.

use crate::Result;
use chainpool_api::Timestamp;
use chainpool_store::{ClusterRow, HealthChangeRow, Tx};
use uuid::Uuid;

/// Adds a cluster's verdict to its history if it differs from the latest entry.
pub(crate) async fn keep_history(tx: &mut Tx, cluster: &ClusterRow, now: Timestamp) -> Result<()> {
    let latest = tx.health_changes(cluster.id, 1).await?.pop();
    if latest.is_some_and(|n| {
        n.state == cluster.health && n.reason == cluster.health_reason && n.generation == cluster.generation
    }) {
        return Ok(());
    }
    let row = HealthChangeRow {
        id: Uuid::now_v7(),
        cluster_id: cluster.id,
        generation: cluster.generation,
        state: cluster.health,
        reason: cluster.health_reason.clone(),
        evidence: None,
        at: now.into(),
    };
    Ok(tx.health_insert(row).await?)
}
