//! Last observed state of clusters and hosts, in memory only. A full pass rebuilds it after a restart.

use crate::cluster_runtime::{ClusterRuntime, reports};
use chainpool_agent::ClusterSpec;
use chainpool_api::{Evidence, Progress, Timestamp};
use chainpool_health::{self as health, HealthPolicy};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Last observed state of all clusters and hosts.
pub(crate) struct RuntimeCache {
    policy: Arc<HealthPolicy>,
    clusters: Mutex<HashMap<Uuid, ClusterRuntime>>,
    hosts: Mutex<HashMap<Uuid, health::Host>>,
    specs: Mutex<Specs>,
}

/// Cached specs.
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
    cache: &'a RuntimeCache,
    cluster: Uuid,
}

impl Amending<'_> {
    /// The amendment was committed.
    pub(crate) fn done(self) {
        let mut specs = self.cache.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.amending.remove(&self.cluster);
        specs.epoch += 1;
    }
}

impl RuntimeCache {
    /// An empty cache.
    pub(crate) fn new(policy: Arc<HealthPolicy>) -> Self {
        Self {
            policy,
            clusters: Mutex::default(),
            hosts: Mutex::default(),
            specs: Mutex::default(),
        }
    }

    /// Returns the last observed state of a cluster in this generation.
    pub(crate) fn cluster(&self, cluster: Uuid, generation: u32) -> ClusterRuntime {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters
            .get(&cluster)
            .filter(|runtime| runtime.generation == generation)
            .cloned()
            .unwrap_or_else(|| ClusterRuntime {
                generation,
                ..ClusterRuntime::default()
            })
    }

    /// Updates the state of a cluster in this generation.
    pub(crate) fn update<T>(
        &self,
        cluster: Uuid,
        generation: u32,
        change: impl FnOnce(&mut ClusterRuntime) -> T,
    ) -> T {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = clusters.entry(cluster).or_default();
        if runtime.generation != generation {
            *runtime = ClusterRuntime {
                generation,
                ..ClusterRuntime::default()
            };
        }
        change(runtime)
    }

    /// Gives the machine of a cluster's health an input, and returns its requests.
    pub(crate) fn tell(&self, cluster: Uuid, generation: u32, input: health::Input) -> Vec<health::Effect> {
        self.update(cluster, generation, |runtime| self.step(runtime, input))
    }

    /// Gives the machine of a cluster's health an input if the cluster is known.
    pub(crate) fn tell_known(&self, cluster: Uuid, input: health::Input) -> Vec<health::Effect> {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters
            .get_mut(&cluster)
            .map(|runtime| self.step(runtime, input))
            .unwrap_or_default()
    }

    fn step(&self, runtime: &mut ClusterRuntime, input: health::Input) -> Vec<health::Effect> {
        let state = std::mem::take(&mut runtime.health);
        let (state, effects) = health::step(state, input, &self.policy, Timestamp::now());
        runtime.health = state;
        effects
    }

    /// Records evidence that an operation gathered, and returns the nodes that it must restart.
    pub(crate) fn observe(
        &self,
        cluster: Uuid,
        generation: u32,
        evidence: &Evidence,
        progress: Option<Progress>,
    ) -> BTreeSet<String> {
        let now = Timestamp::now();
        let input = health::Input::Observed {
            nodes: reports(evidence),
            progress,
        };
        self.update(cluster, generation, |runtime| {
            self.step(runtime, input);
            runtime.evidence = Some(Evidence {
                progress,
                ..evidence.clone()
            });
            runtime.checked_at = Some(now);
            let overdue = runtime.health.overdue_nodes(&self.policy, now);
            if !overdue.is_empty() {
                runtime.health.nodes_restarted(now);
            }
            overdue
        })
    }

    /// Drops the state of a cluster.
    pub(crate) fn forget(&self, cluster: Uuid) {
        self.clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&cluster);
        self.specs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget(cluster);
    }

    /// Returns the clusters with evidence gathered since then.
    pub(crate) fn checked_since(&self, since: Timestamp) -> Vec<Uuid> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters
            .iter()
            .filter(|(_, runtime)| runtime.checked_at.is_some_and(|at| at >= since))
            .map(|(id, _)| *id)
            .collect()
    }

    /// When a cluster was last probed.
    pub(crate) fn checked_at(&self, cluster: Uuid) -> Option<Timestamp> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.get(&cluster)?.checked_at
    }

    /// Returns a cached spec: with its keys, without the nodes' secret contents.
    pub(crate) fn spec(&self, cluster: Uuid, generation: u32) -> Option<Arc<ClusterSpec>> {
        self.specs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .get(&(cluster, generation))
            .cloned()
    }

    /// The number of committed amendments. A spec read under an older epoch may be outdated.
    pub(crate) fn spec_epoch(&self) -> u64 {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// Caches a spec read in this epoch and drops older generations.
    pub(crate) fn spec_put(&self, cluster: Uuid, generation: u32, spec: Arc<ClusterSpec>, epoch: u64) {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        if specs.epoch != epoch || specs.amending.contains(&cluster) {
            return;
        }
        let specs = &mut specs.known;
        specs.retain(|(id, known), _| *id != cluster || *known >= generation);
        specs.insert((cluster, generation), spec);
    }

    /// Caches no spec of a cluster while its amendment is committed, so that later readers get the amended
    /// one.
    pub(crate) fn amending(&self, cluster: Uuid) -> Amending<'_> {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.forget(cluster);
        specs.amending.insert(cluster);
        Amending { cache: self, cluster }
    }

    /// Gives the machine of a host's availability an input, and returns its requests.
    pub(crate) fn tell_host(&self, host: Uuid, input: health::HostInput) -> Vec<health::HostEffect> {
        let mut hosts = self.hosts();
        let state = hosts.remove(&host).unwrap_or_default();
        let (state, effects) = health::host_step(state, input, &self.policy, Timestamp::now());
        hosts.insert(host, state);
        effects
    }

    /// The machine of a host's availability.
    pub(crate) fn host(&self, host: Uuid) -> health::Host {
        self.hosts().get(&host).cloned().unwrap_or_default()
    }

    /// Drops the state of a host.
    pub(crate) fn forget_host(&self, host: Uuid) {
        self.hosts().remove(&host);
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Uuid, health::Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_read_before_an_amendment_is_not_cached() {
        let (cache, cluster) = (RuntimeCache::new(Arc::default()), Uuid::now_v7());
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
        let before = cache.spec_epoch();
        cache.spec_put(cluster, 1, spec(), before);
        assert!(cache.spec(cluster, 1).is_some());
        let amending = cache.amending(cluster);
        cache.spec_put(cluster, 1, spec(), cache.spec_epoch());
        assert!(cache.spec(cluster, 1).is_none(), "read before the commit");
        amending.done();
        cache.spec_put(cluster, 1, spec(), before);
        assert!(
            cache.spec(cluster, 1).is_none(),
            "read before the commit, cached after it"
        );
        cache.spec_put(cluster, 1, spec(), cache.spec_epoch());
        assert!(cache.spec(cluster, 1).is_some());
    }
}
