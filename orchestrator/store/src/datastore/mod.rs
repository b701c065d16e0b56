//! Reads and writes, by resource. A row may be read, changed and saved whole: the save compares the row's
//! version. Inside one immediate transaction there is no concurrent writer, so a row that was read there is
//! current.

mod account;
mod audit;
mod cluster;
mod event;
mod health;
mod host;
mod host_usage;
mod labels;
mod leader;
mod lease;
mod list_reads;
mod offer;
mod operation;
mod retention;
mod revision;
mod save;
mod setting;

use sea_orm::sea_query::LikeExpr;

pub use audit::Audit;
pub use cluster::ClusterQuery;
pub use host::HostSecrets;
pub use host_usage::HostUsage;
pub use labels::Labels;
pub(crate) use leader::led_by;
pub use lease::LeaseQuery;
pub use list_reads::Progress;
pub(crate) use list_reads::among;
pub use offer::OfferFilter;
pub(crate) use offer::{OFFERED, fresh_since};
pub use operation::{NewOperation, OperationQuery};
pub use revision::StoredSpec;
pub(crate) use save::next as next_version;

/// Matches texts that contain this text literally: `%` and `_` are no wildcards.
pub(crate) fn containing(text: &str) -> LikeExpr {
    const ESCAPE: char = '!';
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if ['%', '_', ESCAPE].contains(&letter) {
            pattern.push(ESCAPE);
        }
        pattern.push(letter);
    }
    pattern.push('%');
    LikeExpr::new(pattern).escape(ESCAPE)
}

/// The number of rows of a page, limited, with a default.
pub(crate) fn page_size(limit: Option<u32>) -> u64 {
    u64::from(limit.unwrap_or(100).clamp(1, 500))
}
