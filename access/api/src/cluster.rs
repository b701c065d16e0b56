//! Clusters: one blockchain network each.

use crate::{Drawing, ProcessState, Progress, Section, Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// Lifecycle state of a cluster.
    ClusterState {
        /// First creation in progress.
        Creating = "creating",
        /// Created and verified by a committed transaction.
        Ready = "ready",
        /// Stopped on request; the data is kept.
        Stopped = "stopped",
        /// Reset in progress: new keys, empty ledger.
        Resetting = "resetting",
        /// Creation failed; delete or reset the cluster.
        Failed = "failed",
        /// Deletion in progress.
        Deleting = "deleting",
    }
}

text_enum! {
    /// Health of a cluster, from its ledger.
    HealthState {
        /// Recently started; not assessed yet.
        Starting = "starting",
        /// All nodes participate and blocks are produced.
        Healthy = "healthy",
        /// Transactions commit, but something is missing.
        Degraded = "degraded",
        /// Transactions do not commit.
        Broken = "broken",
        /// Not observable: the host is unreachable.
        Unknown = "unknown",
        /// Stopped on request.
        Stopped = "stopped",
    }
}

/// Health of a cluster, with reason and times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Health state.
    pub state: HealthState,
    /// Human-readable reason.
    pub reason: String,
    /// Time of the last change of state.
    pub since: Timestamp,
    /// Time of the last probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// Observations of a ledger at one point in time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Observations of each node, by node name.
    pub nodes: BTreeMap<String, NodeEvidence>,
    /// Highest block of any node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Sign of progress, from the network type; absent if the ledger shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// `true` if all probed nodes have the same block at the same height; absent if not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<bool>,
    /// Participating and total voting power, on ledgers with voting power; replaced by `sections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<(u64, u64)>,
    /// Observations of each channel, by channel name, on ledgers with channels; replaced by `sections`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, ChannelEvidence>,
    /// Earliest certificate expiry, on ledgers with certificates; replaced by `sections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
    /// The same facts as tables, from the network type; only in the details of a cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub sections: Vec<Section>,
    /// The same facts as a graph, from the network type; only in the details of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawing: Option<Drawing>,
}

/// Observations of one channel; replaced by `sections`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelEvidence {
    /// Number of blocks on the node that has the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// `true` if all probed nodes have the same block at the same height; absent if not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<bool>,
    /// Node that reports itself as leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Number of nodes in contact with the leader, including the leader; 0 until counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u32>,
    /// Commit status of each chaincode, by name; empty if no node responded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chaincodes: BTreeMap<String, bool>,
}

/// Observations of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeEvidence {
    /// Process state as the platform reports it: `running`, `paused`, `exited 137`, `absent` …
    #[schema(value_type = String)]
    pub process: ProcessState,
    /// `true` if the node responded and is not stalled.
    pub answers: bool,
    /// Reason, if `answers` is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// Missing precondition that keeps a responding node from participating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unable: Option<String>,
    /// Reason that the client port of a participating node is unresponsive, such as all connections in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_to_users: Option<String>,
    /// `true` if the node is stalled or may block the others. If this persists, it needs a restart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
    /// Newest block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Hash of the compared block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Time of the newest block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_at: Option<Timestamp>,
    /// Number of connected nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<u32>,
    /// `true` while the node catches up with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catching_up: Option<bool>,
    /// Voting power, on ledgers with voting; 0: no longer a voter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<u64>,
    /// Role, on ledgers with several: `orderer`, `peer`, `chaincode`, `ca`, `database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Organisation, on ledgers with organisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Number of blocks of each joined channel, by channel name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, u64>,
    /// Expiry of the node's own certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<Timestamp>,
}

/// One change of a cluster's health.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HealthChange {
    /// Health state.
    pub state: HealthState,
    /// Human-readable reason.
    pub reason: String,
    /// Time of the change.
    pub at: Timestamp,
    /// Observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// A test transaction that was committed and read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// Hash of the transaction.
    pub transaction: String,
    /// Height of its block.
    pub height: u64,
    /// Key written.
    pub key: String,
    /// Value written.
    pub value: String,
    /// Node that accepted the transaction.
    pub written_to: String,
    /// Node that returned the value; the same in a cluster of one.
    pub read_from: String,
    /// Time of the proof.
    pub at: Timestamp,
}

/// A node of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Name in the cluster.
    pub name: String,
    /// Machine name, on hosts with several machines if Chainpool chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Addresses.
    pub endpoints: Vec<Endpoint>,
    /// Last observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<NodeEvidence>,
}

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Purpose: `rpc` …
    pub name: String,
    /// Address, `host:port`.
    pub address: String,
}

/// A blockchain network.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Unique identifier.
    pub id: Uuid,
    /// Name, unique among existing clusters.
    pub name: String,
    /// Host id.
    pub host_id: Uuid,
    /// Host name.
    pub host: String,
    /// Network type.
    pub network_type: String,
    /// Preset it was created from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Version line of the ledger software.
    pub version: String,
    /// Consensus protocol: `bft` …
    pub consensus: String,
    /// Number of nodes.
    pub size: u32,
    /// All parameters, defaults included.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Lifecycle state.
    pub state: ClusterState,
    /// Generation; increases with each reset.
    pub generation: u32,
    /// Chain id of the ledger.
    pub chain_id: String,
    /// Health, from the ledger.
    pub health: Health,
    /// `true` if available for lease.
    pub offered: bool,
    /// Current holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Current lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_id: Option<Uuid>,
    /// Operation in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
    /// Highest block observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Last proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// End of the suspension of automatic repair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time it last became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// Nodes; empty in lists.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Last observations; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// A new cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterCreate {
    /// Name; default: generated.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: Option<String>,
    /// Host (name or id); default: chosen by placement.
    pub host: Option<String>,
    /// Network type; default: `cometbft`. Alias: `type`.
    #[serde(alias = "type")]
    pub network_type: Option<String>,
    /// Preset; default: `default`.
    pub preset: Option<String>,
    /// Parameters that override the preset.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Labels: at most 64; keys and values of 1 to 63 characters from a-z, A-Z, 0-9, -, _, . and /.
    #[serde(default)]
    #[schema(schema_with = crate::bounds::labels)]
    pub labels: BTreeMap<String, String>,
}

/// New settings of a cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterUpdate {
    /// Seconds to suspend automatic repair, at most 365 days; 0 resumes it.
    #[schema(maximum = 31_536_000)]
    pub maintenance_seconds: Option<u32>,
}

/// Changes to a running cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterAmend {
    /// New parameter values; the network type defines which parameters a running cluster can change.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// `true` to reissue all certificates, node by node.
    #[serde(default)]
    pub renew_certificates: bool,
}

/// Filter for clusters.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ClusterFilter {
    /// Host (name or id).
    pub host: Option<String>,
    /// Lifecycle state.
    pub state: Option<ClusterState>,
    /// Health state.
    pub health: Option<HealthState>,
    /// Network type. Alias: `type`.
    #[serde(alias = "type")]
    pub network_type: Option<String>,
    /// Availability for lease.
    pub offered: Option<bool>,
    /// Holder.
    pub holder: Option<String>,
    /// Part of the name.
    #[param(max_length = 200)]
    pub search: Option<String>,
    /// Cursor: `next` of the previous page.
    pub after: Option<String>,
    /// Maximum number of items, 1 to 500; default 100.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}
