//! Operations: what was accepted, how far it is, how it ended.

use crate::{Timestamp, text_enum::text_enum};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

text_enum! {
    /// What an operation does: its noun and its verb.
    OperationKind {
        /// Makes what is missing up to the host's capacity.
        HostFillup = "host_fillup",
        /// Deletes the host's free clusters.
        HostClean = "host_clean",
        /// Drops everything of this instance on the host.
        HostReset = "host_reset",
        /// Takes unclaimed objects over, in order to remove them.
        HostAdopt = "host_adopt",
        /// Makes a cluster.
        ClusterCreate = "cluster_create",
        /// Starts a stopped cluster.
        ClusterStart = "cluster_start",
        /// Stops a cluster; its data stays.
        ClusterStop = "cluster_stop",
        /// Restarts a cluster or one node of it.
        ClusterRestart = "cluster_restart",
        /// Changes a cluster while it runs.
        ClusterAmend = "cluster_amend",
        /// Wipes a cluster and makes it again with new keys.
        ClusterReset = "cluster_reset",
        /// Removes a cluster for good.
        ClusterDelete = "cluster_delete",
        /// Mends a cluster in place.
        ClusterRepair = "cluster_repair",
        /// Commits a transaction and reads it back.
        ClusterProve = "cluster_prove",
        /// Gives a free cluster to a holder.
        LeaseApply = "lease_apply",
    }
}

text_enum! {
    /// How far an operation is.
    OperationState {
        /// Accepted, not begun.
        Queued = "queued",
        /// Under way.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Given up; `error` says why.
        Failed = "failed",
        /// Another operation took its place.
        Superseded = "superseded",
    }
}

impl OperationState {
    /// Whether it has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded)
    }
}

text_enum! {
    /// How far a step is.
    StepState {
        /// Not begun.
        Pending = "pending",
        /// Begun: it may have happened.
        Started = "started",
        /// Seen done.
        Done = "done",
        /// Given up.
        Failed = "failed",
    }
}

/// Work that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its identity.
    pub id: Uuid,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is.
    pub state: OperationState,
    /// Its host.
    pub host_id: Uuid,
    /// Its host's name.
    pub host: String,
    /// Its cluster, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<Uuid>,
    /// Its cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The operation that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<Uuid>,
    /// Who asked: an account's name, or `chainpool` for the watchdog's own.
    pub by: String,
    /// Why, in words.
    pub reason: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Steps (or child operations) done.
    pub done: u32,
    /// Steps (or child operations) in all; 0 until it is planned.
    pub total: u32,
    /// Its steps; lists leave them out.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it failed and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One journaled step of an operation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its place in the operation, from 0.
    pub seq: u32,
    /// What it does, in words.
    pub title: String,
    /// How far it is.
    pub state: StepState,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it waits for, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which operations to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OperationFilter {
    /// Of this host (name or id).
    pub host: Option<String>,
    /// Of this cluster (name or id).
    pub cluster: Option<String>,
    /// Parts of this operation.
    pub parent: Option<Uuid>,
    /// In this state.
    pub state: Option<OperationState>,
    /// Of this kind.
    pub kind: Option<OperationKind>,
    /// Go on after this place.
    pub after: Option<String>,
    /// At most this many, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::bounds::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}
