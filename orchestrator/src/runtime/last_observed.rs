//! The furthest progress of clusters, from before this process started too.

use crate::runtime::{Runtime, cluster_runtime::ClusterRuntime};
use chainpool_api::Progress;
use chainpool_store::ClusterRow;

impl Runtime {
    /// The highest observed block of a cluster's current generation.
    pub(crate) fn height_seen(&self, cluster: &ClusterRow) -> Option<i64> {
        let observed = self
            .cache
            .read(cluster.id, cluster.generation, ClusterRuntime::height);
        observed
            .flatten()
            .and_then(|height| i64::try_from(height).ok())
            .max(cluster.height)
    }

    /// The furthest progress of a cluster's current generation.
    pub(crate) fn progress_seen(&self, cluster: &ClusterRow) -> Option<Progress> {
        let seen = self
            .cache
            .read(cluster.id, cluster.generation, |runtime| {
                runtime.health.progress()
            })
            .flatten()
            .map(|(progress, _)| progress);
        let stored = cluster.height.and_then(|height| u64::try_from(height).ok());
        match (seen, stored) {
            (Some(Progress::At(seen)), Some(stored)) => Some(Progress::At(seen.max(stored))),
            (None, Some(stored)) => Some(Progress::At(stored)),
            (seen, _) => seen,
        }
    }
}
