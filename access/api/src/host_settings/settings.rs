//! The settings and their defaults.

use crate::text_enum::text_enum;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};
use utoipa::ToSchema;

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

/// Settings of a host, as they are shown and stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostSettings {
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
    /// Public address of its clusters.
    pub public_address: String,
    /// Bind address of published ports.
    #[schema(value_type = String)]
    pub bind: IpAddr,
    /// Range of published ports: first and last.
    pub ports: (u16, u16),
    /// IPv4 range of the cluster networks, in CIDR notation.
    #[schema(value_type = String)]
    pub subnets: Ipv4Net,
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
}

impl HostSettings {
    /// The defaults of a host at this address, filled with clusters of this network type.
    pub fn new(network_type: &str, public_address: String) -> Self {
        Self {
            schedulable: true,
            autofill: false,
            capacity: 3,
            memory_factor: 1.0,
            disk_floor: 10,
            fill: vec![Fill {
                network_type: network_type.to_owned(),
                preset: default_preset(),
                share: one(),
                parameters: serde_json::Map::new(),
            }],
            public_address,
            bind: Ipv4Addr::UNSPECIFIED.into(),
            ports: (20_000, 29_999),
            subnets: Ipv4Net::new_assert(Ipv4Addr::new(10, 213, 0, 0), 16),
            log: HostLog::default(),
            mirror: None,
            images: BTreeMap::new(),
            insecure: false,
            storage_class: None,
        }
    }
}
