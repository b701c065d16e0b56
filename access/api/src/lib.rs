//! Types of Chainpool's public API, shared by REST, CLI, dashboard and façade.
//!
//! A leaf crate: serde and utoipa, no other crate of Chainpool. The orchestrator's façade uses these types
//! too, which avoids a second set of types and a mapping that could drift.

mod account;
mod bounds;
mod cluster;
mod drawing;
mod host;
mod host_settings;
pub mod host_text;
mod lease;
mod mark;
mod network;
mod operation;
mod platform;
mod problem;
mod process;
mod progress;
mod section;
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
pub use drawing::{Drawing, DrawnNode, Edge, Group};
pub use host::{
    Host, HostAdopt, HostCreate, HostFilter, HostForget, HostMachine, HostPlatform, HostState, HostUpdate,
    Unclaimed,
};
pub use host_settings::{
    FieldErrors, Fill, HostLog, HostRegistry, HostSettings, HostSettingsPatch, HostTls, LogLevel, LogType,
};
pub use lease::{Apply, Bundle, BundleNode, Lease, LeaseFilter, LeaseState, Renew};
pub use mark::Mark;
pub use network::{NetworkType, Parameter, ParameterKind, Preset};
pub use operation::{Operation, OperationFilter, OperationKind, OperationState, Step, StepState};
pub use platform::Platform;
pub use problem::Problem;
pub use process::ProcessState;
pub use progress::Progress;
pub use section::{Row, Section};
pub use status::{Counts, DatabaseStatus, HostStatus, Status, WatchdogStatus};
pub use text_enum::UnknownValue;
pub use time::Timestamp;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// Items, newest first unless the route says otherwise.
    pub items: Vec<T>,
    /// Cursor of the next page, for the parameter `after`; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

text_enum::text_enum! {
    /// Kind of resource that changed.
    Noun {
        /// A host.
        Host = "host",
        /// A cluster: its state, health, lease or height.
        Cluster = "cluster",
        /// A lease: start, renewal or end.
        Lease = "lease",
        /// An operation or one of its steps.
        Operation = "operation",
    }
}

/// Notification of a change, without the new state. The receiver reads the resource again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Kind of resource.
    pub noun: Noun,
    /// Id of the resource.
    pub id: uuid::Uuid,
}
