//! What of a spec is public and needed later by boot, probe, proof and bundle; and what its secret keys are called.

use super::{ca, database, parameters::Parameters};
use chainpool_agent::{ClusterSpec, NodeName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The facts of a rendered network, as they stand in [`ClusterSpec::facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The settled parameters.
    pub(super) parameters: Parameters,
    /// The channels; every node is on each of them.
    pub(super) channels: Vec<Channel>,
    /// The organisation of the orderers.
    pub(super) ordering: Organisation,
    /// The organisations of the peers.
    pub(super) organisations: Vec<Organisation>,
    /// The certificate by which Chainpool itself may use the nodes' admin and metrics ports, in PEM. Its key is [`CONTROL_KEY`].
    pub(super) control: String,
    /// The chaincodes; each is committed on every channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) chaincodes: Vec<Chaincode>,
    /// The authority that issued [`Self::control`], in PEM. Its key is [`CONTROL_CA_KEY`].
    #[serde(default)]
    pub(super) control_ca: String,
}

/// A chaincode that runs as a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chaincode {
    /// Its name on the channels.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// The name by which peers know the package: its label and its SHA-256.
    pub(super) package_id: String,
    /// The package that every peer installs, in base64.
    pub(super) package: String,
    /// The node that runs it.
    pub(super) node: NodeName,
    /// The versions of ours that this one takes the place of. A definition in any other is its users' own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) earlier: Vec<String>,
    /// This version was asked for now: what its users defined gives way too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) overrides: bool,
}

impl Chaincode {
    /// The same in a version, in which it may be already; unless the change to it is over it may not have got there.
    pub(super) fn in_version(self, version: &str, is_over: bool) -> Self {
        if self.version == version {
            return Self {
                overrides: self.overrides && !is_over,
                ..self
            };
        }
        let mut earlier = self.earlier;
        earlier.retain(|known| known != version);
        earlier.push(self.version);
        Self {
            version: version.to_owned(),
            earlier,
            overrides: true,
            ..self
        }
    }

    /// Whether a definition in this version is its users' own: neither ours nor one that was.
    pub(super) fn is_users_own(&self, version: &str) -> bool {
        version != self.version && !self.earlier.iter().any(|earlier| earlier == version)
    }
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    /// Its id.
    pub(super) name: String,
    /// Its first block in base64; what every node joins with.
    pub(super) genesis: String,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Organisation {
    /// Its name in the channel's configuration: `orderers`, `org1`.
    pub(super) name: String,
    /// Its MSP id: `OrderersMSP`, `Org1MSP`.
    pub(super) msp: String,
    /// The domain in its certificates' names.
    pub(super) domain: String,
    /// Its enrolment authority's certificate in PEM.
    pub(super) ca: String,
    /// Its TLS authority's certificate in PEM.
    pub(super) tls_ca: String,
    /// Its administrator's enrolment certificate in PEM.
    pub(super) admin: String,
    /// An ordinary user's enrolment certificate in PEM.
    pub(super) user: String,
    /// Its orderers or peers.
    pub(super) nodes: Vec<NodeName>,
    /// Its Fabric CA, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_node: Option<NodeName>,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    Orderer,
    Peer,
    Ca,
    /// A peer's state database.
    Database,
    Chaincode,
}

impl Duty {
    /// As evidence calls it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Orderer => "orderer",
            Self::Peer => "peer",
            Self::Ca => ca::ROLE,
            Self::Database => "database",
            Self::Chaincode => "chaincode",
        }
    }
}

/// The name, in [`ClusterSpec::keys`], of the key of [`Facts::control`].
pub(super) const CONTROL_KEY: &str = "control";

/// The name, in [`ClusterSpec::keys`], of the key of [`Facts::control_ca`].
pub(super) const CONTROL_CA_KEY: &str = "control/ca";

impl Organisation {
    /// The names, in [`ClusterSpec::keys`], of its keys: PKCS#8 in PEM.
    pub(super) fn admin_key(&self) -> String {
        format!("{}/admin", self.name)
    }

    pub(super) fn user_key(&self) -> String {
        format!("{}/user", self.name)
    }

    pub(super) fn ca_key(&self) -> String {
        format!("{}/ca", self.name)
    }

    pub(super) fn tls_ca_key(&self) -> String {
        format!("{}/tlsca", self.name)
    }

    /// The name, there, of the password of its Fabric CA's registrar.
    pub(super) fn registrar_key(&self) -> String {
        format!("{}/registrar", self.name)
    }

    /// What a node does for it. `None`: nothing, it is not its own.
    fn duty(&self, node: &NodeName, member: Duty) -> Option<Duty> {
        if self.nodes.contains(node) {
            return Some(member);
        }
        let is_database = || self.nodes.iter().any(|peer| database::name(peer) == *node);
        (self.ca_node.as_ref() == Some(node))
            .then_some(Duty::Ca)
            .or_else(|| is_database().then_some(Duty::Database))
    }
}

impl Facts {
    /// What a node does, and whose it is. A chaincode is everybody's.
    pub(super) fn duty(&self, node: &NodeName) -> (Duty, Option<&Organisation>) {
        let organisations = self
            .organisations
            .iter()
            .map(|organisation| (organisation, Duty::Peer))
            .chain([(&self.ordering, Duty::Orderer)]);
        let mut found = organisations.filter_map(|(organisation, member)| {
            Some((organisation.duty(node, member)?, Some(organisation)))
        });
        found.next().unwrap_or((Duty::Chaincode, None))
    }

    /// As they are stored.
    pub(super) fn write(&self) -> Value {
        serde_json::to_value(self).expect("facts have only string keys")
    }

    /// Reads them back. Fails only on a spec that this type did not render.
    pub(super) fn read(spec: &ClusterSpec) -> Result<Self, serde_json::Error> {
        Self::deserialize(&spec.facts)
    }
}
