//! The state of the whole: what `chainpool status` and the first page say.

use crate::{HostState, Operation, Timestamp, Unclaimed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The state of the whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Whether nothing is wrong; `chainpool status` ends with 1 otherwise.
    pub ok: bool,
    /// What is wrong, in words; empty when nothing is.
    pub problems: Vec<String>,
    /// The version that runs.
    pub version: String,
    /// This installation.
    pub instance: String,
    /// Paused after a restore: nothing is deleted or filled until an administrator resumes.
    pub paused: bool,
    /// Since when this process serves.
    pub started_at: Timestamp,
    /// The pool in numbers.
    pub pool: Counts,
    /// The pool in numbers by network type.
    pub by_type: BTreeMap<String, Counts>,
    /// The hosts.
    pub hosts: Vec<HostStatus>,
    /// The database.
    pub database: DatabaseStatus,
    /// The watchdog itself.
    pub watchdog: WatchdogStatus,
    /// Objects with our label that the database does not know.
    pub unclaimed: Vec<Unclaimed>,
    /// What is being done now.
    pub running: Vec<Operation>,
}

/// A pool in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// How many clusters there may be.
    pub capacity: u32,
    /// How many there are.
    pub clusters: u32,
    /// Can be applied for now.
    pub offered: u32,
    /// Are held.
    pub leased: u32,
    /// Are being made or made again.
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

/// A host in the state of the whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Whether it can be worked with.
    pub state: HostState,
    /// What is wrong there: reach, disk, clock, fill entries that are paused or find no room.
    pub problems: Vec<String>,
    /// The host in numbers.
    pub counts: Counts,
    /// When it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// The database.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DatabaseStatus {
    /// Whether its last check of itself found nothing wrong.
    pub ok: bool,
    /// What the check said.
    pub message: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Free bytes where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// When it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
}

/// The watchdog itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WatchdogStatus {
    /// When its last full pass ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pass_at: Option<Timestamp>,
    /// How long that pass took, in milliseconds.
    pub last_pass_ms: u64,
    /// How far the probes of ledgers are behind their period, in milliseconds.
    pub lag_ms: u64,
}
