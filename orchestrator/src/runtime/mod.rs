//! Connections to hosts, and the last observed state of hosts and clusters. In memory only: a restart loses it,
//! and a full pass reads it again.

pub(crate) mod agents;
pub(crate) mod cluster_runtime;
pub(crate) mod crash_loop;
pub(crate) mod findings;
#[cfg(test)]
pub(crate) mod idle_platform;
mod last_observed;
pub(crate) mod probe;
pub(crate) mod public_endpoints;
pub(crate) mod runtime_cache;
pub(crate) mod single_flight;
pub(crate) mod spec_cache;
mod specs;
