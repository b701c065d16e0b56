//! Overall status, as shown by `chainpool status` and the dashboard's first page.

use crate::{HostState, Operation, Timestamp, Unclaimed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Overall status.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// `true` if there are no problems; otherwise `chainpool status` exits with status 1.
    pub ok: bool,
    /// Human-readable problems; empty if healthy.
    pub problems: Vec<String>,
    /// Version of the server.
    pub version: String,
    /// Instance id of the installation.
    pub instance: String,
    /// `true` while paused after a restore: the server deletes and fills nothing until an administrator
    /// resumes it.
    pub paused: bool,
    /// Start time of the server process.
    pub started_at: Timestamp,
    /// Cluster counts of the pool.
    pub pool: Counts,
    /// Cluster counts by network type.
    pub by_type: BTreeMap<String, Counts>,
    /// Hosts.
    pub hosts: Vec<HostStatus>,
    /// Database.
    pub database: DatabaseStatus,
    /// Watchdog.
    pub watchdog: WatchdogStatus,
    /// Objects with this instance's label that are not in the database.
    pub unclaimed: Vec<Unclaimed>,
    /// Operations in progress.
    pub running: Vec<Operation>,
}

/// Cluster counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Maximum number of clusters.
    pub capacity: u32,
    /// Existing clusters.
    pub clusters: u32,
    /// Available for lease.
    pub offered: u32,
    /// Leased.
    pub leased: u32,
    /// Creation or reset in progress.
    pub making: u32,
    /// Failed.
    pub failed: u32,
    /// Healthy.
    pub healthy: u32,
    /// Degraded.
    pub degraded: u32,
    /// Broken.
    pub broken: u32,
    /// Unknown.
    pub unknown: u32,
    /// Stopped.
    pub stopped: u32,
}

/// Status of a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostStatus {
    /// Name.
    pub name: String,
    /// Availability.
    pub state: HostState,
    /// Problems: reachability, disk, clock, fill entries that are paused or lack capacity.
    pub problems: Vec<String>,
    /// Cluster counts of the host.
    pub counts: Counts,
    /// Time of the last successful check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// Status of the database.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DatabaseStatus {
    /// `true` if the last integrity check passed.
    pub ok: bool,
    /// Result of the check.
    pub message: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Free bytes on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Time of the check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// Status of the watchdog.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WatchdogStatus {
    /// End of the last full pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pass_at: Option<Timestamp>,
    /// Duration of that pass in milliseconds.
    pub last_pass_ms: u64,
    /// Delay of the ledger probes beyond their period, in milliseconds.
    pub lag_ms: u64,
}
