//! The methods that the front ends and the watchdog call, by noun: permission, validation, answer.

pub(crate) mod account;
pub(crate) mod bundle_reads;
pub(crate) mod cluster;
pub(crate) mod host;
pub(crate) mod idempotency;
mod installation;
pub(crate) mod lease;
mod operation;
mod presenter;
pub(crate) mod search;
mod status;
pub(crate) mod subscription;
mod validation;
mod watchdog;
