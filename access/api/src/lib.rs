//! The nouns of Chainpool as the outside sees them: what REST, CLI, dashboard and façade exchange.
//!
//! A leaf: serde and utoipa, nothing of ours. The orchestrator's façade speaks these types too, so there is no
//! second set of the same nouns and no mapping between the two that could drift.

mod account;
mod bounds;
mod cluster;
mod host;
mod lease;
mod network;
mod operation;
mod problem;
mod status;
mod text_enum;
mod time;

pub use account::{
    Account, AccountCreate, PasswordSet, ResetLink, Role, Session, SignIn, Token, TokenCreate, TokenMade,
    WhoAmI,
};
pub use cluster::{
    ChannelEvidence, Cluster, ClusterAmend, ClusterCreate, ClusterFilter, ClusterState, ClusterUpdate,
    Endpoint, Evidence, Health, HealthChange, HealthState, Node, NodeEvidence, Proof,
};
pub use host::{
    Fill, Host, HostAdopt, HostCreate, HostFilter, HostForget, HostLog, HostMachine, HostPlatform,
    HostRegistry, HostState, HostTls, HostUpdate, LogLevel, LogType, Platform, Unclaimed,
};
pub use lease::{Apply, Bundle, BundleNode, Lease, LeaseFilter, LeaseState, Renew};
pub use network::{NetworkType, Parameter, ParameterKind, Preset};
pub use operation::{Operation, OperationFilter, OperationKind, OperationState, Step, StepState};
pub use problem::Problem;
pub use status::{Counts, DatabaseStatus, HostStatus, Status, WatchdogStatus};
pub use text_enum::UnknownWord;
pub use time::Timestamp;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list; `next` names the place to go on from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, newest first unless the route says otherwise.
    pub items: Vec<T>,
    /// Pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

text_enum::text_enum! {
    /// What an event is about.
    Noun {
        /// A host changed.
        Host = "host",
        /// A cluster changed: its state, health, lease or height.
        Cluster = "cluster",
        /// A lease began, was renewed or ended.
        Lease = "lease",
        /// An operation or one of its steps changed.
        Operation = "operation",
    }
}

/// Tells that something changed: a wake-up, never the truth. Whoever hears it reads the noun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// What changed.
    pub noun: Noun,
    /// Its identity.
    pub id: uuid::Uuid,
}
