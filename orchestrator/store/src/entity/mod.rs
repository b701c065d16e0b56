//! The stored rows.
#![allow(unreachable_pub, reason = "sea-orm's derives require public items")]
#![expect(
    missing_docs,
    reason = "chainpool-api and the migrations describe the columns"
)]

pub mod account;
pub mod audit;
pub mod cluster;
pub mod data_key;
pub mod event;
pub mod health_change;
pub mod host;
pub mod host_leader;
pub mod idempotency;
pub mod leadership;
pub mod lease;
pub mod operation;
pub mod port;
pub mod revision;
pub mod setting;
pub mod step;
pub mod token;
