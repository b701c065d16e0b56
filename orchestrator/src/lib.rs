//! The middle: decides what shall be, writes it down, and sees it done. Serves no HTTP and never speaks Docker.
//!
//! The road of every change: a method of [`Orchestrator`] accepts it in one transaction (`accept`), the executor plans
//! it (`plan`, pure), runs journaled steps (`step`) and ends it in one transaction (`finish`). The watchdog's repair
//! (`reconcile`) goes down the same road.

mod accept;
mod account;
mod agents;
mod amend;
mod bundle_reads;
mod caller;
mod cluster;
mod error;
mod evidence;
mod executor;
mod fill;
mod finish;
mod health;
mod host;
mod idempotency;
#[cfg(test)]
mod idle;
mod lease;
mod live;
mod looks;
mod mend;
mod operation;
mod orchestrator;
mod placement;
mod plan;
mod policy;
mod reconcile;
mod render;
mod search;
mod seen;
mod site;
mod status;
mod step;
mod subscription;
mod view;
mod volumes;
mod wait;
mod words;

pub use caller::{Caller, RequestKey};
pub use chainpool_agent::{LogLine, LogQuery, LogStream}; // access passes these on and sees nothing else of the agents
pub use chainpool_store::{CommitHook, DATABASE, Restored, restore};
pub use cluster::ClusterLog;
pub use error::{Error, Result};
pub use host::HostPreview;
pub use lease::Applied;
pub use looks::{Looking, Looks};
pub use orchestrator::{Config, DEFAULT_LEASES_PER_ACCOUNT, Orchestrator, StartError};
pub use policy::Access;
pub use search::Found;
pub use status::Watched;
pub use subscription::{Change, StreamOf, Subscription};
