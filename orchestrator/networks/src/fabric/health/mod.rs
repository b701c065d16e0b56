//! Health of a network: evidence from its nodes, and the verdict.

mod answer;
pub(super) mod messages;
mod peer;
pub(super) mod probe;
mod stall;
pub(super) mod verdict;
