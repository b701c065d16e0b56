//! One Chainpool for one test: its own data folder, instance, ports and networks on the shared engine.

use crate::{Engine, Ground, Installation};
use anyhow::{Result, ensure};
use chainpool_agent::Platform;
use chainpool_agent_docker::{DockerPlatform, SwarmPlatform};
use chainpool_agent_kubernetes::KubernetesPlatform;
use chainpool_api::Host;
use chainpool_networks::Registry;
use chainpool_orchestrator::{CommitHook, Config};
use serde_json::{Value, json};
use std::{
    ops::Deref,
    sync::{Arc, LazyLock},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// All platforms of the product.
#[must_use]
pub fn platforms() -> Vec<Arc<dyn Platform>> {
    vec![
        Arc::new(DockerPlatform),
        Arc::new(SwarmPlatform),
        Arc::new(KubernetesPlatform),
    ]
}

/// More clusters than this are a crowd.
const CROWD: u32 = 10;
/// One crowd at a time: two of them, with all that runs beside, would leave no time to anybody.
static CROWDS: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// How a bed differs from the usual one.
#[derive(Clone)]
pub struct Options {
    /// Register the engine as host `h1`.
    pub host: bool,
    /// How many clusters it may have.
    pub capacity: u32,
    /// Validators of each cluster.
    pub validators: u32,
    /// Keep it filled.
    pub autofill: bool,
    /// Another engine.
    pub engine: Option<String>,
    /// Another way to the engine.
    pub way: Option<String>,
    /// Where ports are bound.
    pub bind: String,
    /// The types of network that there are.
    pub registry: Registry,
    /// Stops the process at a point of the journal.
    pub hook: Option<CommitHook>,
    /// Whether the watchdog runs.
    pub watchdog: bool,
    /// Whether no bed of many networks may be beside it.
    pub alone: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: true,
            capacity: 2,
            validators: 4,
            autofill: false,
            engine: None,
            way: None,
            bind: "127.0.0.1".into(),
            registry: Registry::default(),
            hook: None,
            watchdog: true,
            alone: false,
        }
    }
}

/// A whole Chainpool.
pub struct Bed {
    installation: Installation,
    /// The engine beside it.
    pub engine: Engine,
    /// What it stands on; dropped after what runs on it.
    pub ground: Ground,
    options: Options,
    _crowd: Option<OwnedMutexGuard<()>>,
}

impl Bed {
    /// A Chainpool with the engine as host `h1`.
    pub async fn start(options: Options) -> Result<Self> {
        let bed = Self::open(Ground::new()?, options).await?;
        if bed.options.host {
            bed.host_create("h1").await?;
        }
        Ok(bed)
    }

    /// A Chainpool on a ground that may have a history.
    pub async fn open(mut ground: Ground, options: Options) -> Result<Self> {
        let crowd = if options.capacity > CROWD || options.alone {
            Some(Arc::clone(&CROWDS).lock_owned().await)
        } else {
            None
        };
        let engine = match &options.engine {
            Some(address) => Engine::at(address).await?,
            None => Engine::local().await?,
        };
        let (registry, hook) = (options.registry.clone(), options.hook.clone());
        let config = Config {
            registry,
            hook,
            ..Config::new(ground.folder(), platforms())
        };
        let installation = Installation::open(config, options.watchdog).await?;
        if options.engine.is_none() {
            ground.claim(&engine, &installation.instance().await?)?;
        }
        Ok(Self {
            installation,
            engine,
            ground,
            options,
            _crowd: crowd,
        })
    }

    /// The body that registers the engine.
    pub fn host_body(&self, name: &str) -> Value {
        json!({
            "name": name,
            "address": self.options.way.as_ref().unwrap_or(&self.engine.address),
            "bind": self.options.bind,
            "public_address": self.options.bind,
            "capacity": self.options.capacity,
            "autofill": self.options.autofill,
            "ports": self.ground.ports(),
            "subnets": self.ground.subnets(),
            "disk_floor": 0,
            "fill": [{"type": "cometbft", "preset": "default", "parameters": {"validators": self.options.validators}}],
        })
    }

    /// Registers the engine.
    pub async fn host_create(&self, name: &str) -> Result<Host> {
        self.api.post("/hosts", self.host_body(name)).await
    }

    /// Stops serving, as a signal would; ledgers and data stay.
    pub async fn stop(mut self) -> Result<Ground> {
        self.installation.stop().await?;
        Ok(self.ground)
    }

    /// Gives all back, then counts: nothing of ours is left, no operation runs, no ERROR line was written.
    pub async fn end(self) -> Result<()> {
        let instance = self.instance().await?;
        self.give_back().await?;
        let left = self.engine.ours(&instance).await?;
        ensure!(left.is_empty(), "the census found objects of ours: {left:?}");
        self.census().await?;
        self.stop().await?.release()
    }
}

impl Deref for Bed {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
