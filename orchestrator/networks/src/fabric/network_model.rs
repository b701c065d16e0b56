//! Public data of a spec for boot, probe, proof and bundle, and the names of its secret keys.

use super::{ca, database, parameters::Parameters};
use chainpool_agent::{ClusterSpec, NodeName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Model of a rendered network, stored in [`ClusterSpec::facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NetworkModel {
    /// Validated parameters.
    pub(super) parameters: Parameters,
    /// The channels; every node is on each of them.
    pub(super) channels: Vec<Channel>,
    /// The organisation of the orderers.
    pub(super) ordering: Organisation,
    /// The organisations of the peers.
    pub(super) organisations: Vec<Organisation>,
    /// Chainpool's client certificate for the nodes' admin and metrics ports, in PEM. Its key is
    /// [`CONTROL_KEY`].
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
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// Package id: label and SHA-256.
    pub(super) package_id: String,
    /// The package that every peer installs, in base64.
    pub(super) package: String,
    /// The node that runs it.
    pub(super) node: NodeName,
    /// Versions of Chainpool's that this one replaces. Any other definition belongs to the users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) earlier: Vec<String>,
    /// This version was requested explicitly: it also replaces a definition by the users.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) overrides: bool,
}

impl Chaincode {
    /// Sets the version. If it is unchanged and the change to it has completed, it no longer overrides user
    /// definitions.
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

    /// Returns true if a definition in this version belongs to the users: it is no present or previous
    /// version of ours.
    pub(super) fn is_user_defined(&self, version: &str) -> bool {
        version != self.version && !self.earlier.iter().any(|earlier| earlier == version)
    }
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    /// Its id.
    pub(super) name: String,
    /// Its genesis block in base64, by which nodes join.
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

/// Kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    Orderer,
    Peer,
    Ca,
    /// A peer's state database.
    Database,
    Chaincode,
}

impl NodeKind {
    /// Role in evidence.
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

/// Name in [`ClusterSpec::keys`] of the key of [`NetworkModel::control`].
pub(super) const CONTROL_KEY: &str = "control";

/// Name in [`ClusterSpec::keys`] of the key of [`NetworkModel::control_ca`].
pub(super) const CONTROL_CA_KEY: &str = "control/ca";

impl Organisation {
    /// Name in [`ClusterSpec::keys`] of its administrator's key; this and the following keys are PKCS#8 PEM.
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

    /// Name in [`ClusterSpec::keys`] of the password of its Fabric CA's registrar.
    pub(super) fn registrar_key(&self) -> String {
        format!("{}/registrar", self.name)
    }

    /// Kind of a node of the organisation. `None`: the node is not its own.
    fn kind(&self, node: &NodeName, member: NodeKind) -> Option<NodeKind> {
        if self.nodes.contains(node) {
            return Some(member);
        }
        let is_database = || self.nodes.iter().any(|peer| database::name(peer) == *node);
        (self.ca_node.as_ref() == Some(node))
            .then_some(NodeKind::Ca)
            .or_else(|| is_database().then_some(NodeKind::Database))
    }
}

impl NetworkModel {
    /// Kind of a node and its organisation. Chaincodes belong to no organisation.
    pub(super) fn kind(&self, node: &NodeName) -> (NodeKind, Option<&Organisation>) {
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
    pub(super) fn write(&self) -> Value {
        serde_json::to_value(self).expect("the model has only string keys")
    }

    /// Reads a stored model. Fails only on a spec that this type did not render.
    pub(super) fn read(spec: &ClusterSpec) -> Result<Self, serde_json::Error> {
        Self::deserialize(&spec.facts)
    }
}
