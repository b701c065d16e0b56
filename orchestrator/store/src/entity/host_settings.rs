//! The JSON columns of `host`.

use chainpool_api::{self as api, Timestamp};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// The settings of a host that no query filters by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// The share of the host's memory that the node limits may add up to.
    pub memory_factor: f64,
    /// The percentage of the disk that must stay free.
    pub disk_floor: u32,
    /// The fill policy.
    pub fill: Vec<api::Fill>,
    /// The address at which users reach its clusters.
    pub public_address: String,
    /// The bind address of published ports.
    pub bind: IpAddr,
    /// The range for published ports, first and last.
    pub ports: (u16, u16),
    /// The range for the clusters' networks.
    pub subnets: Ipv4Net,
    /// Logging of its nodes.
    pub log: api::HostLog,
    /// Registry mirror prefix for image references.
    pub mirror: Option<String>,
    /// Image references by role.
    pub images: BTreeMap<String, Vec<String>>,
    /// Allow unencrypted TCP beyond loopback.
    pub insecure: bool,
    /// The storage class of volumes, if the platform supports it.
    #[serde(default)]
    pub storage_class: Option<String>,
}

/// The failures of a fill policy entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillPause {
    /// Consecutive failures.
    pub failures: u32,
    /// The reason of the latest failure.
    pub reason: String,
    /// The time of the next attempt.
    pub next_at: Timestamp,
}
