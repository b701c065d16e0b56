//! Names of nodes and organisations.

use crate::fabric::{
    model::role::Role,
    parameters::{Parameters, state_database::StateDatabase},
};
use chainpool_agent::NodeName;

/// `ca-org1` …
pub(crate) fn ca(organisation: &str) -> NodeName {
    NodeName::parse(&format!("ca-{organisation}")).expect("organisations have short names")
}

/// The node of a peer's database: `db0-org1` of `peer0-org1`.
pub(crate) fn database(peer: &NodeName) -> NodeName {
    let rest = peer
        .as_str()
        .strip_prefix(Role::Peer.as_str())
        .unwrap_or(peer.as_str());
    NodeName::parse(&format!("db{rest}")).expect("it is shorter than the peer's")
}

/// All databases of a network with their peers.
pub(crate) fn databases(parameters: &Parameters) -> Vec<(NodeName, NodeName)> {
    match parameters.state_database {
        StateDatabase::LevelDb => vec![],
        StateDatabase::CouchDb => (1..=parameters.organisations)
            .flat_map(|n| peers(parameters, n))
            .map(|peer| (database(&peer), peer))
            .collect(),
    }
}

/// `orderer0`, `orderer1` …
pub(crate) fn orderers(parameters: &Parameters) -> Vec<NodeName> {
    (0..parameters.orderers)
        .map(|n| name(&format!("orderer{n}")))
        .collect()
}

/// `peer0-org1`, `peer1-org1` … of the organisation of this number, from 1.
pub(crate) fn peers(parameters: &Parameters, organisation: u16) -> Vec<NodeName> {
    (0..parameters.peers)
        .map(|n| name(&format!("peer{n}-org{organisation}")))
        .collect()
}

/// `org1` … by its number, from 1.
pub(crate) fn organisation_name(number: u16) -> String {
    format!("org{number}")
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("validated counts are small")
}
