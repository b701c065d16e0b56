//! Orchestrator core: validates requests, records desired state and drives hosts towards it. Serves no HTTP
//! and talks to platforms only through agents.
//!
//! The crate consists of wings. Each is a type that owns its state, and uses only itself and the wings after it:
//!
//! - `facade` ([`Orchestrator`]): permission, validation and presentation, by noun;
//! - `health` (`Health`): evidence, verdicts and repair requests;
//! - `operations` (`Operations`): admission, plan, execution and completion of changes;
//! - `placement` (`Placement`): hosts, machines, ports, subnets and fill policies; the summary of all of them;
//! - `runtime` (`Runtime`): connections to hosts, and the last observed state;
//! - the files beside this one: callers, permissions, errors.
//!
//! Every change takes the same path. A method of [`Orchestrator`] admits it in one transaction (`admission`),
//! the executor plans it (`plan`, pure), runs journaled steps (`step`) and completes it in one transaction
//! (`completion`). Repairs by the watchdog (`health`) take the same path.

mod caller;
mod error;
mod facade;
mod health;
mod number;
mod operations;
mod permissions;
mod placement;
mod runtime;
mod text;

pub use caller::{Caller, RequestKey};
pub use chainpool_agent::{LogLine, LogQuery, LogStream, error_chain}; // passed through to the front ends
pub use chainpool_store::{CommitHook, DATABASE, Restored, restore};
pub use error::{Error, Result};
pub use facade::{
    cluster::ClusterLog,
    host::HostPreview,
    lease::Applied,
    orchestrator::{Config, DEFAULT_LEASES_PER_ACCOUNT, Orchestrator, StartError},
    search::SearchResults,
    status::StatusBrief,
    subscription::{Change, StreamScope, Subscription},
};
pub use permissions::Access;
pub use runtime::findings::Watched;

/// The network type of a cluster or fill entry that names none.
pub fn default_network_type() -> &'static str {
    chainpool_networks::Registry::default().default_type()
}
