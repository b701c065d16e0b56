//! Generations of a cluster.

use crate::{Error, Result};
use chainpool_agent::{ClusterId, ClusterKey, network_name};
use chainpool_api::{ClusterState, HealthState, Timestamp};
use chainpool_store::{ClusterRow, EnumColumn, Json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Turns a row into the next generation of its cluster, with nothing created yet.
pub(crate) fn next_generation(row: &mut ClusterRow, state: ClusterState, reason: String) -> Result<()> {
    row.generation += 1;
    let generation = u32::try_from(row.generation).map_err(Error::internal)?;
    row.chain_id = chain_id(row.id, generation);
    row.state = EnumColumn(state);
    row.health = EnumColumn(HealthState::Starting);
    row.health_reason = reason;
    row.health_since = Timestamp::now().into();
    row.height = None;
    row.ledger_fault = None;
    row.proof = None;
    row.ready_at = None;
    row.stopped_nodes = Json(BTreeSet::new());
    Ok(())
}

/// The chain id: permanently unique, derived from cluster and generation.
pub(crate) fn chain_id(cluster: Uuid, generation: u32) -> String {
    network_name(&ClusterKey {
        cluster: ClusterId(cluster),
        generation,
    })
}
