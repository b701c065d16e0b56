//! What is read and written, by noun. Inside one immediate transaction a row may be read, changed and saved whole:
//! nobody else writes meanwhile.

mod account;
mod audit;
mod cluster;
mod health;
mod host;
mod labels;
mod lease;
mod operation;
mod retention;
mod revision;
mod setting;

pub use audit::Audit;
pub use cluster::ClusterQuery;
pub use host::{FillPause, HostSecrets, HostSettings};
pub use labels::Labels;
pub use lease::LeaseQuery;
pub use operation::{NewOperation, OperationQuery};
pub use revision::StoredSpec;

/// How many rows a page may have, and has when nobody says.
pub(crate) fn page_size(limit: Option<u32>) -> u64 {
    u64::from(limit.unwrap_or(100).clamp(1, 500))
}
