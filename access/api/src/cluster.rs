//! Clusters: one blockchain network each.

use crate::{Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// What is being done with a cluster.
    ClusterState {
        /// Being made for the first time.
        Creating = "creating",
        /// Made and proven.
        Ready = "ready",
        /// Stopped on purpose; its data is kept.
        Stopped = "stopped",
        /// Being made again with new keys.
        Resetting = "resetting",
        /// Making it failed; delete or reset it.
        Failed = "failed",
        /// Being removed.
        Deleting = "deleting",
    }
}

text_enum! {
    /// What the ledger's own evidence says.
    HealthState {
        /// Too young to judge.
        Starting = "starting",
        /// All nodes take part and blocks are made.
        Healthy = "healthy",
        /// It still commits, but something is missing.
        Degraded = "degraded",
        /// It does not commit.
        Broken = "broken",
        /// Nothing can be known: the host does not answer.
        Unknown = "unknown",
        /// Stopped on purpose.
        Stopped = "stopped",
    }
}

/// A verdict on a ledger, with its reason and its age.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Why, in words.
    pub reason: String,
    /// Since when the verdict stands.
    pub since: Timestamp,
    /// When the evidence was last gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// What was seen of a ledger at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// What was seen of each node, by name.
    pub nodes: BTreeMap<String, NodeEvidence>,
    /// The highest block that any node has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Whether all nodes asked have the same block at the same height; absent when it was not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<bool>,
    /// Voting power that takes part, and all of it, where the ledger has such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<(u64, u64)>,
    /// What was seen of each channel, by name, where the ledger has channels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, ChannelEvidence>,
    /// When the first of its certificates ends, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
}

/// What was seen of one channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelEvidence {
    /// How many blocks it has at the node that has most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Whether all nodes asked have the same block at the same height; absent when it was not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<bool>,
    /// The node that says that it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// How many nodes the leader hears, itself among them; 0 until it has counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u32>,
    /// Whether each of its chaincodes is committed, by name; empty when nobody could be asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chaincodes: BTreeMap<String, bool>,
}

/// What was seen of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeEvidence {
    /// The platform's word on its process: `running`, `paused`, `exited 137`, `absent` …
    pub process: String,
    /// Whether it answered for itself, and not as one that stands still.
    pub answers: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// What it lacks, so that it takes no part although it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unable: Option<String>,
    /// Why its port for users does not answer, although it takes part: for example because clients have used up its connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_to_users: Option<String>,
    /// Whether it stands still, or may be what the others wait for: if that lasts, only a new start helps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
    /// Its newest block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// The hash of the block that was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The time of its newest block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_at: Option<Timestamp>,
    /// Nodes that it is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<u32>,
    /// Whether it is still catching up with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catching_up: Option<bool>,
    /// Its voting power, where the ledger votes; 0: it no longer votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<u64>,
    /// What it does, where nodes differ in that: `orderer`, `peer`, `chaincode`, `ca`, `database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its organisation, where the ledger has organisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// How many blocks it has of each channel that it has joined, by the channel's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, u64>,
    /// When the certificate ends that it shows to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
}

/// A verdict that stood for a while.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthChange {
    /// The verdict.
    pub state: HealthState,
    /// Why, in words.
    pub reason: String,
    /// From when.
    pub at: Timestamp,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// A transaction of ours that was committed and read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// The transaction's hash.
    pub transaction: String,
    /// The block that holds it.
    pub height: u64,
    /// What was written.
    pub key: String,
    /// The value written there.
    pub value: String,
    /// The node that took it.
    pub written_to: String,
    /// The node that answered with it; the same where there is only one.
    pub read_from: String,
    /// When.
    pub at: Timestamp,
}

/// A node of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// The machine that it is on, by its name, where its host spans several and Chainpool chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The image that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// What was last seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<NodeEvidence>,
}

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// What it is for: `rpc` …
    pub name: String,
    /// The address, `host:port`.
    pub address: String,
}

/// One blockchain network.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Its identity.
    pub id: Uuid,
    /// Its name, unique among the living.
    pub name: String,
    /// Its host.
    pub host_id: Uuid,
    /// Its host's name.
    pub host: String,
    /// Its network type.
    pub network_type: String,
    /// The preset that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The ledger software's version line.
    pub version: String,
    /// How its nodes agree: `bft` …
    pub consensus: String,
    /// How many nodes it has.
    pub size: u32,
    /// All parameters, defaults filled in.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// Labels for filters.
    pub labels: BTreeMap<String, String>,
    /// What is being done with it.
    pub state: ClusterState,
    /// How often it was made anew.
    pub generation: u32,
    /// The ledger's own name.
    pub chain_id: String,
    /// What the ledger's evidence says.
    pub health: Health,
    /// Whether it can be applied for now.
    pub offered: bool,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The lease under which it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_id: Option<Uuid>,
    /// The operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
    /// The newest height seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// The transaction that proved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Until when repair waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
    /// When it was first made.
    pub created_at: Timestamp,
    /// When it last became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// Its nodes; lists leave them out.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// What was last seen; lists leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// Asks for a cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterCreate {
    /// Its name; made up when absent.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: Option<String>,
    /// Its host (name or id); placed when absent.
    pub host: Option<String>,
    /// Its network type; `cometbft` when absent. `type` is another name for it.
    #[serde(alias = "type")]
    pub network_type: Option<String>,
    /// The preset to begin with; `default` when absent.
    pub preset: Option<String>,
    /// Parameters on top of the preset.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Labels for filters: at most 64, keys and values of 1 to 63 of a-z, A-Z, 0-9, -, _, . and /.
    #[serde(default)]
    #[schema(schema_with = crate::bounds::labels)]
    pub labels: BTreeMap<String, String>,
}

/// Changes a cluster's settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterUpdate {
    /// Seconds for which repair shall wait, 365 days at most; 0 ends it.
    #[schema(maximum = 31_536_000)]
    pub maintenance_seconds: Option<u32>,
}

/// Changes a cluster while it runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterAmend {
    /// Parameters that are to be others; what may change while it runs is up to its network type.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Whether all certificates are issued anew, node after node.
    #[serde(default)]
    pub renew_certificates: bool,
}

/// Which clusters to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ClusterFilter {
    /// On this host (name or id).
    pub host: Option<String>,
    /// In this state.
    pub state: Option<ClusterState>,
    /// With this verdict.
    pub health: Option<HealthState>,
    /// Of this network type. `type` is another name for it.
    #[serde(alias = "type")]
    pub network_type: Option<String>,
    /// Only those that can be applied for now.
    pub offered: Option<bool>,
    /// Held by this holder.
    pub holder: Option<String>,
    /// Whose name contains this.
    #[param(max_length = 200)]
    pub search: Option<String>,
    /// Go on after this place.
    pub after: Option<String>,
    /// At most this many, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}
