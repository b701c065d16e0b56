//! Access to the nodes of one network: its model and the administrators' keys.

use crate::{
    Nodes,
    client::call::CallError,
    fabric::{
        crypto::{identity::Identity, tls::Trust},
        model::{CONTROL_KEY, NetworkModel, Organisation},
        parameters::{Parameters, consensus::Consensus},
    },
};
use chainpool_agent::NodeName;
use chainpool_health::Fabric;
use std::{collections::BTreeMap, time::Duration};

/// A network with the credentials to call its nodes.
pub(crate) struct Access {
    pub(crate) nodes: Nodes,
    pub(crate) model: NetworkModel,
    /// TLS trust in an organisation's nodes, by organisation name.
    trust: BTreeMap<String, Trust>,
}

impl Access {
    /// Reads model and keys. Fails only on a spec that this type did not render.
    pub(crate) fn new(nodes: &Nodes) -> Result<Self, CallError> {
        let model = NetworkModel::read(&nodes.spec).map_err(|e| stored(&e))?;
        let key = key(nodes, CONTROL_KEY)?;
        let trust = model
            .organisations
            .iter()
            .chain([&model.ordering])
            .map(|organisation| {
                Ok((
                    organisation.name.clone(),
                    Trust::new(&organisation.tls_ca, &model.control, &key)?,
                ))
            })
            .collect::<Result<_, rustls::Error>>()
            .map_err(|e| stored(&e))?;
        Ok(Self {
            nodes: nodes.clone(),
            model,
            trust,
        })
    }

    /// An organisation's administrator.
    pub(crate) fn admin(&self, organisation: &Organisation) -> Result<Identity, CallError> {
        let key = key(&self.nodes, &organisation.admin_key())?;
        Identity::read(&organisation.msp, &organisation.admin, &key).map_err(|e| stored(&e))
    }

    /// The organisation of a node that has one.
    pub(crate) fn organisation(&self, node: &NodeName) -> Option<&Organisation> {
        self.model.kind(node).1
    }

    /// TLS trust in a node.
    pub(crate) fn trust(&self, node: &NodeName) -> Result<&Trust, CallError> {
        let trust = self
            .organisation(node)
            .and_then(|organisation| self.trust.get(&organisation.name));
        trust.ok_or_else(|| CallError::Refused(format!("{node} belongs to no organisation")))
    }

    /// All peers, each with its organisation.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&Organisation, &NodeName)> {
        self.model
            .organisations
            .iter()
            .flat_map(|organisation| organisation.nodes.iter().map(move |node| (organisation, node)))
    }

    /// How long an update of a channel's configuration may wait for its block. Raft cuts one at once. BFT
    /// batches it like any transaction (`RequestBatchMaxInterval` of `SmartBFT`, which Fabric sets to the
    /// batch timeout).
    pub(crate) fn config_update_delay(&self) -> Duration {
        let Parameters {
            consensus,
            batch_timeout_ms,
            ..
        } = &self.model.parameters;
        match consensus {
            Consensus::Raft => Duration::ZERO,
            Consensus::Bft => Duration::from_millis((*batch_timeout_ms).into()),
        }
    }

    /// Timing rules.
    pub(crate) fn policy(&self) -> &Fabric {
        &self.nodes.policy.fabric
    }

    /// All orderers.
    pub(crate) fn orderers(&self) -> &[NodeName] {
        &self.model.ordering.nodes
    }
}

/// A secret key in PKCS#8 PEM.
fn key(nodes: &Nodes, name: &str) -> Result<String, CallError> {
    let bytes = nodes
        .spec
        .keys
        .get(name)
        .ok_or_else(|| stored(&format!("no key {name}")))?;
    String::from_utf8(bytes.expose().clone()).map_err(|_| stored(&format!("key {name} is not PEM")))
}

fn stored(why: &dyn std::fmt::Display) -> CallError {
    CallError::Refused(format!(
        "the stored spec is not a Fabric spec: {why}; reset or delete the cluster"
    ))
}
