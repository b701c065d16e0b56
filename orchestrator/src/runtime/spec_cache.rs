//! Specs of running generations, in memory: with their keys, without the nodes' secret contents.

use chainpool_agent::ClusterSpec;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// The maximum number of cached specs: each has the files of all nodes of its cluster. Up to this number, probes read no
/// spec from the database.
const MAX_SPECS: usize = 512;

/// Cached specs.
#[derive(Default)]
pub(crate) struct SpecCache(Mutex<Specs>);

#[derive(Default)]
struct Specs {
    known: HashMap<(Uuid, u32), Arc<ClusterSpec>>,
    amending: BTreeSet<Uuid>,
    epoch: u64,
}

impl Specs {
    fn forget(&mut self, cluster: Uuid) {
        self.known.retain(|(id, _), _| *id != cluster);
    }
}

/// The commit of an amendment. If it is dropped before the outcome is known, no spec of that cluster is
/// cached until its next amendment.
pub(crate) struct Amending<'a> {
    cache: &'a SpecCache,
    cluster: Uuid,
}

impl Amending<'_> {
    /// The amendment was committed.
    pub(crate) fn done(self) {
        let mut specs = self.cache.specs();
        specs.amending.remove(&self.cluster);
        specs.epoch += 1;
    }
}

impl SpecCache {
    /// Returns a cached spec.
    pub(crate) fn get(&self, cluster: Uuid, generation: u32) -> Option<Arc<ClusterSpec>> {
        self.specs().known.get(&(cluster, generation)).cloned()
    }

    /// The number of committed amendments. A spec read under an older epoch may be outdated.
    pub(crate) fn epoch(&self) -> u64 {
        self.specs().epoch
    }

    /// Caches a spec read in this epoch and drops older generations.
    pub(crate) fn put(&self, cluster: Uuid, generation: u32, spec: Arc<ClusterSpec>, epoch: u64) {
        let mut specs = self.specs();
        if specs.epoch != epoch || specs.amending.contains(&cluster) {
            return;
        }
        let specs = &mut specs.known;
        specs.retain(|(id, known), _| *id != cluster || *known >= generation);
        if specs.len() >= MAX_SPECS
            && let Some(any) = specs.keys().next().copied()
        {
            specs.remove(&any);
        }
        specs.insert((cluster, generation), spec);
    }

    /// Caches no spec of a cluster while its amendment is committed, so that later readers get the amended
    /// one.
    pub(crate) fn amending(&self, cluster: Uuid) -> Amending<'_> {
        let mut specs = self.specs();
        specs.forget(cluster);
        specs.amending.insert(cluster);
        Amending { cache: self, cluster }
    }

    /// Drops the specs of a cluster.
    pub(crate) fn forget(&self, cluster: Uuid) {
        self.specs().forget(cluster);
    }

    fn specs(&self) -> MutexGuard<'_, Specs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_read_before_an_amendment_is_not_cached() {
        let (cache, cluster) = (SpecCache::default(), Uuid::now_v7());
        let network = chainpool_agent::NetworkSpec { subnet: None };
        let spec = || {
            Arc::new(ClusterSpec {
                nodes: vec![],
                jobs: vec![],
                boot: vec![],
                network: network.clone(),
                facts: serde_json::Value::Null,
                keys: std::collections::BTreeMap::new(),
            })
        };
        let before = cache.epoch();
        cache.put(cluster, 1, spec(), before);
        assert!(cache.get(cluster, 1).is_some());
        let amending = cache.amending(cluster);
        cache.put(cluster, 1, spec(), cache.epoch());
        assert!(cache.get(cluster, 1).is_none(), "read before the commit");
        amending.done();
        cache.put(cluster, 1, spec(), before);
        assert!(
            cache.get(cluster, 1).is_none(),
            "read before the commit, cached after it"
        );
        cache.put(cluster, 1, spec(), cache.epoch());
        assert!(cache.get(cluster, 1).is_some());
    }
}
