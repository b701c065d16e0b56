//! Generations of a cluster.

use chainpool_agent::{ClusterId, ClusterKey, Generation, network_name};
use chainpool_api::{ClusterState, HealthState, Timestamp};
use chainpool_store::{ClusterRow, EnumColumn, Json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Turns a row into the next generation of its cluster, with nothing created yet.
pub(crate) fn next_generation(row: &mut ClusterRow, state: ClusterState, reason: String) {
    row.generation += 1;
    row.chain_id = chain_id(row.id, row.generation);
    row.state = EnumColumn(state);
    row.health = EnumColumn(HealthState::Starting);
    row.health_reason = reason;
    row.health_since = Timestamp::now().into();
    row.height = None;
    row.ledger_fault = None;
    row.proof = None;
    row.ready_at = None;
    row.stopped_nodes = Json(BTreeSet::new());
}

/// The chain id: permanently unique, derived from cluster and generation.
pub(crate) fn chain_id(cluster: Uuid, generation: Generation) -> String {
    network_name(&ClusterKey {
        cluster: ClusterId(cluster),
        generation,
    })
}
