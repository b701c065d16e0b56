//! The rows as they are stored.
#![allow(unreachable_pub, reason = "sea-orm's derives want public items")]
#![expect(missing_docs, reason = "the columns are described where their types are, in chainpool-api and the migration")]

pub mod setting;
pub mod leadership;
pub mod host;
pub mod cluster;
pub mod revision;
pub mod data_key;
pub mod port;
pub mod operation;
pub mod step;
pub mod lease;
pub mod health_change;
pub mod account;
pub mod token;
pub mod idempotency;
pub mod audit;
