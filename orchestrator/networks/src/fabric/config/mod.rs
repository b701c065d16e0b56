//! Configuration of a channel: its elements, reading it from a block, and updating it. Pure.

pub(super) mod bft;
pub(super) mod block;
pub(super) mod consenters;
pub(super) mod duration;
pub(super) mod names;
pub(super) mod organisation;
pub(super) mod policies;
pub(super) mod raft;
pub(super) mod update;
pub(super) mod values;
