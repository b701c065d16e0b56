//! The methods that the front ends and the watchdog call, by noun: permission, validation, answer.

mod account;
mod bundle_reads;
pub(crate) mod cluster;
pub(crate) mod host;
mod idempotency;
mod installation;
pub(crate) mod lease;
mod operation;
mod operation_view;
pub(crate) mod orchestrator;
mod presenter;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod subscription;
mod validation;
mod watchdog;
