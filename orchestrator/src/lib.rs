//! Orchestrator core: validates requests, records desired state and drives hosts towards it. Serves no HTTP
//! and talks to platforms only through agents.
//!
//! Every change takes the same path. A method of [`Orchestrator`] admits it in one transaction (`admission`),
//! the executor plans it (`plan`, pure), runs journaled steps (`step`) and completes it in one transaction
//! (`completion`). Repairs by the watchdog (`reconcile`) take the same path.

mod account;
mod admission;
mod agents;
mod allocation;
mod amend;
mod bundle_reads;
mod caller;
mod cluster;
mod cluster_runtime;
mod completion;
mod error;
mod evidence;
mod executor;
mod fill;
mod fleet;
mod health;
mod host;
mod idempotency;
#[cfg(test)]
mod idle_platform;
mod lease;
mod operation;
mod operation_view;
mod orchestrator;
mod placement;
mod plan;
mod policy;
mod presenter;
mod reconcile;
mod render;
mod runtime_cache;
mod search;
mod single_flight;
mod status;
mod step;
mod step_deadline;
mod subscription;
mod text;
mod volumes;

pub use caller::{Caller, RequestKey};
pub use chainpool_agent::{LogLine, LogQuery, LogStream}; // passed through to the front ends
pub use chainpool_store::{CommitHook, DATABASE, Restored, restore};
pub use cluster::ClusterLog;
pub use error::{Error, Result};
pub use host::HostPreview;
pub use lease::Applied;
pub use orchestrator::{Config, DEFAULT_LEASES_PER_ACCOUNT, Orchestrator, StartError};
pub use policy::Access;
pub use search::SearchResults;
pub use single_flight::{Flight, SingleFlight};
pub use status::{StatusBrief, Watched};
pub use subscription::{Change, StreamScope, Subscription};
