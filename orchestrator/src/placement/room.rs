//! Room of a host for another cluster.

use chainpool_api as api;
use chainpool_store::{ClusterRow, HostRow};

/// Returns `true` if a host offers its free clusters.
pub(crate) fn offers(host: &HostRow) -> bool {
    host.state.0 == api::HostState::Active && host.settings.0.schedulable
}

/// The memory of these clusters in bytes.
pub(crate) fn memory_used<'a>(clusters: impl IntoIterator<Item = &'a ClusterRow>) -> u64 {
    let memory = |cluster: &ClusterRow| u64::try_from(cluster.memory_bytes).ok();
    clusters.into_iter().filter_map(memory).sum()
}

/// The reason why a host has no memory or disk left for more, in bytes, beside the memory its clusters use; `None` if it
/// has.
pub(crate) fn no_room(host: &HostRow, used: u64, more: u64) -> Option<String> {
    let info = &host.info.as_ref()?.0;
    let settings = &host.settings.0;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "memory times a small factor; bytes need not be exact"
    )]
    let limit = (info.memory_bytes as f64 * settings.memory_factor) as u64;
    if used.saturating_add(more) > limit {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        return Some(format!(
            "host {} has {} MiB for clusters, {} MiB are allocated; {} MiB more do not fit (raise memory_factor or delete clusters)",
            host.name,
            mib(limit),
            mib(used),
            mib(more)
        ));
    }
    let (free, total) = (info.disk_free_bytes?, info.disk_total_bytes?);
    if u128::from(free) * 100 < u128::from(total) * u128::from(settings.disk_floor) {
        return Some(format!(
            "host {} has {} % free disk space, below its minimum of {} %",
            host.name,
            u128::from(free) * 100 / u128::from(total.max(1)),
            settings.disk_floor
        ));
    }
    None
}
