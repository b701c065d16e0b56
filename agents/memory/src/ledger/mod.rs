//! The scripted ledger: a network type for tests alone, registered through `Config::registry`.
//!
//! Its nodes agree by votes of more than two thirds of the members. Blocks come by themselves, in intervals that a
//! parameter sets, while enough members take part. A member's copy of the ledger lies in its volume and goes with it.

mod chain;
mod network;
mod probe;
mod protocol;
mod prove;
mod render;
mod verdict;

pub use chain::Conduct;
pub(crate) use chain::{Copy, Genesis};
pub use network::Ledger;
pub(crate) use protocol::serve;
pub use protocol::{Answer, Request};

/// The name of the type, as tests register it.
pub const TYPE: &str = "scripted";
/// The role of its images.
pub const ROLE: &str = "ledger";
/// The name of the port that users, probe and proof speak to.
pub const RPC: &str = "rpc";
/// That port inside.
pub(crate) const RPC_PORT: u16 = 7700;

#[cfg(test)]
mod tests;
