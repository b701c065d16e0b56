//! Connection bundle for users. Pure.

use super::{network_model::NetworkModel, render::RPC};
use crate::{BundleParts, PublicEndpoints, shell::quoted};
use chainpool_agent::ClusterSpec;
use chainpool_api::BundleNode;
use std::collections::BTreeMap;

/// Nodes, and commands that write through the first node and read through the second.
pub(super) fn bundle(spec: &ClusterSpec, public_endpoints: &PublicEndpoints) -> BundleParts {
    let model = NetworkModel::read(spec).expect("render wrote this model");
    let nodes: Vec<BundleNode> = spec
        .nodes
        .iter()
        .map(|node| BundleNode {
            name: node.name.to_string(),
            identities: model
                .validators
                .get(&node.name)
                .map(super::keys::Identity::names)
                .unwrap_or_default(),
            endpoints: public_endpoints.endpoints(node),
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
        files: BTreeMap::from([("genesis.json".to_owned(), model.genesis)]),
        nodes,
    }
}
