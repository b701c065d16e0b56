//! Health of hosts and clusters as state machines, and their timing rules as data. Pure: no I/O and no clock.
//!
//! The machines take news and the current time, and return their next state and requests; the orchestrator's
//! health wing brings the news and performs the requests.
//!
//! [`HealthPolicy`] holds every rule. The orchestrator's configuration injects it, and pure functions take it, or
//! the group that they need, as an argument. The sample configuration file and the table in the documentation
//! are generated from the same fields and comments.

mod cluster;
mod document;
mod duration;
mod host;
mod policy;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod replay_tests;
mod setting;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod validation;

pub use cluster::{
    Cluster, ClusterHealth, Effect, Evidence, Exits, History, HostReport, Input, Inventory, LostVolumes,
    NodeExit, NodeHealth, NodeReport, NodeTracker, Record, Verdict, step,
};
pub use duration::{millis, text};
pub use host::{Host, HostAvailability, HostEffect, HostInput, Probed, host_step};
pub use policy::{Assessment, Backoff, CometBft, CrashLoop, Fabric, HealthPolicy, HostRules, Repair};
pub use setting::{Setting, Value};
pub use validation::PolicyError;

/// Name of the policy's table in the configuration file.
pub const TABLE: &str = "health";
