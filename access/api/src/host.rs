//! Hosts: the machines that clusters run on.

use crate::{Platform, Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// Availability of a host.
    HostState {
        /// Reachable.
        Active = "active",
        /// Unreachable.
        Unreachable = "unreachable",
        /// No changes until an operator resumes it; see `reason`.
        Paused = "paused",
    }
}

text_enum! {
    /// Destination of node logs.
    LogType {
        /// Kept by the platform, up to a size limit.
        Local = "local",
        /// Sent to a syslog server.
        Syslog = "syslog",
    }
}

text_enum! {
    /// Verbosity of node logs.
    LogLevel {
        /// All messages.
        Debug = "debug",
        /// Changes of state and above.
        Info = "info",
        /// Anomalies and above.
        Warning = "warning",
        /// Failures only.
        Error = "error",
    }
}

/// Logging of the nodes on a host. Changes apply to new nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostLog {
    /// Destination.
    #[serde(rename = "type")]
    pub kind: LogType,
    /// Verbosity.
    pub level: LogLevel,
    /// Syslog server, such as `udp://10.0.0.9:514`; only with type `syslog`.
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
    /// Network type.
    #[serde(rename = "type")]
    pub network_type: String,
    /// Preset; default: `default`.
    #[serde(default = "default_preset")]
    pub preset: String,
    /// Share of the capacity, relative to the other entries, 1 to 10000.
    #[serde(default = "one")]
    #[schema(format = Int64, minimum = 1, maximum = 10_000)]
    pub share: u32,
    /// Parameters that override the preset.
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

/// PEM certificates and key for mutual TLS with an engine. The key is encrypted at rest and never returned.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostTls {
    /// CA certificate of the engine.
    pub ca: String,
    /// Client certificate.
    pub cert: String,
    /// Client key.
    pub key: String,
}

impl std::fmt::Debug for HostTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTls(***)")
    }
}

/// Credentials for an image registry. The password is encrypted at rest and never returned.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRegistry {
    /// Registry, `host[:port]` or `docker.io`; default: the mirror's. No other registry receives the
    /// credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// User; empty removes the stored credentials.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for HostRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostRegistry(***)")
    }
}

/// Facts reported by the platform at the last check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostPlatform {
    /// Version.
    pub version: String,
    /// API version in use.
    pub api_version: String,
    /// Storage driver.
    pub storage_driver: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Free bytes on the disk of the containers; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Total bytes of that disk; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_total_bytes: Option<u64>,
    /// Clock skew in milliseconds, host minus server; absent: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
    /// Machines of the platform; empty if there is only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<HostMachine>,
    /// Time of the check.
    pub checked_at: Timestamp,
}

/// One machine of a platform with several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostMachine {
    /// Permanent id assigned by the platform.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Address of its published ports.
    pub address: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Reason that it accepts no new nodes; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// One or several machines that run clusters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Unique identifier.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Platform.
    #[serde(rename = "type")]
    pub platform: Platform,
    /// Address of its API.
    pub address: String,
    /// Identity reported by the platform.
    pub engine_id: String,
    /// Availability.
    pub state: HostState,
    /// Reason for the state, if not active.
    pub reason: String,
    /// Time of the last change of state.
    pub since: Timestamp,
    /// `true` if the host accepts new clusters and offers its free ones.
    pub schedulable: bool,
    /// `true` to keep the host filled to its capacity.
    pub autofill: bool,
    /// Maximum number of clusters.
    pub capacity: u32,
    /// Maximum sum of node memory limits, as a factor of the host's memory.
    pub memory_factor: f64,
    /// Minimum free disk space for new clusters, in percent.
    pub disk_floor: u32,
    /// Fill policy.
    pub fill: Vec<Fill>,
    /// Paused fill entries: index in `fill` to reason.
    pub fill_paused: BTreeMap<String, String>,
    /// Public address of its clusters.
    pub public_address: String,
    /// Bind address of published ports.
    pub bind: String,
    /// Range of published ports: first and last.
    pub ports: (u16, u16),
    /// IPv4 range of the cluster networks, in CIDR notation.
    pub subnets: String,
    /// Logging of nodes.
    pub log: HostLog,
    /// Registry mirror prefix for image references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Image references by role, overriding the network type's.
    pub images: BTreeMap<String, Vec<String>>,
    /// `true` if plain TCP beyond loopback is allowed.
    pub insecure: bool,
    /// Kubernetes: storage class of volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// End of the suspension of automatic repair and autofill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<Timestamp>,
    /// Facts last reported by the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<HostPlatform>,
    /// Number of existing clusters.
    pub clusters: u32,
    /// Number of clusters available for lease.
    pub offered: u32,
    /// Number of leased clusters.
    pub leased: u32,
    /// Operation in progress on the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<Uuid>,
    /// Registration time.
    pub created_at: Timestamp,
}

/// A new host. The server probes it first and stores nothing if the probe fails.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostCreate {
    /// Name.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 40,
        pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$"
    )]
    pub name: String,
    /// Platform; default: detected. A given value must match the detected one.
    #[serde(rename = "type")]
    pub platform: Option<Platform>,
    /// Address of its API: `unix:///var/run/docker.sock`, `tcp://host:port` (swarm: all managers, separated
    /// by commas), `https://host:6443` or `in-cluster`.
    #[schema(required = true, pattern = "^((unix|tcp|https)://.+|in-cluster)$")]
    pub address: String,
    /// Certificates for mutual TLS.
    pub tls: Option<HostTls>,
    /// `true` to allow plain TCP beyond loopback.
    pub insecure: bool,
    /// `true` to accept new clusters and offer free ones; default true.
    pub schedulable: Option<bool>,
    /// `true` to keep the host filled to its capacity; default false.
    pub autofill: Option<bool>,
    /// Maximum number of clusters; default 3.
    #[schema(maximum = 10_000)]
    pub capacity: Option<u32>,
    /// Maximum sum of node memory limits, as a factor of the host's memory; default 1.0.
    #[schema(minimum = 0.1, maximum = 100.0)]
    pub memory_factor: Option<f64>,
    /// Minimum free disk space for new clusters, in percent; default 10.
    #[schema(maximum = 90)]
    pub disk_floor: Option<u32>,
    /// Fill policy; default: one entry, type `cometbft`, preset `default`.
    #[schema(min_items = 1)]
    pub fill: Option<Vec<Fill>>,
    /// Public address of its clusters: host name or IP address, no port; default: from `address`, for Swarm
    /// and Kubernetes the address of the first machine.
    pub public_address: Option<String>,
    /// Bind address of published ports; default `0.0.0.0`.
    pub bind: Option<String>,
    /// Range of published ports; default 20000 to 29999, on Kubernetes 30000 to 32767.
    #[schema(schema_with = crate::bounds::ports)]
    pub ports: Option<(u16, u16)>,
    /// IPv4 range of the cluster networks, in CIDR notation; default `10.213.0.0/16`.
    #[schema(
        pattern = "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])/([0-9]|1[0-9]|2[0-6])$"
    )]
    pub subnets: Option<String>,
    /// Logging of nodes; default: local, info.
    pub log: Option<HostLog>,
    /// Registry mirror prefix for image references; default: none.
    pub mirror: Option<String>,
    /// Image references by role; default: the network type's.
    pub images: Option<BTreeMap<String, Vec<String>>>,
    /// Credentials for the image registry; default: none.
    pub registry: Option<HostRegistry>,
    /// Kubernetes: content of a kubeconfig with Chainpool's credentials; encrypted at rest. Not with the
    /// address `in-cluster`.
    pub kubeconfig: Option<String>,
    /// Kubernetes: storage class of volumes; default: the cluster's default class.
    #[schema(
        max_length = 253,
        pattern = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$"
    )]
    pub storage_class: Option<String>,
}

/// New settings of a host. Absent fields keep their value.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostUpdate {
    /// Name.
    #[schema(min_length = 1, max_length = 40, pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    pub name: Option<String>,
    /// Address of its API; must lead to the same engine.
    #[schema(pattern = "^((unix|tcp|https)://.+|in-cluster)$")]
    pub address: Option<String>,
    /// Certificates for mutual TLS.
    pub tls: Option<HostTls>,
    /// `true` to allow plain TCP beyond loopback.
    pub insecure: Option<bool>,
    /// `true` to accept new clusters and offer free ones.
    pub schedulable: Option<bool>,
    /// `true` to keep the host filled to its capacity.
    pub autofill: Option<bool>,
    /// Maximum number of clusters. If more exist, free clusters are deleted, leased clusters after their
    /// release.
    #[schema(maximum = 10_000)]
    pub capacity: Option<u32>,
    /// Maximum sum of node memory limits, as a factor of the host's memory.
    #[schema(minimum = 0.1, maximum = 100.0)]
    pub memory_factor: Option<f64>,
    /// Minimum free disk space for new clusters, in percent.
    #[schema(maximum = 90)]
    pub disk_floor: Option<u32>,
    /// Fill policy; resumes all paused entries.
    #[schema(min_items = 1)]
    pub fill: Option<Vec<Fill>>,
    /// Public address of its clusters: host name or IP address, no port. Requires a host without clusters.
    pub public_address: Option<String>,
    /// Bind address of published ports. Requires a host without clusters.
    pub bind: Option<String>,
    /// Range of published ports. Requires a host without clusters.
    #[schema(schema_with = crate::bounds::ports)]
    pub ports: Option<(u16, u16)>,
    /// IPv4 range of the cluster networks, in CIDR notation. Requires a host without clusters.
    #[schema(
        pattern = "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])/([0-9]|1[0-9]|2[0-6])$"
    )]
    pub subnets: Option<String>,
    /// Logging of new nodes.
    pub log: Option<HostLog>,
    /// Registry mirror prefix for image references; empty disables it.
    pub mirror: Option<String>,
    /// Image references by role.
    pub images: Option<BTreeMap<String, Vec<String>>>,
    /// Credentials for the image registry.
    pub registry: Option<HostRegistry>,
    /// Kubernetes: content of a kubeconfig with Chainpool's credentials; encrypted at rest.
    pub kubeconfig: Option<String>,
    /// Kubernetes: storage class of new volumes; empty: the cluster's default class.
    #[schema(
        max_length = 253,
        pattern = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$"
    )]
    pub storage_class: Option<String>,
    /// Seconds to suspend automatic repair and autofill, at most 365 days; 0 resumes them.
    #[schema(maximum = 31_536_000)]
    pub maintenance_seconds: Option<u32>,
    /// `true` to pause all changes on the host; `false` to resume after inspection.
    pub paused: Option<bool>,
}

/// Filter for hosts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostFilter {
    /// Availability.
    pub state: Option<HostState>,
    /// Platform.
    #[serde(rename = "type")]
    pub platform: Option<Platform>,
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

/// Confirmation to forget a permanently lost host.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostForget {
    /// Name of the host, as confirmation: forgets an unreachable host with all its clusters and leases.
    pub forget: Option<String>,
}

/// Unclaimed clusters to adopt for deletion.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostAdopt {
    /// Cluster ids from the objects' labels.
    #[schema(min_items = 1)]
    pub clusters: Vec<Uuid>,
}

/// Objects with this instance's label whose cluster or generation is not in the database. Chainpool leaves
/// them untouched until an operator adopts them or resets the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unclaimed {
    /// Host name.
    pub host: String,
    /// Cluster id from the labels.
    pub cluster_id: Uuid,
    /// Newest generation from the labels.
    pub generation: u32,
    /// Object names.
    pub objects: Vec<String>,
}
