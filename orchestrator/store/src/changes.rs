//! Committed changes of hosts and clusters, for the one reader that keeps a summary of them in memory.
//!
//! Unlike events, they are never lost, and they include the times of the latest evidence, which are written for
//! many clusters at once and send no events.

use chainpool_api::{Noun, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Changes since the previous call of [`crate::Store::take_changes`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changed hosts.
    pub hosts: BTreeSet<Uuid>,
    /// The changed clusters.
    pub clusters: BTreeSet<Uuid>,
    /// The clusters whose evidence has a new time, with that time.
    pub checked: BTreeMap<Uuid, Timestamp>,
}

/// Collects changes. Cheap to clone; all clones share one state.
#[derive(Clone, Default)]
pub(crate) struct ChangeLog(Arc<Mutex<Changes>>);

impl ChangeLog {
    /// Records a committed change. Call it before listeners and the caller are notified.
    pub(crate) fn note(&self, noun: Noun, id: Uuid) {
        match noun {
            Noun::Host => drop(self.all().hosts.insert(id)),
            Noun::Cluster => drop(self.all().clusters.insert(id)),
            Noun::Lease | Noun::Operation => {}
        }
    }

    /// Records a committed time of evidence.
    pub(crate) fn note_checked(&self, clusters: Vec<Uuid>, at: Timestamp) {
        self.all()
            .checked
            .extend(clusters.into_iter().map(|cluster| (cluster, at)));
    }

    /// Takes all changes.
    pub(crate) fn take(&self) -> Changes {
        mem::take(&mut self.all())
    }

    /// Puts taken changes back.
    pub(crate) fn put_back(&self, changes: Changes) {
        let Changes {
            hosts,
            clusters,
            checked,
        } = changes;
        let mut all = self.all();
        all.hosts.extend(hosts);
        all.clusters.extend(clusters);
        for (cluster, at) in checked {
            all.checked.entry(cluster).or_insert(at);
        }
    }

    fn all(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
