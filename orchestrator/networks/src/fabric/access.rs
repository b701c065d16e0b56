//! All that it takes to speak to the nodes of one network: what is known of them, and the keys that they obey.

use super::{
    connect::CallError,
    consensus::Consensus,
    facts::{CONTROL_KEY, Facts, Organisation},
    identity::Identity,
    parameters::Parameters,
    tls::Trust,
};
use crate::Nodes;
use chainpool_agent::NodeName;
use std::{collections::BTreeMap, time::Duration};

/// A network, ready to be spoken to.
pub(super) struct Access {
    pub(super) nodes: Nodes,
    pub(super) facts: Facts,
    /// How an organisation's nodes are recognised, by the organisation's name.
    trust: BTreeMap<String, Trust>,
}

impl Access {
    /// Reads facts and keys. Fails only on a spec that this type did not render.
    pub(super) fn new(nodes: &Nodes) -> Result<Self, CallError> {
        let facts = Facts::read(&nodes.spec).map_err(|e| stored(&e))?;
        let key = key(nodes, CONTROL_KEY)?;
        let trust = facts
            .organisations
            .iter()
            .chain([&facts.ordering])
            .map(|organisation| {
                Ok((
                    organisation.name.clone(),
                    Trust::new(&organisation.tls_ca, &facts.control, &key)?,
                ))
            })
            .collect::<Result<_, rustls::Error>>()
            .map_err(|e| stored(&e))?;
        Ok(Self {
            nodes: nodes.clone(),
            facts,
            trust,
        })
    }

    /// An organisation's administrator.
    pub(super) fn admin(&self, organisation: &Organisation) -> Result<Identity, CallError> {
        let key = key(&self.nodes, &organisation.admin_key())?;
        Identity::read(&organisation.msp, &organisation.admin, &key).map_err(|e| stored(&e))
    }

    /// The organisation of a node that has one.
    pub(super) fn organisation(&self, node: &NodeName) -> Option<&Organisation> {
        self.facts.duty(node).1
    }

    /// How a node is recognised.
    pub(super) fn trust(&self, node: &NodeName) -> Result<&Trust, CallError> {
        let trust = self
            .organisation(node)
            .and_then(|organisation| self.trust.get(&organisation.name));
        trust.ok_or_else(|| CallError::Refused(format!("{node} is of no organisation")))
    }

    /// All peers, each with its organisation.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&Organisation, &NodeName)> {
        self.facts
            .organisations
            .iter()
            .flat_map(|organisation| organisation.nodes.iter().map(move |node| (organisation, node)))
    }

    /// How long an update of a channel's configuration may wait for its block. By Raft it gets one at once, by BFT it waits for others
    /// like any transaction (`RequestBatchMaxInterval` of the library `SmartBFT`, which Fabric sets to the batch timeout).
    pub(super) fn cut_after(&self) -> Duration {
        let Parameters {
            consensus,
            batch_timeout_ms,
            ..
        } = &self.facts.parameters;
        match consensus {
            Consensus::Raft => Duration::ZERO,
            Consensus::Bft => Duration::from_millis((*batch_timeout_ms).into()),
        }
    }

    /// All orderers.
    pub(super) fn orderers(&self) -> &[NodeName] {
        &self.facts.ordering.nodes
    }
}

/// A secret key in PKCS#8 PEM.
fn key(nodes: &Nodes, name: &str) -> Result<String, CallError> {
    let bytes = nodes
        .spec
        .keys
        .get(name)
        .ok_or_else(|| stored(&format!("no key {name}")))?;
    String::from_utf8(bytes.expose().clone()).map_err(|_| stored(&format!("key {name} is no PEM")))
}

fn stored(why: &dyn std::fmt::Display) -> CallError {
    CallError::Refused(format!("the stored spec is not that of a Fabric network: {why}"))
}
