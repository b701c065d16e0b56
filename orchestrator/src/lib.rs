//! Orchestrator core: validates requests, records desired state and drives hosts towards it. Serves no HTTP
//! and talks to platforms only through agents.
//!
//! The crate consists of wings. Each uses only itself and the wings after it:
//!
//! - `facade`: permission, validation and presentation, by noun;
//! - `health`: evidence, verdicts and repair requests;
//! - `operations`: admission, plan, execution and completion of changes;
//! - `placement`: hosts, machines, ports, subnets and fill policies;
//! - `runtime`: connections to hosts, and the last observed state;
//! - the files beside this one: callers, policy, errors.
//!
//! Every change takes the same path. A method of [`Orchestrator`] admits it in one transaction (`admission`),
//! the executor plans it (`plan`, pure), runs journaled steps (`step`) and completes it in one transaction
//! (`completion`). Repairs by the watchdog (`reconcile`) take the same path.

mod caller;
mod error;
mod facade;
mod health;
mod number;
mod operations;
mod orchestrator;
mod placement;
mod policy;
mod runtime;
mod text;

pub use caller::{Caller, RequestKey};
pub use chainpool_agent::{LogLine, LogQuery, LogStream}; // passed through to the front ends
pub use chainpool_store::{CommitHook, DATABASE, Restored, restore};
pub use error::{Error, Result};
pub use facade::{
    cluster::ClusterLog,
    host::HostPreview,
    lease::Applied,
    search::SearchResults,
    subscription::{Change, StreamScope, Subscription},
};
pub use orchestrator::{Config, DEFAULT_LEASES_PER_ACCOUNT, Orchestrator, StartError};
pub use policy::Access;
pub use runtime::{
    findings::Watched,
    single_flight::{Flight, SingleFlight},
};
