//! Public data of a spec for probe, proof and bundle.

use super::{keys::Identity, parameters::Parameters};
use chainpool_agent::{ClusterSpec, NodeName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Model of a rendered network, stored in [`ClusterSpec::facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NetworkModel {
    /// The chain id.
    pub(super) chain_id: String,
    /// Validated parameters.
    pub(super) parameters: Parameters,
    /// The text of `genesis.json`.
    pub(super) genesis: String,
    /// The validators by node.
    pub(super) validators: BTreeMap<NodeName, Identity>,
}

impl NetworkModel {
    /// Serializes the model for storage.
    pub(super) fn write(&self) -> Value {
        serde_json::to_value(self).expect("the model has only string keys")
    }

    /// Reads a stored model. Fails only on a spec that this type did not render.
    pub(super) fn read(spec: &ClusterSpec) -> Result<Self, serde_json::Error> {
        Self::deserialize(&spec.facts)
    }
}
