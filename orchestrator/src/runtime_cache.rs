//! Last observed state of clusters and hosts, in memory only. A full pass rebuilds it after a restart.

use crate::{cluster_runtime::ClusterRuntime, single_flight::SingleFlight};
use chainpool_agent::ClusterSpec;
use chainpool_api::Timestamp;
use chainpool_health::{Host, millis};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// The maximum number of cached specs: each has the files of all nodes of its cluster. Up to this number, probes read no
/// spec from the database.
const MAX_SPECS: usize = 512;

/// Reachability of a host, as far as this process knows.
#[derive(Default)]
struct HostReachability {
    /// `None`: unreachable, or not probed successfully since its event stream was interrupted.
    reachable_since: Option<Timestamp>,
    /// The host was unreachable before, so its platform may start everything at once.
    was_unreachable: bool,
    /// When the host reconnected, or the last node started there afterwards.
    settled_at: Timestamp,
}

/// Last observed state of all clusters and hosts.
pub(crate) struct RuntimeCache {
    policy: Host,
    clusters: Mutex<HashMap<Uuid, ClusterRuntime>>,
    specs: Mutex<Specs>,
    assessment_locks: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
    /// The clusters assessed because a process exited.
    pub(crate) exit_checks: SingleFlight,
    host_reachability: Mutex<HashMap<Uuid, HostReachability>>,
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
    pub(crate) fn new(policy: &Host) -> Self {
        Self {
            policy: policy.clone(),
            clusters: Mutex::default(),
            specs: Mutex::default(),
            assessment_locks: Mutex::default(),
            exit_checks: SingleFlight::default(),
            host_reachability: Mutex::default(),
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
            .map(part)
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

    /// Updates the state of a cluster if there is any.
    pub(crate) fn update_known(&self, cluster: Uuid, change: impl FnOnce(&mut ClusterRuntime)) {
        if let Some(runtime) = self
            .clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&cluster)
        {
            change(runtime);
        }
    }

    /// Drops the state of a cluster.
    pub(crate) fn forget(&self, cluster: Uuid) {
        self.clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&cluster);
        self.assessment_locks
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
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.forget(cluster);
        specs.amending.insert(cluster);
        Amending { cache: self, cluster }
    }

    /// Since when a host has been reachable and, if it reconnected, has started no more nodes.
    pub(crate) fn host_settled(&self, host: Uuid) -> Option<Timestamp> {
        self.hosts()
            .get(&host)
            .and_then(|host_state| host_state.reachable_since.map(|_| host_state.settled_at))
    }

    /// Records that a node started to respond, perhaps as the last one to start after a reconnect.
    pub(crate) fn node_started(&self, host: Uuid, at: Timestamp) {
        if let Some(host_state) = self.hosts().get_mut(&host)
            && host_state.was_unreachable
            && host_state
                .reachable_since
                .is_some_and(|since| self.is_startup(since, at))
        {
            host_state.settled_at = host_state.settled_at.max(at);
        }
    }

    /// Records that a host responds.
    pub(crate) fn host_reachable(&self, host: Uuid, now: Timestamp) {
        let mut hosts = self.hosts();
        let host_state = hosts.entry(host).or_default();
        match host_state.reachable_since {
            None => (host_state.reachable_since, host_state.settled_at) = (Some(now), now),
            Some(since) => host_state.was_unreachable &= self.is_startup(since, now),
        }
    }

    /// Returns `true` if a node that starts now counts as started by the platform of its reconnected host.
    fn is_startup(&self, reachable_since: Timestamp, now: Timestamp) -> bool {
        now.millis_since(reachable_since) <= millis(self.policy.startup)
    }

    /// Records that a host is unreachable: its next response is a reconnect.
    pub(crate) fn host_unreachable(&self, host: Uuid) {
        self.hosts().insert(
            host,
            HostReachability {
                was_unreachable: true,
                ..HostReachability::default()
            },
        );
    }

    /// Records that a host's event stream was interrupted: the host may have been unreachable.
    pub(crate) fn host_events_interrupted(&self, host: Uuid) {
        self.hosts().entry(host).or_default().reachable_since = None;
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Uuid, HostReachability>> {
        self.host_reachability
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Serialises the assessments of a cluster.
    pub(crate) fn assessment_lock(&self, cluster: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(
            self.assessment_locks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(cluster)
                .or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_read_before_an_amendment_is_not_cached() {
        let (cache, cluster) = (RuntimeCache::new(&Host::default()), Uuid::now_v7());
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

    #[test]
    fn a_host_is_settled_since_its_first_response() {
        let (cache, host) = (RuntimeCache::new(&Host::default()), Uuid::now_v7());
        assert_eq!(cache.host_settled(host), None);
        cache.host_reachable(host, Timestamp(1));
        cache.host_reachable(host, Timestamp(2));
        cache.node_started(host, Timestamp(3));
        assert_eq!(
            cache.host_settled(host),
            Some(Timestamp(1)),
            "it was not unreachable"
        );
        cache.host_events_interrupted(host);
        assert_eq!(cache.host_settled(host), None);
        cache.host_reachable(host, Timestamp(4));
        cache.node_started(host, Timestamp(5));
        assert_eq!(
            cache.host_settled(host),
            Some(Timestamp(4)),
            "an interruption is not known to be an outage"
        );
        cache.host_unreachable(host);
        assert_eq!(cache.host_settled(host), None);
        cache.host_reachable(host, Timestamp(6));
        assert_eq!(cache.host_settled(host), Some(Timestamp(6)));
    }

    #[test]
    fn a_reconnected_host_settles_when_its_last_node_starts_within_the_startup_time() {
        let (policy, host) = (Host::default(), Uuid::now_v7());
        let (cache, startup) = (RuntimeCache::new(&policy), millis(policy.startup));
        cache.host_unreachable(host);
        cache.node_started(host, Timestamp(1));
        assert_eq!(cache.host_settled(host), None, "it does not respond");
        cache.host_reachable(host, Timestamp(1));
        // The event stream reopens a little later.
        cache.host_events_interrupted(host);
        cache.host_reachable(host, Timestamp(2));
        cache.node_started(Uuid::now_v7(), Timestamp(5));
        assert_eq!(
            cache.host_settled(host),
            Some(Timestamp(2)),
            "another host's node"
        );
        cache.node_started(host, Timestamp(9));
        cache.node_started(host, Timestamp(8));
        assert_eq!(cache.host_settled(host), Some(Timestamp(9)));
        cache.node_started(host, Timestamp(2 + startup));
        cache.node_started(host, Timestamp(3 + startup));
        assert_eq!(cache.host_settled(host), Some(Timestamp(2 + startup)));
        // Long after the reconnect the host is treated like any other.
        cache.host_reachable(host, Timestamp(3 + startup));
        cache.host_events_interrupted(host);
        cache.host_reachable(host, Timestamp(4 + startup));
        cache.node_started(host, Timestamp(5 + startup));
        assert_eq!(cache.host_settled(host), Some(Timestamp(4 + startup)));
    }
}
