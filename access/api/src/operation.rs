//! Operations: accepted work, its progress and its result.

use crate::{Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// Kind of an operation: resource and verb.
    OperationKind {
        /// Create clusters up to the host's capacity.
        HostFillup = "host_fillup",
        /// Delete the host's free clusters.
        HostClean = "host_clean",
        /// Delete all objects of this instance on the host.
        HostReset = "host_reset",
        /// Adopt unclaimed objects for deletion.
        HostAdopt = "host_adopt",
        /// Create a cluster.
        ClusterCreate = "cluster_create",
        /// Start a stopped cluster or one of its nodes.
        ClusterStart = "cluster_start",
        /// Stop a cluster or one of its nodes, and keep the data.
        ClusterStop = "cluster_stop",
        /// Restart a cluster or one of its nodes.
        ClusterRestart = "cluster_restart",
        /// Change a running cluster.
        ClusterAmend = "cluster_amend",
        /// Wipe a cluster and recreate it with new keys.
        ClusterReset = "cluster_reset",
        /// Delete a cluster permanently.
        ClusterDelete = "cluster_delete",
        /// Repair a cluster and keep its data.
        ClusterRepair = "cluster_repair",
        /// Commit a transaction and read it back.
        ClusterProve = "cluster_prove",
        /// Lease a free cluster to a holder.
        LeaseApply = "lease_apply",
    }
}

text_enum! {
    /// State of an operation.
    OperationState {
        /// Accepted, not started.
        Queued = "queued",
        /// In progress.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Failed; see `error`.
        Failed = "failed",
        /// Replaced by another operation.
        Superseded = "superseded",
    }
}

impl OperationState {
    /// `true` if the operation has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded)
    }
}

text_enum! {
    /// State of a step.
    StepState {
        /// Not started.
        Pending = "pending",
        /// Started; the outcome is unknown.
        Started = "started",
        /// Verified as done.
        Done = "done",
        /// Failed.
        Failed = "failed",
    }
}

/// Accepted work.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Unique identifier.
    pub id: Uuid,
    /// Kind.
    pub kind: OperationKind,
    /// State.
    pub state: OperationState,
    /// Host id.
    pub host_id: Uuid,
    /// Host name.
    pub host: String,
    /// Cluster id, if the operation has a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Uuid>,
    /// Cluster name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Parent operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<Uuid>,
    /// Initiator: account name, or `chainpool` for the watchdog.
    pub by: String,
    /// Human-readable reason.
    pub reason: String,
    /// Time of acceptance.
    pub created_at: Timestamp,
    /// Start time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// End time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Number of completed steps (or child operations).
    pub done: u32,
    /// Total number of steps (or child operations); 0 until planned.
    pub total: u32,
    /// Steps; empty in lists.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Reason for a failure, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One step of an operation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Index in the operation, from 0.
    pub seq: u32,
    /// Human-readable title.
    pub title: String,
    /// State.
    pub state: StepState,
    /// Start time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// End time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Condition it waits for, or the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Filter for operations.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OperationFilter {
    /// Host (name or id).
    pub host: Option<String>,
    /// Cluster (name or id).
    pub cluster: Option<String>,
    /// Parent operation.
    pub parent: Option<Uuid>,
    /// State.
    pub state: Option<OperationState>,
    /// Kind.
    pub kind: Option<OperationKind>,
    /// Cursor: `next` of the previous page.
    pub after: Option<String>,
    /// Maximum number of items, 1 to 500; default 100.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}
