//! Public data of a spec for boot, probe, proof and bundle, and the names of its secret keys.

pub(super) mod actions;
pub(super) mod files;
pub(super) mod names;
pub(super) mod ports;
pub(super) mod role;

use crate::fabric::parameters::Parameters;
use chainpool_agent::{ClusterSpec, NodeName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Model of a rendered network, stored in [`ClusterSpec::facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkModel {
    /// Validated parameters.
    pub(crate) parameters: Parameters,
    /// The channels; every node is on each of them.
    pub(crate) channels: Vec<Channel>,
    /// The organisation of the orderers.
    pub(crate) ordering: Organisation,
    /// The organisations of the peers.
    pub(crate) organisations: Vec<Organisation>,
    /// Chainpool's client certificate for the nodes' admin and metrics ports, in PEM. Its key is
    /// [`CONTROL_KEY`].
    pub(crate) control: String,
    /// The chaincodes; each is committed on every channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) chaincodes: Vec<Chaincode>,
    /// The authority that issued [`Self::control`], in PEM. Its key is [`CONTROL_CA_KEY`].
    #[serde(default)]
    pub(crate) control_ca: String,
}

/// A chaincode that runs as a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chaincode {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Package id: label and SHA-256.
    pub(crate) package_id: String,
    /// The package that every peer installs, in base64.
    pub(crate) package: String,
    /// The node that runs it.
    pub(crate) node: NodeName,
    /// Versions of Chainpool's that this one replaces. Any other definition belongs to the users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<String>,
    /// This version was requested explicitly: it also replaces a definition by the users.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) overrides: bool,
}

impl Chaincode {
    /// Sets the version. If it is unchanged and the change to it has completed, it no longer overrides user
    /// definitions.
    pub(crate) fn in_version(self, version: &str, is_over: bool) -> Self {
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

    /// Returns true if a definition in this version belongs to the users: it is no present or previous
    /// version of ours.
    pub(crate) fn is_user_defined(&self, version: &str) -> bool {
        version != self.version && !self.earlier.iter().any(|earlier| earlier == version)
    }
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Channel {
    /// Its id.
    pub(crate) name: String,
    /// Its genesis block in base64, by which nodes join.
    pub(crate) genesis: String,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Organisation {
    /// Its name in the channel's configuration: `orderers`, `org1`.
    pub(crate) name: String,
    /// Its MSP id: `OrderersMSP`, `Org1MSP`.
    pub(crate) msp: String,
    /// The domain in its certificates' names.
    pub(crate) domain: String,
    /// Its enrolment authority's certificate in PEM.
    pub(crate) ca: String,
    /// Its TLS authority's certificate in PEM.
    pub(crate) tls_ca: String,
    /// Its administrator's enrolment certificate in PEM.
    pub(crate) admin: String,
    /// An ordinary user's enrolment certificate in PEM.
    pub(crate) user: String,
    /// Its orderers or peers.
    pub(crate) nodes: Vec<NodeName>,
    /// Its Fabric CA, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_node: Option<NodeName>,
}

/// Kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Orderer,
    Peer,
    Ca,
    /// A peer's state database.
    Database,
    Chaincode,
}

impl NodeKind {
    /// Role in evidence.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Orderer => "orderer",
            Self::Peer => "peer",
            Self::Ca => role::CA,
            Self::Database => "database",
            Self::Chaincode => "chaincode",
        }
    }
}

/// Name in [`ClusterSpec::keys`] of the key of [`NetworkModel::control`].
pub(crate) const CONTROL_KEY: &str = "control";

/// Name in [`ClusterSpec::keys`] of the key of [`NetworkModel::control_ca`].
pub(crate) const CONTROL_CA_KEY: &str = "control/ca";

/// Name of the registrar of a Fabric CA.
pub(crate) const REGISTRAR: &str = "admin";

impl Organisation {
    /// Name in [`ClusterSpec::keys`] of its administrator's key; this and the following keys are PKCS#8 PEM.
    pub(crate) fn admin_key(&self) -> String {
        format!("{}/admin", self.name)
    }

    pub(crate) fn user_key(&self) -> String {
        format!("{}/user", self.name)
    }

    pub(crate) fn ca_key(&self) -> String {
        format!("{}/ca", self.name)
    }

    pub(crate) fn tls_ca_key(&self) -> String {
        format!("{}/tlsca", self.name)
    }

    /// Name in [`ClusterSpec::keys`] of the password of its Fabric CA's registrar.
    pub(crate) fn registrar_key(&self) -> String {
        format!("{}/registrar", self.name)
    }

    /// Kind of a node of the organisation. `None`: the node is not its own.
    fn kind(&self, node: &NodeName, member: NodeKind) -> Option<NodeKind> {
        if self.nodes.contains(node) {
            return Some(member);
        }
        let is_database = || self.nodes.iter().any(|peer| names::database(peer) == *node);
        (self.ca_node.as_ref() == Some(node))
            .then_some(NodeKind::Ca)
            .or_else(|| is_database().then_some(NodeKind::Database))
    }
}

impl NetworkModel {
    /// Kind of a node and its organisation. Chaincodes belong to no organisation.
    pub(crate) fn kind(&self, node: &NodeName) -> (NodeKind, Option<&Organisation>) {
        let organisations = self
            .organisations
            .iter()
            .map(|organisation| (organisation, NodeKind::Peer))
            .chain([(&self.ordering, NodeKind::Orderer)]);
        let mut found = organisations.filter_map(|(organisation, member)| {
            Some((organisation.kind(node, member)?, Some(organisation)))
        });
        found.next().unwrap_or((NodeKind::Chaincode, None))
    }

    /// Serializes the model for storage.
    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).expect("the model has only string keys")
    }

    /// Reads a stored model. Fails only on a spec that this type did not render.
    pub(crate) fn read(spec: &ClusterSpec) -> Result<Self, serde_json::Error> {
        Self::deserialize(&spec.facts)
    }
}
