//! Last observed state of clusters and hosts, in memory only. A full pass rebuilds it after a restart.

use crate::runtime::cluster_runtime::ClusterRuntime;
use chainpool_agent::Observation;
use chainpool_api::{Evidence, Progress, Timestamp};
use chainpool_health::{self as health, HealthPolicy};
use chainpool_networks::node_reports;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// Last observed state of all clusters and hosts.
pub(crate) struct RuntimeCache {
    policy: Arc<HealthPolicy>,
    clusters: Mutex<HashMap<Uuid, Box<ClusterRuntime>>>,
    hosts: Mutex<HashMap<Uuid, health::Host>>,
}

impl RuntimeCache {
    /// An empty cache.
    pub(crate) fn new(policy: Arc<HealthPolicy>) -> Self {
        Self {
            policy,
            clusters: Mutex::default(),
            hosts: Mutex::default(),
        }
    }

    /// The platform's last inventory of a cluster in this generation.
    pub(crate) fn observed(&self, cluster: Uuid, generation: u32) -> Option<Arc<Observation>> {
        self.read(cluster, generation, |runtime| runtime.observed.clone())
            .flatten()
    }

    /// Reads a part of the last observed state of a cluster in this generation; `None`: nothing is known.
    pub(crate) fn read<T>(
        &self,
        cluster: Uuid,
        generation: u32,
        part: impl FnOnce(&ClusterRuntime) -> T,
    ) -> Option<T> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = clusters.get(&cluster);
        runtime
            .filter(|runtime| runtime.generation == generation)
            .map(|runtime| part(runtime))
    }

    /// Updates the state of a cluster in this generation. A late report on an older generation changes nothing.
    pub(crate) fn update<T>(
        &self,
        cluster: Uuid,
        generation: u32,
        change: impl FnOnce(&mut ClusterRuntime) -> T,
    ) -> T {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = clusters.entry(cluster).or_default();
        if runtime.generation > generation {
            return change(&mut ClusterRuntime {
                generation,
                ..ClusterRuntime::default()
            });
        }
        if runtime.generation < generation {
            **runtime = ClusterRuntime {
                generation,
                ..ClusterRuntime::default()
            };
        }
        change(runtime)
    }

    /// `true` if a time has passed that decides something about a cluster in this generation.
    pub(crate) fn is_due(&self, cluster: Uuid, generation: u32) -> bool {
        self.read(cluster, generation, |runtime| {
            runtime.health.is_due(&self.policy, Timestamp::now())
        })
        .unwrap_or_default()
    }

    /// Gives the machine of a cluster's health an input, and returns its effects; none for an older generation.
    pub(crate) fn advance(
        &self,
        cluster: Uuid,
        generation: u32,
        input: health::Input,
    ) -> Vec<health::Effect> {
        let mut effects = self.update(cluster, generation, |runtime| self.step(runtime, input));
        if self.read(cluster, generation, |_| ()).is_none() {
            effects.clear();
        }
        effects
    }

    /// Gives the machine of a cluster's health an input if the cluster is known.
    pub(crate) fn advance_known(&self, cluster: Uuid, input: health::Input) -> Vec<health::Effect> {
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
            nodes: node_reports(evidence),
            progress,
        };
        self.update(cluster, generation, |runtime| {
            self.step(runtime, input);
            let evidence = Evidence {
                progress,
                ..evidence.clone()
            };
            runtime.note_evidence(evidence, now);
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

    /// Gives the machine of a host's availability an input, and returns its requests.
    pub(crate) fn advance_host(&self, host: Uuid, input: health::HostInput) -> Vec<health::HostEffect> {
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
    use chainpool_api::OperationKind;

    #[test]
    fn a_late_report_on_an_older_generation_changes_nothing() {
        let cache = RuntimeCache::new(Arc::new(HealthPolicy::default()));
        let cluster = Uuid::now_v7();
        let checked = |generation, at| {
            cache.update(cluster, generation, |runtime| {
                runtime.checked_at = Some(Timestamp(at));
            });
        };
        let known = |generation| {
            cache
                .read(cluster, generation, |runtime| runtime.checked_at)
                .flatten()
        };
        checked(1, 10);
        checked(2, 20);
        checked(1, 30);
        let prove = health::Input::OperationStarted {
            kind: OperationKind::ClusterProve,
            repairs: BTreeSet::new(),
            restarts: false,
        };
        assert!(cache.advance(cluster, 1, prove).is_empty());
        assert_eq!((known(1), known(2)), (None, Some(Timestamp(20))));
    }
}
