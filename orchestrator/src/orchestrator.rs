//! The façade: what access and watchdog may ask of the middle.

use crate::{
    account::Authentication, agents::Agents, bundle_reads::BundleReads, executor::Executor,
    idempotency::InFlight, live::Live, status::StatusCache,
};
use chainpool_agent::Platform;
use chainpool_api::Timestamp;
use chainpool_networks::Registry;
use chainpool_store::{CommitHook, Store};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};
use tokio_util::sync::CancellationToken;

/// How the middle runs.
#[derive(Clone)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// The platforms that hosts may be of.
    pub platforms: Vec<Arc<dyn Platform>>,
    /// The types of network that there are.
    pub registry: Registry,
    /// Told right before and right after each commit: crash tests stop the process there.
    pub hook: Option<CommitHook>,
    /// How many active leases of its own an account of role user may have; 0: any number.
    pub leases_per_account: u32,
    /// Whether accepted operations are worked on; without, only the database is served.
    pub works: bool,
}

/// How many active leases of its own an account may have, unless the server is told otherwise.
pub const DEFAULT_LEASES_PER_ACCOUNT: u32 = 20;

impl Config {
    /// The usual one.
    pub fn new(data: PathBuf, platforms: Vec<Arc<dyn Platform>>) -> Self {
        Self {
            data,
            platforms,
            registry: Registry::default(),
            hook: None,
            leases_per_account: DEFAULT_LEASES_PER_ACCOUNT,
            works: true,
        }
    }
}

/// Why the middle could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process serves this data folder.
    #[error("{0}")]
    InUse(String),
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

/// The middle. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Orchestrator {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) agents: Agents,
    pub(crate) live: Live,
    pub(crate) executor: Executor,
    pub(crate) authentication: Authentication,
    pub(crate) idempotency: InFlight,
    pub(crate) bundle_reads: BundleReads,
    pub(crate) leases_per_account: u32,
    pub(crate) status: StatusCache,
    pub(crate) facts: crate::subscription::Facts,
    pub(crate) started_at: Timestamp,
    pub(crate) stop: CancellationToken,
    /// After a restore nothing goes on by itself until an administrator has looked.
    pub(crate) paused: AtomicBool,
}

impl Orchestrator {
    /// Opens the data folder and takes up every operation that was under way.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let Config {
            data,
            platforms,
            registry,
            hook,
            leases_per_account,
            works,
        } = config;
        let store = Store::open(&data, hook).await?;
        let paused = AtomicBool::new(store.read().setting("paused").await?.as_deref() == Some("true"));
        let agents = Agents::new(store.clone(), platforms);
        let inner = Inner {
            store,
            registry,
            agents,
            live: Live::default(),
            executor: Executor::default(),
            authentication: Authentication::default(),
            idempotency: InFlight::default(),
            bundle_reads: BundleReads::default(),
            leases_per_account,
            status: StatusCache::default(),
            facts: crate::subscription::Facts::default(),
            started_at: Timestamp::now(),
            stop: CancellationToken::new(),
            paused,
        };
        let this = Self {
            inner: Arc::new(inner),
        };
        if works {
            this.executor_start();
        }
        Ok(this)
    }

    /// Stops working. What is under way goes on where it stopped at the next start.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.executor_drained().await;
        if let Err(error) = self.store().close().await {
            tracing::error!(%error, cause = ?error, "the database did not close; the next start recovers it");
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }
}
