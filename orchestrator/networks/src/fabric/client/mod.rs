//! Calls to the nodes of one network.

pub(super) mod access;
pub(super) mod control;
pub(super) mod definitions;
pub(super) mod deliver;
pub(super) mod discovery;
pub(super) mod endorser;
pub(super) mod grpc;
mod ledger;
pub(super) mod metrics;
pub(super) mod orderer;
pub(super) mod participation;
mod secure;
pub(super) mod transaction;
