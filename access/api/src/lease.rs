//! Leases of clusters.

use crate::{Endpoint, Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// State of a lease.
    LeaseState {
        /// Active.
        Active = "active",
        /// Released by its holder.
        Released = "released",
        /// Past its expiry.
        Expired = "expired",
        /// Revoked by an operator.
        Revoked = "revoked",
        /// Ended because its host was permanently lost.
        HostLost = "host_lost",
    }
}

/// Request for a free cluster. Absent criteria match every cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Apply {
    /// Holder; default: the caller's account. Another holder requires a token with `lease_any` and is stored
    /// and returned as `<account>/<holder>` with the token's account; requests may omit the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub holder: Option<String>,
    /// Network type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
    /// Preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Version line of the ledger software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Number of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Int64, maximum = 4_294_967_295_u32)]
    pub size: Option<u32>,
    /// Consensus protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consensus: Option<String>,
    /// Host (name or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Labels, all of which must match; at most 64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = crate::bounds::labels)]
    pub labels: BTreeMap<String, String>,
    /// Parameters, all of which must match; at most 32.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Lifetime in seconds; default 86400, at most 30 days, 0: no expiry (operators only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_592_000)]
    pub ttl_seconds: Option<u64>,
    /// `true` to lease another cluster if the holder already has one from the same request.
    pub allow_multiple: bool,
}

/// New lifetime of a lease, counted from the request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Renew {
    /// Lifetime in seconds; default 86400, at most 30 days, 0: no expiry (operators only).
    #[schema(maximum = 2_592_000)]
    pub ttl_seconds: Option<u64>,
}

/// A lease of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Unique identifier.
    pub id: Uuid,
    /// Cluster id.
    pub cluster_id: Uuid,
    /// Cluster name.
    pub cluster: String,
    /// Host name.
    pub host: String,
    /// Network type.
    pub network_type: String,
    /// Holder.
    pub holder: String,
    /// State.
    pub state: LeaseState,
    /// Start time.
    pub created_at: Timestamp,
    /// Expiry; absent: no expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// End time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Operation that resets the cluster after the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
}

/// Filter for leases.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LeaseFilter {
    /// State.
    pub state: Option<LeaseState>,
    /// Holder.
    pub holder: Option<String>,
    /// Cluster (name or id).
    pub cluster: Option<String>,
    /// Cursor: `next` of the previous page.
    pub after: Option<String>,
    /// Maximum number of items, 1 to 500; default 100.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Connection details for the holder of a lease.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Bundle {
    /// Lease id.
    pub lease_id: Uuid,
    /// Cluster name.
    pub cluster: String,
    /// Network type.
    pub network_type: String,
    /// Chain id of the ledger.
    pub chain_id: String,
    /// Nodes.
    pub nodes: Vec<BundleNode>,
    /// Shell command that commits a transaction.
    pub write: String,
    /// Shell command that reads it back from another node.
    pub read: String,
    /// Content of files by name (`genesis.json` …).
    pub files: BTreeMap<String, String>,
    /// Notes, for example that the addresses work on one machine only.
    pub notes: Vec<String>,
}

/// A node of a leased cluster.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BundleNode {
    /// Name.
    pub name: String,
    /// Public identities by name (`node_id`, `validator_address` …).
    pub identities: BTreeMap<String, String>,
    /// Addresses.
    pub endpoints: Vec<Endpoint>,
}
