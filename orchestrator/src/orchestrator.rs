//! The façade that the front ends and the watchdog call.

use crate::{
    account::Authentication, agents::Agents, bundle_reads::BundleReads, executor::Executor,
    fleet::FleetCache, idempotency::InFlight, runtime_cache::RuntimeCache, status::StatusCache,
};
use chainpool_agent::Platform;
use chainpool_api::Timestamp;
use chainpool_health::{HealthPolicy, PolicyError};
use chainpool_networks::Registry;
use chainpool_store::{CommitHook, Store};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};
use tokio_util::sync::CancellationToken;

/// Configuration of the orchestrator.
#[derive(Clone)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Supported platforms.
    pub platforms: Vec<Arc<dyn Platform>>,
    /// Supported network types.
    pub registry: Registry,
    /// Called right before and right after each commit. Crash tests stop the process there.
    pub hook: Option<CommitHook>,
    /// Limit of active leases for an account with the role `user`; 0 means no limit.
    pub leases_per_account: u32,
    /// Run accepted operations; `false` serves the database only.
    pub run_operations: bool,
    /// Timing rules of health assessment and repair.
    pub health: HealthPolicy,
}

/// Default limit of active leases for an account.
pub const DEFAULT_LEASES_PER_ACCOUNT: u32 = 20;

impl Config {
    /// The default configuration.
    pub fn new(data: PathBuf, platforms: Vec<Arc<dyn Platform>>) -> Self {
        Self {
            data,
            platforms,
            registry: Registry::default(),
            hook: None,
            leases_per_account: DEFAULT_LEASES_PER_ACCOUNT,
            run_operations: true,
            health: HealthPolicy::default(),
        }
    }
}

/// The orchestrator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process serves this data folder.
    #[error("{0}")]
    InUse(String),
    /// The health policy contradicts itself.
    #[error("invalid health policy: {0}")]
    Policy(#[from] PolicyError),
    /// The data folder is not usable.
    #[error(transparent)]
    Store(chainpool_store::Error),
}

impl From<chainpool_store::Error> for StartError {
    fn from(error: chainpool_store::Error) -> Self {
        match error {
            chainpool_store::Error::Locked(_) => Self::InUse(error.to_string()),
            other => Self::Store(other),
        }
    }
}

/// The orchestrator. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Orchestrator {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) policy: Arc<HealthPolicy>,
    pub(crate) agents: Agents,
    pub(crate) runtime_cache: RuntimeCache,
    pub(crate) executor: Executor,
    pub(crate) authentication: Authentication,
    pub(crate) idempotency: InFlight,
    pub(crate) bundle_reads: BundleReads,
    pub(crate) leases_per_account: u32,
    pub(crate) status: StatusCache,
    pub(crate) fleet: FleetCache,
    pub(crate) operation_owners: crate::subscription::OperationOwners,
    pub(crate) started_at: Timestamp,
    pub(crate) stop: CancellationToken,
    /// Set after a restore: nothing runs automatically until an administrator resumes the installation.
    pub(crate) paused: AtomicBool,
}

impl Orchestrator {
    /// Opens the data folder and resumes every unfinished operation.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let Config {
            data,
            platforms,
            registry,
            hook,
            leases_per_account,
            run_operations,
            health,
        } = config;
        health.validate()?;
        let store = Store::open_with_policy(&data, hook, &health.assessment).await?;
        let paused = AtomicBool::new(store.read().setting("paused").await?.as_deref() == Some("true"));
        let agents = Agents::new(store.clone(), platforms);
        let inner = Inner {
            store,
            registry,
            runtime_cache: RuntimeCache::new(&health.host),
            policy: Arc::new(health),
            agents,
            executor: Executor::default(),
            authentication: Authentication::default(),
            idempotency: InFlight::default(),
            bundle_reads: BundleReads::default(),
            leases_per_account,
            status: StatusCache::default(),
            fleet: FleetCache::default(),
            operation_owners: crate::subscription::OperationOwners::default(),
            started_at: Timestamp::now(),
            stop: CancellationToken::new(),
            paused,
        };
        let this = Self {
            inner: Arc::new(inner),
        };
        if run_operations {
            this.executor_start();
        }
        Ok(this)
    }

    /// Stops the orchestrator. Unfinished operations continue at the next start.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.executor_drained().await;
        if let Err(error) = self.store().close().await {
            tracing::error!(%error, cause = ?error, "the database did not close; the next start recovers it");
        }
    }

    /// Timing rules of health assessment and repair, for the intervals of the watchdog.
    pub fn health_policy(&self) -> &HealthPolicy {
        &self.inner.policy
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_contradictory_policy_is_refused_before_the_data_folder_is_opened() {
        let parent = tempfile::tempdir().unwrap();
        let mut config = Config::new(parent.path().join("data"), Vec::new());
        config.health.repair.broken_confirm = Duration::ZERO;
        let Err(StartError::Policy(error)) = Orchestrator::start(config).await else {
            panic!("it must be refused");
        };
        assert_eq!(error.key, "health.repair.broken_confirm");
        assert!(!parent.path().join("data").exists());
    }
}
