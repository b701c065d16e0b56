//! Test bed on the platform in memory, with nodes of a scripted ledger, for rules and faults that need no
//! engine.

use crate::{CrashPoint, Installation};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    ClusterId, ClusterKey, InstanceId, NodeName, NodeState, ObjectKind, network_name, node_object_name,
    volume_name,
};
use chainpool_agent_memory::{MemoryPlatform, World, ledger};
use chainpool_api::{Cluster, Host};
use chainpool_health::HealthPolicy;
use chainpool_networks::Registry;
use chainpool_orchestrator::{CommitHook, Config};
use chainpool_store::Store;
use serde_json::{Value, json};
use std::{collections::BTreeSet, ops::Deref, path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Data folder and platform of a [`MemoryBed`].
pub struct MemoryFixture {
    folder: TempDir,
    /// The world of the platform.
    pub world: Arc<World>,
    /// The platform, which serves this world and any other world of the test.
    pub platform: Arc<MemoryPlatform>,
    address: String,
}

impl MemoryFixture {
    /// Creates an empty folder and an empty world.
    pub fn new() -> Result<Self> {
        Self::with(World::new())
    }

    fn with(world: Arc<World>) -> Result<Self> {
        let (platform, address) = MemoryPlatform::of(&world);
        Ok(Self {
            folder: TempDir::new()?,
            world,
            platform,
            address,
        })
    }

    /// Copies folder and world. The copy is independent of the original, on which no Chainpool may run.
    pub fn copy(&self) -> Result<Self> {
        let copy = Self::with(self.world.snapshot())?;
        std::fs::create_dir(copy.folder())?;
        for entry in std::fs::read_dir(self.folder())? {
            let entry = entry?;
            std::fs::copy(entry.path(), copy.folder().join(entry.file_name()))?;
        }
        Ok(copy)
    }

    /// Data folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Compares the platform with the database, object by object. Every existing cluster must match its spec
    /// and run, and no other object may carry our label. No Chainpool may run on the fixture.
    pub async fn matches_database(&self) -> Result<()> {
        let store = Store::open(&self.folder(), None).await?;
        let (read, instance) = (store.read(), store.instance());
        let mut expected = BTreeSet::new();
        let line = |kind: ObjectKind, name: String, node: &str, hash: &str, state: &str| {
            format!("{kind:?} {name} {node} {hash} {state}")
        };
        for row in read
            .clusters()
            .await?
            .into_iter()
            .filter(|row| row.deleted_at.is_none())
        {
            let key = ClusterKey {
                cluster: ClusterId(row.id),
                generation: row.generation,
            };
            let spec = read
                .revision(row.id, key.generation)
                .await?
                .context("a cluster has a spec")?
                .public;
            expected.insert(line(ObjectKind::Network, network_name(&key), "", "", ""));
            let nodes = spec.nodes.iter().map(|node| (ObjectKind::Node, node, "Running"));
            for (kind, node, state) in
                nodes.chain(spec.jobs.iter().map(|job| (ObjectKind::Job, job, "Exited(0)")))
            {
                let name = node.name.as_str();
                expected.insert(line(
                    kind,
                    node_object_name(&key, &node.name),
                    name,
                    &node.hash.0,
                    state,
                ));
                for volume in &node.volumes {
                    expected.insert(line(
                        ObjectKind::Volume,
                        volume_name(&key, &node.name, &volume.name),
                        name,
                        "",
                        "",
                    ));
                }
            }
        }
        store.close().await?;
        let found = self.world.objects(instance).into_iter().map(|object| {
            let node = object.node.as_ref().map(NodeName::to_string).unwrap_or_default();
            let hash = object.hash.map(|hash| hash.0).unwrap_or_default();
            let state = object
                .state
                .map(|state: NodeState| format!("{state:?}"))
                .unwrap_or_default();
            line(object.kind, object.name, &node, &hash, &state)
        });
        let found: BTreeSet<String> = found.collect();
        let (missing, orphans): (Vec<_>, Vec<_>) = (
            expected.difference(&found).collect(),
            found.difference(&expected).collect(),
        );
        ensure!(
            missing.is_empty() && orphans.is_empty(),
            "missing on the platform: {missing:#?}, orphans: {orphans:#?}"
        );
        Ok(())
    }
}

/// Options of a bed.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Registers the world as host `h1`.
    pub host: bool,
    /// Capacity of the host.
    pub capacity: u32,
    /// Nodes per cluster.
    pub nodes: u32,
    /// Keeps the host filled.
    pub autofill: bool,
    /// Hook that is called around each commit.
    pub hook: Option<CommitHook>,
    /// Runs the watchdog.
    pub watchdog: bool,
    /// Timing rules of health assessment and repair.
    pub health: HealthPolicy,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            host: true,
            capacity: 2,
            nodes: 4,
            autofill: false,
            hook: None,
            watchdog: true,
            health: HealthPolicy::default(),
        }
    }
}

/// Complete Chainpool on its own world.
pub struct MemoryBed {
    installation: Installation,
    /// The world of the platform.
    pub world: Arc<World>,
    /// Dropped after the installation; `None` if the caller keeps the fixture.
    fixture: Option<MemoryFixture>,
    address: String,
    options: MemoryOptions,
}

impl MemoryBed {
    /// Starts a Chainpool with a new world as host `h1`.
    pub async fn start(options: MemoryOptions) -> Result<Self> {
        Self::open(MemoryFixture::new()?, options).await
    }

    /// Starts a Chainpool on a fixture that a previous bed may have used.
    pub async fn open(fixture: MemoryFixture, options: MemoryOptions) -> Result<Self> {
        let bed = Self::on(&fixture, options).await?;
        Ok(Self {
            fixture: Some(fixture),
            ..bed
        })
    }

    /// Starts a Chainpool on a fixture that the caller keeps. Registers the host unless it exists.
    async fn on(fixture: &MemoryFixture, options: MemoryOptions) -> Result<Self> {
        let registry = Registry::default().with(ledger::TYPE, Arc::new(ledger::Ledger));
        let platforms: Vec<Arc<dyn chainpool_agent::Platform>> = vec![Arc::clone(&fixture.platform) as _];
        let config = Config {
            registry,
            hook: options.hook.clone(),
            health: options.health.clone(),
            ..Config::new(fixture.folder(), platforms)
        };
        let installation = Installation::open(config, options.watchdog).await?;
        let (world, address) = (Arc::clone(&fixture.world), fixture.address.clone());
        let bed = Self {
            installation,
            world,
            fixture: None,
            address,
            options,
        };
        if bed.options.host
            && bed
                .api
                .get::<chainpool_api::Page<Host>>("/hosts")
                .await?
                .items
                .is_empty()
        {
            bed.host_create("h1").await?;
        }
        Ok(bed)
    }

    /// Request body that registers the world.
    pub fn host_body(&self, name: &str) -> Value {
        json!({
            "name": name,
            "address": self.address,
            "bind": "127.0.0.1",
            "capacity": self.options.capacity,
            "autofill": self.options.autofill,
            "ports": [20_000, 21_999],
            "subnets": "10.213.0.0/16",
            "disk_floor": 0,
            "fill": [{"type": ledger::TYPE, "preset": "default", "parameters": {"nodes": self.options.nodes}}],
        })
    }

    /// Registers the world.
    pub async fn host_create(&self, name: &str) -> Result<Host> {
        self.api.post("/hosts", self.host_body(name)).await
    }

    /// Stops Chainpool as a signal does. Networks and data remain.
    pub async fn stop(mut self) -> Result<MemoryFixture> {
        self.installation.stop().await?;
        self.fixture.context("the caller keeps the fixture")
    }

    /// Releases and deletes everything, then runs the leak check: no object with our label, no operation in
    /// progress, no ERROR line.
    pub async fn end(self) -> Result<()> {
        let instance: InstanceId = self.instance().await?.parse()?;
        self.delete_all().await?;
        let left = self.world.leftovers(instance);
        ensure!(left.is_empty(), "the leak check found {left:?}");
        self.leak_check().await?;
        self.stop().await.map(drop)
    }
}

impl Deref for MemoryBed {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

/// Key of a cluster's current generation on the platform.
#[must_use]
pub fn key_of(cluster: &Cluster) -> ClusterKey {
    ClusterKey {
        cluster: ClusterId(cluster.id),
        generation: cluster.generation,
    }
}

/// Chainpool that can be killed at any commit, like a process.
pub struct KillableBed {
    /// Runtime of the test's calls.
    runtime: Runtime,
    bed: MemoryBed,
    crash: CrashPoint,
}

/// Ending of a change in a [`KillableBed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Killed on the way.
    Killed,
    /// Completed without a kill.
    Completed,
}

impl KillableBed {
    /// Starts a Chainpool without a watchdog, so that all commits belong to the change.
    pub fn start(fixture: &MemoryFixture, capacity: u32, crash: CrashPoint) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let options = MemoryOptions {
            capacity,
            nodes: 2,
            watchdog: false,
            hook: Some(crash.hook()),
            ..MemoryOptions::default()
        };
        let bed = runtime.block_on(MemoryBed::on(fixture, options))?;
        Ok(Self { runtime, bed, crash })
    }

    /// Runs a change to its end.
    pub fn run<T>(&self, work: impl AsyncFnOnce(&MemoryBed) -> Result<T>) -> Result<T> {
        self.runtime.block_on(work(&self.bed))
    }

    /// Runs a change until the crash point. Commits count from here.
    pub fn run_armed(&self, work: impl AsyncFnOnce(&MemoryBed) -> Result<()>) -> Result<Ending> {
        self.crash.arm();
        let done = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.crash.reached() => Ok(()),
                done = work(&self.bed) => done,
            }
        });
        if self.crash.is_triggered() {
            Ok(Ending::Killed)
        } else {
            done.map(|()| Ending::Completed)
        }
    }

    /// Ends Chainpool like a kill: all tasks are dropped where they are and nothing more is written.
    pub fn kill(self) {
        self.crash.trigger();
        self.bed.installation.kill();
    }

    /// Requires that no operation is in progress, and stops Chainpool as a signal does. Fails if it wrote an
    /// ERROR line.
    pub fn stop(mut self) -> Result<()> {
        self.runtime.block_on(async {
            self.bed.leak_check().await?;
            self.bed.installation.stop().await
        })
    }

    /// Stops Chainpool and compares the platform with the database.
    pub fn stop_and_compare(self, fixture: &MemoryFixture) -> Result<()> {
        self.stop()?;
        Runtime::new()?.block_on(fixture.matches_database())
    }
}
