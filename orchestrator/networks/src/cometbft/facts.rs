//! What of a spec is public and needed later by probe, proof and bundle.

use super::{keys::Identity, parameters::Parameters};
use chainpool_agent::{ClusterSpec, NodeName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The facts of a rendered network, as they stand in [`ClusterSpec::facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The ledger's own name.
    pub(super) chain_id: String,
    /// The settled parameters.
    pub(super) parameters: Parameters,
    /// The text of `genesis.json`.
    pub(super) genesis: String,
    /// The validators by node.
    pub(super) validators: BTreeMap<NodeName, Identity>,
}

impl Facts {
    /// As they are stored.
    pub(super) fn write(&self) -> Value {
        serde_json::to_value(self).expect("facts have only string keys")
    }

    /// Reads them back. Fails only on a spec that this type did not render.
    pub(super) fn read(spec: &ClusterSpec) -> Result<Self, serde_json::Error> {
        Self::deserialize(&spec.facts)
    }
}
