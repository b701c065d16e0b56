//! Leases: who holds which cluster until when.

use crate::{Endpoint, Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// How far a lease is.
    LeaseState {
        /// The cluster is held.
        Active = "active",
        /// Its holder gave it back.
        Released = "released",
        /// Its time ran out.
        Expired = "expired",
        /// An operator took it back.
        Revoked = "revoked",
        /// Its host never returned.
        HostLost = "host_lost",
    }
}

/// Takes a free cluster. What is absent matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Apply {
    /// The holder; the caller's account when absent. Another one needs a token with `lease_any` and is stored and returned as
    /// `<account>/<holder>` with the token's account; requests may leave the account out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub holder: Option<String>,
    /// Of this network type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub network_type: Option<String>,
    /// Made from this preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Of this version line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// With this many nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Int64, maximum = 4_294_967_295_u32)]
    pub size: Option<u32>,
    /// Whose nodes agree in this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consensus: Option<String>,
    /// On this host (name or id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// With all these labels, at most 64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = crate::bounds::labels)]
    pub labels: BTreeMap<String, String>,
    /// Made with these parameters, at most 32.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Seconds until it expires; 86400 when absent, 30 days at most, 0 = never (operators only).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 2_592_000)]
    pub ttl_seconds: Option<u64>,
    /// Take another one although the holder has one by the same filter.
    pub allow_multiple: bool,
}

/// Renews a lease, counted from now.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Renew {
    /// Seconds until it expires; 86400 when absent, 30 days at most, 0 = never (operators only).
    #[schema(maximum = 2_592_000)]
    pub ttl_seconds: Option<u64>,
}

/// Who holds which cluster until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Its identity.
    pub id: Uuid,
    /// The cluster.
    pub cluster_id: Uuid,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's host.
    pub host: String,
    /// The cluster's network type.
    pub network_type: String,
    /// Who holds it.
    pub holder: String,
    /// How far it is.
    pub state: LeaseState,
    /// From when.
    pub created_at: Timestamp,
    /// Until when; absent: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The operation that wipes the cluster after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
}

/// Which leases to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LeaseFilter {
    /// In this state.
    pub state: Option<LeaseState>,
    /// Of this holder.
    pub holder: Option<String>,
    /// Of this cluster (name or id).
    pub cluster: Option<String>,
    /// Go on after this place.
    pub after: Option<String>,
    /// At most this many, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Everything that a holder needs to connect.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Bundle {
    /// The lease.
    pub lease_id: Uuid,
    /// The cluster's name.
    pub cluster: String,
    /// Its network type.
    pub network_type: String,
    /// The ledger's own name.
    pub chain_id: String,
    /// Its nodes.
    pub nodes: Vec<BundleNode>,
    /// One command that commits a transaction.
    pub write: String,
    /// One command that reads it back elsewhere.
    pub read: String,
    /// Files by name, as texts (`genesis.json` …).
    pub files: BTreeMap<String, String>,
    /// What to know besides, such as that the addresses work on one machine only.
    pub notes: Vec<String>,
}

/// A node as its user sees it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BundleNode {
    /// Its name.
    pub name: String,
    /// Its public identities by name (`node_id`, `validator_address` …).
    pub identities: BTreeMap<String, String>,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
}
