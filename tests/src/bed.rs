//! Test bed on a Docker engine: one Chainpool with a data folder, an instance, ports and subnets of its own.

use crate::{Engine, Installation, ResourceLock, testbed::tools};
use anyhow::{Result, ensure};
use chainpool_agent::Platform;
use chainpool_agent_docker::{DockerPlatform, SwarmPlatform};
use chainpool_agent_kubernetes::KubernetesPlatform;
use chainpool_api::Host;
use chainpool_health::HealthPolicy;
use chainpool_networks::Registry;
use chainpool_orchestrator::{CommitHook, Config};
use serde_json::{Value, json};
use std::{
    ops::Deref,
    sync::{Arc, LazyLock},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Returns all platforms of the product.
#[must_use]
pub fn platforms() -> Vec<Arc<dyn Platform>> {
    vec![
        Arc::new(DockerPlatform),
        Arc::new(SwarmPlatform { tools: tools() }),
        Arc::new(KubernetesPlatform { tools: tools() }),
    ]
}

/// Largest capacity of a bed that can run beside another large one.
const LARGE: u32 = 10;
/// Lets one large bed run at a time: two of them overload the machine.
static LARGE_BEDS: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

/// Options of a bed.
#[derive(Clone)]
pub struct Options {
    /// Registers the engine as host `h1`.
    pub host: bool,
    /// Capacity of the host.
    pub capacity: u32,
    /// Validators per cluster.
    pub validators: u32,
    /// Keeps the host filled.
    pub autofill: bool,
    /// Address of another engine than the machine's.
    pub engine: Option<String>,
    /// Address of a proxy to the engine.
    pub proxy: Option<String>,
    /// Address that ports are bound to.
    pub bind: String,
    /// Available network types.
    pub registry: Registry,
    /// Hook that is called around each commit.
    pub hook: Option<CommitHook>,
    /// Runs the watchdog.
    pub watchdog: bool,
    /// Timing rules of health assessment and repair.
    pub health: HealthPolicy,
    /// Excludes large beds while this one exists.
    pub exclusive: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: true,
            capacity: 2,
            validators: 4,
            autofill: false,
            engine: None,
            proxy: None,
            bind: "127.0.0.1".into(),
            registry: Registry::default(),
            hook: None,
            watchdog: true,
            health: HealthPolicy::default(),
            exclusive: false,
        }
    }
}

/// Complete Chainpool on a Docker engine.
pub struct Bed {
    installation: Installation,
    /// The engine, for faults and checks.
    pub engine: Engine,
    /// Resources of this bed; dropped after the installation.
    pub resources: ResourceLock,
    options: Options,
    _large: Option<OwnedMutexGuard<()>>,
}

impl Bed {
    /// Starts a Chainpool with the engine as host `h1`.
    pub async fn start(options: Options) -> Result<Self> {
        let bed = Self::open(ResourceLock::new()?, options).await?;
        if bed.options.host {
            bed.host_create("h1").await?;
        }
        Ok(bed)
    }

    /// Starts a Chainpool on resources that a previous bed may have used.
    pub async fn open(mut resources: ResourceLock, options: Options) -> Result<Self> {
        let large = if options.capacity > LARGE || options.exclusive {
            Some(Arc::clone(&LARGE_BEDS).lock_owned().await)
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
            health: options.health.clone(),
            ..Config::new(resources.folder(), platforms())
        };
        let installation = Installation::open(config, options.watchdog).await?;
        if options.engine.is_none() {
            resources.lock_instance(&engine, &installation.instance().await?)?;
        }
        Ok(Self {
            installation,
            engine,
            resources,
            options,
            _large: large,
        })
    }

    /// Request body that registers the engine.
    pub fn host_body(&self, name: &str) -> Value {
        json!({
            "name": name,
            "address": self.options.proxy.as_ref().unwrap_or(&self.engine.address),
            "bind": self.options.bind,
            "public_address": self.options.bind,
            "capacity": self.options.capacity,
            "autofill": self.options.autofill,
            "ports": self.resources.ports(),
            "subnets": self.resources.subnets(),
            "disk_floor": 0,
            "fill": [{"type": "cometbft", "preset": "default", "parameters": {"validators": self.options.validators}}],
        })
    }

    /// Registers the engine.
    pub async fn host_create(&self, name: &str) -> Result<Host> {
        self.api.post("/hosts", self.host_body(name)).await
    }

    /// Stops Chainpool as a signal does. Ledgers and data remain.
    pub async fn stop(mut self) -> Result<ResourceLock> {
        self.installation.stop().await?;
        Ok(self.resources)
    }

    /// Releases and deletes everything, then runs the leak check: no object with our label, no operation in
    /// progress, no ERROR line.
    pub async fn end(self) -> Result<()> {
        let instance = self.instance().await?;
        self.delete_all().await?;
        let left = self.engine.objects_of(&instance).await?;
        ensure!(left.is_empty(), "the leak check found objects: {left:?}");
        self.leak_check().await?;
        self.stop().await?.release()
    }
}

impl Deref for Bed {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
