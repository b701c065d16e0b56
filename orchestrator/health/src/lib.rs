//! Timing rules of health assessment and repair, as data. Pure: no I/O and no clock.
//!
//! [`HealthPolicy`] holds every rule. The orchestrator's configuration injects it, and pure functions take it, or
//! the group that they need, as an argument. The sample configuration file and the table in the documentation
//! are generated from the same fields and comments.

mod document;
mod duration;
mod policy;
mod setting;
mod validation;

pub use duration::{millis, text};
pub use policy::{Assessment, Backoff, CometBft, CrashLoop, Fabric, HealthPolicy, Host, Repair};
pub use setting::{Setting, Value};
pub use validation::PolicyError;

/// Name of the policy's table in the configuration file.
pub const TABLE: &str = "health";
