//! Ports of nodes: their names, numbers and audiences.

use crate::{PortNeed, fabric::model::role::Role};
use chainpool_agent::{Audience, NodeName};

/// User port: endorsing and the gateway on a peer, broadcast and deliver on an orderer.
pub(crate) const GRPC: &str = "grpc";

/// Channel participation on an orderer.
pub(crate) const ADMIN: &str = "admin";

/// Metrics and health.
pub(crate) const METRICS: &str = "metrics";

/// Port of a chaincode.
pub(crate) const CHAINCODE: &str = "chaincode";

/// Port of a Fabric CA, for its users.
pub(crate) const HTTPS: &str = "https";

/// Port of a state database, for its peer only: it has no TLS.
pub(crate) const HTTP: &str = "http";

/// Ports inside the nodes.
pub(crate) const ORDERER_PORT: u16 = 7050;
pub(crate) const PEER_PORT: u16 = 7051;
pub(crate) const ADMIN_PORT: u16 = 7053;
pub(crate) const METRICS_PORT: u16 = 9443;
pub(crate) const CHAINCODE_PORT: u16 = 9999;
pub(crate) const CA_PORT: u16 = 7054;
pub(crate) const DATABASE_PORT: u16 = 5984;

/// A role's ports with inside numbers and audiences. Raft uses `grpc` too. Control ports are published as
/// well, because some platforms have no other access; they accept only Chainpool's certificate.
pub(crate) fn ports(role: Role) -> impl Iterator<Item = (&'static str, u16, Audience)> {
    let metrics = (METRICS, METRICS_PORT, Audience::Control);
    let ports = match role {
        Role::Orderer => vec![
            (GRPC, ORDERER_PORT, Audience::User),
            (ADMIN, ADMIN_PORT, Audience::Control),
            metrics,
        ],
        Role::Peer => vec![(GRPC, PEER_PORT, Audience::User), metrics],
    };
    ports.into_iter()
}

/// A port to publish.
pub(crate) fn need(node: &NodeName, port: &str) -> PortNeed {
    PortNeed {
        node: node.clone(),
        port: port.to_owned(),
    }
}
