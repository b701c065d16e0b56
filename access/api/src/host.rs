//! Hosts: the machines that clusters run on.

use crate::{Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// Whether a host can be worked with.
    HostState {
        /// It answers.
        Active = "active",
        /// It does not answer.
        Unreachable = "unreachable",
        /// Nothing is done there until somebody looks at it; the reason says why.
        Paused = "paused",
    }
}

text_enum! {
    /// What kind of platform a host is.
    Platform {
        /// One Docker engine.
        Docker = "docker",
        /// A Docker Swarm.
        Swarm = "swarm",
        /// A Kubernetes cluster.
        Kubernetes = "kubernetes",
    }
}

text_enum! {
    /// Where nodes' output goes.
    LogType {
        /// Kept by the platform, limited in size.
        Local = "local",
        /// Sent to a syslog server.
        Syslog = "syslog",
    }
}

text_enum! {
    /// How much nodes tell.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// What changes.
        Info = "info",
        /// What is odd.
        Warning = "warning",
        /// What fails.
        Error = "error",
    }
}

/// Logging of the nodes on a host; applies to nodes made from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostLog {
    /// Where it goes.
    #[serde(rename = "type")]
    pub kind: LogType,
    /// How much.
    pub level: LogLevel,
    /// The syslog server, such as `udp://10.0.0.9:514`; only with type `syslog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

impl Default for HostLog {
    fn default() -> Self {
        Self {
            kind: LogType::Local,
            level: LogLevel::Info,
            server: None,
        }
    }
}

/// One entry of a host's fill policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// The network type to make.
    #[serde(rename = "type")]
    pub network_type: String,
    /// The preset to make it from; `default` when absent.
    #[serde(default = "default_preset")]
    pub preset: String,
    /// Its share of the capacity beside the other entries', 1 to 10000.
    #[serde(default = "one")]
    #[schema(format = Int64, minimum = 1, maximum = 10_000)]
    pub share: u32,
    /// Parameters on top of the preset.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

fn default_preset() -> String {
    "default".to_owned()
}

fn one() -> u32 {
    1
}

/// Certificates for mutual TLS with an engine, as PEM texts. The key is sealed in the store and never shown again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostTls {
    /// The authority that signed the engine's certificate.
    pub ca: String,
    /// Chainpool's certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for HostTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTls(***)")
    }
}

/// A login for an image registry. The password is sealed in the store and never shown again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRegistry {
    /// The registry, `host[:port]` or `docker.io`; the mirror's when absent. No other registry gets the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The user; empty: the stored login is removed.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for HostRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostRegistry(***)")
    }
}

/// What the platform said of itself when it was last asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostPlatform {
    /// Its version.
    pub version: String,
    /// The API version spoken with it.
    pub api_version: String,
    /// How it stores layers.
    pub storage_driver: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Free bytes where it keeps containers; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// All bytes there; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total_bytes: Option<u64>,
    /// Its clock minus ours in milliseconds; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
    /// The machines that it spans; empty where there is but one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<HostMachine>,
    /// When it was asked.
    pub checked_at: Timestamp,
}

/// One machine of a platform that spans several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostMachine {
    /// The platform's lasting id of it.
    pub id: String,
    /// Its host name.
    pub name: String,
    /// Where its published ports are reached.
    pub address: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Why no new node may go there; absent when it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// A machine, or several, that clusters run on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its identity.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub platform: Platform,
    /// Where its API is reached.
    pub address: String,
    /// The platform's own identity.
    pub engine_id: String,
    /// Whether it can be worked with.
    pub state: HostState,
    /// Why it is in that state, when it is not active.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether new clusters may be placed and free ones be offered there.
    pub schedulable: bool,
    /// Whether it is kept filled.
    pub autofill: bool,
    /// How many clusters it may have.
    pub capacity: u32,
    /// How much of its memory the sum of node limits may reach.
    pub memory_factor: f64,
    /// Percent of the disk that must stay free for new clusters.
    pub disk_floor: u32,
    /// What it is filled with.
    pub fill: Vec<Fill>,
    /// Why which fill entry is paused, by its place in `fill`.
    pub fill_paused: BTreeMap<String, String>,
    /// The address that users reach its clusters at.
    pub public_address: String,
    /// Where published ports are bound.
    pub bind: String,
    /// The range for published ports, first and last.
    pub ports: (u16, u16),
    /// The range for the clusters' networks.
    pub subnets: String,
    /// Logging of its nodes.
    pub log: HostLog,
    /// Put before image names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Image references by role, instead of the network type's own.
    pub images: BTreeMap<String, Vec<String>>,
    /// Plain tcp beyond loopback was asked for.
    pub insecure: bool,
    /// Kubernetes: the storage class of volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Until when repair and autofill wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
    /// What the platform last said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<HostPlatform>,
    /// Clusters there without a tombstone.
    pub clusters: u32,
    /// Of these, how many can be applied for now.
    pub offered: u32,
    /// Of these, how many are held.
    pub leased: u32,
    /// The operation under way on the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// Registers a host. It is probed first; nothing is stored when that fails.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostCreate {
    /// Its name.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$"
    )]
    pub name: String,
    /// Its kind; found out when absent, and compared when given.
    #[serde(rename = "type")]
    pub platform: Option<Platform>,
    /// `unix:///var/run/docker.sock`, `tcp://host:port` (of a swarm: its managers, with commas), `https://host:6443` or `in-cluster`.
    #[schema(required = true, pattern = "^((unix|tcp|https)://.+|in-cluster)$")]
    pub address: String,
    /// Certificates for mutual TLS.
    pub tls: Option<HostTls>,
    /// Allows plain tcp beyond loopback.
    pub insecure: bool,
    /// Default true.
    pub schedulable: Option<bool>,
    /// Default false.
    pub autofill: Option<bool>,
    /// Default 3.
    #[schema(maximum = 10_000)]
    pub capacity: Option<u32>,
    /// Default 1.0.
    #[schema(minimum = 0.1, maximum = 100.0)]
    pub memory_factor: Option<f64>,
    /// Default 10 (percent).
    #[schema(maximum = 90)]
    pub disk_floor: Option<u32>,
    /// Default one entry: `cometbft`, preset `default`.
    #[schema(min_items = 1)]
    pub fill: Option<Vec<Fill>>,
    /// A host name or an IP address, without port. Default: from the address; of a swarm or Kubernetes the address of its first machine.
    pub public_address: Option<String>,
    /// Default `0.0.0.0`.
    pub bind: Option<String>,
    /// Default 20000 to 29999, on Kubernetes 30000 to 32767.
    #[schema(schema_with = crate::bounds::ports)]
    pub ports: Option<(u16, u16)>,
    /// Default `10.213.0.0/16`.
    #[schema(
        pattern = "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])/([0-9]|1[0-9]|2[0-6])$"
    )]
    pub subnets: Option<String>,
    /// Default: local, info.
    pub log: Option<HostLog>,
    /// Default: none.
    pub mirror: Option<String>,
    /// Default: the network type's own.
    pub images: Option<BTreeMap<String, Vec<String>>>,
    /// Default: none.
    pub registry: Option<HostRegistry>,
    /// Kubernetes: the text of a kubeconfig that says who we are there; kept sealed. Not with the address `in-cluster`.
    pub kubeconfig: Option<String>,
    /// Kubernetes: the storage class of volumes. Default: the cluster's own.
    #[schema(
        max_length = 253,
        pattern = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$"
    )]
    pub storage_class: Option<String>,
}

/// Changes a host; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostUpdate {
    /// Its name.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: Option<String>,
    /// Where its API is reached; must be the same engine.
    #[schema(pattern = "^((unix|tcp|https)://.+|in-cluster)$")]
    pub address: Option<String>,
    /// Certificates for mutual TLS.
    pub tls: Option<HostTls>,
    /// Allows plain tcp beyond loopback.
    pub insecure: Option<bool>,
    /// Whether new clusters may be placed and free ones be offered there.
    pub schedulable: Option<bool>,
    /// Whether it is kept filled.
    pub autofill: Option<bool>,
    /// How many clusters it may have. Below what exists, free clusters are deleted, and leased ones when they are released.
    #[schema(maximum = 10_000)]
    pub capacity: Option<u32>,
    /// How much of its memory the sum of node limits may reach.
    #[schema(minimum = 0.1, maximum = 100.0)]
    pub memory_factor: Option<f64>,
    /// Percent of the disk that must stay free for new clusters.
    #[schema(maximum = 90)]
    pub disk_floor: Option<u32>,
    /// What it is filled with; ends every pause of an entry.
    #[schema(min_items = 1)]
    pub fill: Option<Vec<Fill>>,
    /// A host name or an IP address, without port. Only while it has no clusters.
    pub public_address: Option<String>,
    /// Only while it has no clusters.
    pub bind: Option<String>,
    /// Only while it has no clusters.
    #[schema(schema_with = crate::bounds::ports)]
    pub ports: Option<(u16, u16)>,
    /// Only while it has no clusters.
    #[schema(
        pattern = "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])/([0-9]|1[0-9]|2[0-6])$"
    )]
    pub subnets: Option<String>,
    /// For nodes made from then on.
    pub log: Option<HostLog>,
    /// Put before image names; empty: none.
    pub mirror: Option<String>,
    /// Image references by role.
    pub images: Option<BTreeMap<String, Vec<String>>>,
    /// A login for the image registry.
    pub registry: Option<HostRegistry>,
    /// Kubernetes: the text of a kubeconfig that says who we are there; kept sealed.
    pub kubeconfig: Option<String>,
    /// Kubernetes: the storage class of volumes made from then on; empty: the cluster's own.
    #[schema(
        max_length = 253,
        pattern = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$"
    )]
    pub storage_class: Option<String>,
    /// Seconds for which repair and autofill shall wait, 365 days at most; 0 ends it.
    #[schema(maximum = 31_536_000)]
    pub maintenance_seconds: Option<u32>,
    /// `false` ends a pause, after somebody has looked.
    pub paused: Option<bool>,
}

/// Which hosts to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostFilter {
    /// In this state.
    pub state: Option<HostState>,
    /// Of this kind.
    #[serde(rename = "type")]
    pub platform: Option<Platform>,
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

/// How a host that never returns is forgotten.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostForget {
    /// The host's name, typed again: forgets an unreachable host with all its clusters and leases.
    pub forget: Option<String>,
}

/// Names unclaimed clusters to take over, in order to remove them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostAdopt {
    /// The ids in the objects' labels.
    #[schema(min_items = 1)]
    pub clusters: Vec<Uuid>,
}

/// Objects with this instance's label whose cluster or generation the database does not know. They are never touched
/// until somebody adopts them or resets the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unclaimed {
    /// The host that has them.
    pub host: String,
    /// The cluster id in their labels.
    pub cluster_id: Uuid,
    /// The newest generation in their labels.
    pub generation: u32,
    /// Their names.
    pub objects: Vec<String>,
}
