//! Connections to hosts, and the last observed state of hosts and clusters. In memory only: a restart loses it,
//! and a full pass reads it again.

pub(crate) mod agents;
pub(crate) mod cluster_runtime;
pub(crate) mod crash_loop;
pub(crate) mod findings;
#[cfg(test)]
pub(crate) mod idle_platform;
mod last_observed;
pub(crate) mod probe;
pub(crate) mod public_endpoints;
pub(crate) mod runtime_cache;
pub(crate) mod spec_cache;
mod specs;

use agents::Agents;
use chainpool_agent::Platform;
use chainpool_api::Timestamp;
use chainpool_health::HealthPolicy;
use chainpool_networks::Registry;
use chainpool_store::Store;
use findings::Findings;
use runtime_cache::RuntimeCache;
use spec_cache::SpecCache;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The database, the hosts and the last observed state.
pub(crate) struct Runtime {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) policy: Arc<HealthPolicy>,
    pub(crate) agents: Agents,
    pub(crate) cache: RuntimeCache,
    pub(crate) specs: SpecCache,
    pub(crate) findings: Findings,
    pub(crate) started_at: Timestamp,
    /// Cancelled when the orchestrator stops.
    pub(crate) stop: CancellationToken,
    /// Set after a restore: nothing runs automatically until an administrator resumes the installation.
    pub(crate) paused: AtomicBool,
}

impl Runtime {
    /// An empty runtime on an open database.
    pub(crate) fn new(
        store: Store,
        registry: Registry,
        policy: HealthPolicy,
        platforms: Vec<Arc<dyn Platform>>,
        paused: bool,
    ) -> Self {
        let policy = Arc::new(policy);
        Self {
            agents: Agents::new(store.clone(), platforms),
            store,
            registry,
            cache: RuntimeCache::new(Arc::clone(&policy)),
            policy,
            specs: SpecCache::default(),
            findings: Findings::default(),
            started_at: Timestamp::now(),
            stop: CancellationToken::new(),
            paused: AtomicBool::new(paused),
        }
    }

    /// Drops the state of a deleted cluster.
    pub(crate) fn forget(&self, cluster: Uuid) {
        self.cache.forget(cluster);
        self.specs.forget(cluster);
    }

    /// Returns `true` if the installation is paused after a restore: nothing is deleted or filled.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}
