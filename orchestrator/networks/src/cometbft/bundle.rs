//! What a user needs to connect. Pure.

use super::{facts::Facts, render::RPC};
use crate::{BundleParts, Reach, shell::quoted};
use chainpool_agent::ClusterSpec;
use chainpool_api::BundleNode;
use std::collections::BTreeMap;

/// The nodes, one command that writes through the first of them and one that reads through the second.
pub(super) fn bundle(spec: &ClusterSpec, reach: &Reach) -> BundleParts {
    let facts = Facts::read(spec).expect("render has written these facts");
    let nodes: Vec<BundleNode> = spec
        .nodes
        .iter()
        .map(|node| BundleNode {
            name: node.name.to_string(),
            identities: facts
                .validators
                .get(&node.name)
                .map(super::keys::Identity::names)
                .unwrap_or_default(),
            endpoints: reach.endpoints(node),
        })
        .collect();
    let addresses: Vec<&str> = nodes
        .iter()
        .flat_map(|node| &node.endpoints)
        .filter(|e| e.name == RPC)
        .map(|e| e.address.as_str())
        .collect();
    let writer = addresses.first().copied().unwrap_or_default();
    let reader = addresses.get(1).copied().unwrap_or(writer);
    BundleParts {
        write: format!(
            "curl -s {}",
            quoted(&format!(
                r#"http://{writer}/broadcast_tx_commit?tx="name=satoshi""#
            ))
        ),
        read: format!(
            "curl -s {}",
            quoted(&format!(r#"http://{reader}/abci_query?data="name""#))
        ),
        files: BTreeMap::from([("genesis.json".to_owned(), facts.genesis)]),
        nodes,
    }
}
