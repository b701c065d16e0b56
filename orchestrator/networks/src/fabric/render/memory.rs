//! Memory limits of nodes.

use crate::fabric::model::role::Role;

pub(crate) const MIB: u64 = 1024 * 1024;

/// When idle, an orderer uses about 35 MB, a peer 65 MB, a JVM chaincode twice that. The rest is for blocks
/// in progress and the page cache.
const ORDERER_MEMORY: u64 = 256 * MIB;
const PEER_MEMORY: u64 = 384 * MIB;
pub(crate) const CHAINCODE_MEMORY: u64 = 384 * MIB;

/// A Fabric CA uses 25 MB when idle; the rest is for enrolments and the page cache of its database.
pub(crate) const CA_MEMORY: u64 = 192 * MIB;

/// A state database uses about 60 MB when idle; the rest is for queries, views and the page cache.
pub(crate) const DATABASE_MEMORY: u64 = 512 * MIB;

/// Memory limit of an orderer or peer.
pub(crate) fn memory(role: Role) -> u64 {
    match role {
        Role::Orderer => ORDERER_MEMORY,
        Role::Peer => PEER_MEMORY,
    }
}
