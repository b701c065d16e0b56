//! The composition of the wings, and the state of the façade itself.

use super::{
    account::authentication::Authentication, bundle_reads::BundleReads, idempotency::Idempotency,
    subscription::operation_owners::OperationOwners,
};
use crate::{health::Health, operations::Operations, placement::Placement, runtime::Runtime};
use chainpool_agent::Platform;
use chainpool_health::{HealthPolicy, PolicyError};
use chainpool_networks::Registry;
use chainpool_store::{CommitHook, Store};
use std::{path::PathBuf, sync::Arc};

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
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) operations: Arc<Operations>,
    pub(crate) health: Arc<Health>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) idempotency: Arc<Idempotency>,
    pub(crate) bundle_reads: Arc<BundleReads>,
    pub(crate) operation_owners: Arc<OperationOwners>,
    pub(crate) leases_per_account: u32,
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
        let paused = store.read().setting("paused").await?.as_deref() == Some("true");
        let runtime = Arc::new(Runtime::new(store.clone(), registry, health, platforms, paused));
        let placement = Arc::new(Placement::new(Arc::clone(&runtime)));
        let operations = Arc::new(Operations::new(Arc::clone(&placement)));
        let health = Arc::new(Health::new(Arc::clone(&operations)));
        if run_operations {
            operations.executor_start();
        }
        Ok(Self {
            runtime,
            placement,
            operations,
            health,
            authentication: Arc::default(),
            idempotency: Arc::new(Idempotency::new(store.clone())),
            bundle_reads: Arc::new(BundleReads::new(store.clone())),
            operation_owners: Arc::new(OperationOwners::new(store)),
            leases_per_account,
        })
    }

    /// Stops the orchestrator. Unfinished operations continue at the next start.
    pub async fn stop(&self) {
        self.runtime.stop.cancel();
        self.operations.executor_drained().await;
        self.health.drained().await;
        if let Err(error) = self.store().close().await {
            tracing::error!(%error, cause = ?error, "the database did not close; the next start recovers it");
        }
    }

    /// Timing rules of health assessment and repair, for the intervals of the watchdog.
    pub fn health_policy(&self) -> &HealthPolicy {
        &self.runtime.policy
    }

    pub(crate) fn store(&self) -> &Store {
        &self.runtime.store
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
