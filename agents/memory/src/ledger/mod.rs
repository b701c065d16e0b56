//! The scripted ledger: a network type for tests, registered through `Config::registry`.
//!
//! Its nodes commit with votes of more than two thirds of the members. While enough members take part, blocks
//! follow at the interval of a parameter. A member's copy of the ledger is in its volume and is lost with it.

mod chain;
mod network;
mod node;
mod probe;
mod protocol;
mod prove;
mod render;
mod sections;
mod serve;
mod verdict;

pub use network::Ledger;
pub use node::NodeBehavior;
pub(crate) use node::{Copy, Genesis};
pub use protocol::{Answer, Request};
pub(crate) use serve::serve;

/// The name of the type.
pub const TYPE: &str = "scripted";
/// The role of its images.
pub const ROLE: &str = "ledger";
/// The name of the port for users, probe and proof.
pub const RPC: &str = "rpc";
/// The number of that port inside.
pub(crate) const RPC_PORT: u16 = 7700;

#[cfg(test)]
mod tests;
