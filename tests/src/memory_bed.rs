//! One Chainpool on a platform in memory, whose nodes answer as a scripted ledger: for rules and faults that need no engine.

use crate::{CrashPoint, Installation};
use anyhow::{Context, Result, ensure};
use chainpool_agent::{
    ClusterId, ClusterKey, InstanceId, NodeName, NodeState, ObjectKind, network_name, node_object_name,
    volume_name,
};
use chainpool_agent_memory::{MemoryPlatform, World, ledger};
use chainpool_api::{Cluster, Host};
use chainpool_networks::Registry;
use chainpool_orchestrator::{CommitHook, Config};
use chainpool_store::Store;
use serde_json::{Value, json};
use std::{collections::BTreeSet, ops::Deref, path::PathBuf, sync::Arc};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A data folder and the platform that its Chainpool serves.
pub struct MemoryFixture {
    own: TempDir,
    /// The platform.
    pub world: Arc<World>,
    /// Leads to it, and to any other world that a test serves.
    pub platform: Arc<MemoryPlatform>,
    address: String,
}

impl MemoryFixture {
    /// An empty folder and an empty world.
    pub fn new() -> Result<Self> {
        Self::with(World::new())
    }

    fn with(world: Arc<World>) -> Result<Self> {
        let (platform, address) = MemoryPlatform::of(&world);
        Ok(Self {
            own: TempDir::new()?,
            world,
            platform,
            address,
        })
    }

    /// The same folder and world as they are now, going their own way from here on. No Chainpool may run on it.
    pub fn copy(&self) -> Result<Self> {
        let copy = Self::with(self.world.snapshot())?;
        std::fs::create_dir(copy.folder())?;
        for entry in std::fs::read_dir(self.folder())? {
            let entry = entry?;
            std::fs::copy(entry.path(), copy.folder().join(entry.file_name()))?;
        }
        Ok(copy)
    }

    /// The data folder.
    pub fn folder(&self) -> PathBuf {
        self.own.path().join("data")
    }

    /// Compares the platform with the database, object by object: every cluster that exists is there as its spec says, all
    /// of it runs, and nothing else carries our label. No Chainpool may run on it.
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
            .filter(|row| row.gone_at.is_none())
        {
            let key = ClusterKey {
                cluster: ClusterId(row.id),
                generation: u32::try_from(row.generation)?,
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
            "missing on the platform: {missing:#?}, orphans there: {orphans:#?}"
        );
        Ok(())
    }
}

/// How a bed differs from the usual one.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Register the world as host `h1`.
    pub host: bool,
    /// How many clusters it may have.
    pub capacity: u32,
    /// The nodes of each cluster.
    pub nodes: u32,
    /// Keep it filled.
    pub autofill: bool,
    /// Notified at each point of the journal.
    pub hook: Option<CommitHook>,
    /// Whether the watchdog runs.
    pub watchdog: bool,
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
        }
    }
}

/// A whole Chainpool on a world of its own.
pub struct MemoryBed {
    installation: Installation,
    /// The platform.
    pub world: Arc<World>,
    /// Dropped after what runs on it; none where the fixture outlives the bed.
    fixture: Option<MemoryFixture>,
    address: String,
    options: MemoryOptions,
}

impl MemoryBed {
    /// A Chainpool with a world as host `h1`.
    pub async fn start(options: MemoryOptions) -> Result<Self> {
        Self::open(MemoryFixture::new()?, options).await
    }

    /// The same on a fixture that may have a history.
    pub async fn open(fixture: MemoryFixture, options: MemoryOptions) -> Result<Self> {
        let bed = Self::on(&fixture, options).await?;
        Ok(Self {
            fixture: Some(fixture),
            ..bed
        })
    }

    /// A Chainpool that leaves the fixture to its caller. The host is registered where it is not yet.
    async fn on(fixture: &MemoryFixture, options: MemoryOptions) -> Result<Self> {
        let registry = Registry::default().with(ledger::TYPE, Arc::new(ledger::Ledger));
        let platforms: Vec<Arc<dyn chainpool_agent::Platform>> = vec![Arc::clone(&fixture.platform) as _];
        let config = Config {
            registry,
            hook: options.hook.clone(),
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

    /// The body that registers the world.
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

    /// Stops serving, as a signal would; networks and data stay.
    pub async fn stop(mut self) -> Result<MemoryFixture> {
        self.installation.stop().await?;
        self.fixture.context("the fixture is its caller's")
    }

    /// Gives all back, then counts: nothing with our label is left, no operation runs, no ERROR line was written.
    pub async fn end(self) -> Result<()> {
        let instance: InstanceId = self.instance().await?.parse()?;
        self.give_back().await?;
        let left = self.world.leftovers(instance);
        ensure!(left.is_empty(), "the leak check found {left:?}");
        self.census().await?;
        self.stop().await.map(drop)
    }
}

impl Deref for MemoryBed {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

/// The present generation of a cluster, as the platform knows it.
#[must_use]
pub fn key_of(cluster: &Cluster) -> ClusterKey {
    ClusterKey {
        cluster: ClusterId(cluster.id),
        generation: cluster.generation,
    }
}

/// A Chainpool that can be killed at any commit as a process can: nothing of it goes on.
pub struct Life {
    /// The caller's side.
    runtime: Runtime,
    bed: MemoryBed,
    crash: CrashPoint,
}

/// How a change in a [`Life`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was killed on the way.
    Killed,
    /// It came to its end unharmed.
    Ended,
}

impl Life {
    /// Starts one, without a watchdog: nothing else is under way, so the commits are those of the change alone.
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

    /// Does something in it to its end.
    pub fn run<T>(&self, work: impl AsyncFnOnce(&MemoryBed) -> Result<T>) -> Result<T> {
        self.runtime.block_on(work(&self.bed))
    }

    /// Does something in it until it is killed. Commits count from here on.
    pub fn run_armed(&self, work: impl AsyncFnOnce(&MemoryBed) -> Result<()>) -> Result<Ending> {
        self.crash.arm();
        let done = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.crash.reached() => Ok(()),
                done = work(&self.bed) => done,
            }
        });
        if self.crash.has_come() {
            Ok(Ending::Killed)
        } else {
            done.map(|()| Ending::Ended)
        }
    }

    /// Ends it as a kill does: all tasks are dropped where they are, and nothing is written any more.
    pub fn kill(self) {
        self.crash.strike();
        self.bed.installation.kill();
    }

    /// Finds no operation under way and no ERROR line, and stops it as a signal would.
    pub fn stop(mut self) -> Result<()> {
        self.runtime.block_on(async {
            self.bed.census().await?;
            self.bed.installation.stop().await
        })
    }

    /// The same after which the platform is compared with the database.
    pub fn stop_and_compare(self, fixture: &MemoryFixture) -> Result<()> {
        self.stop()?;
        Runtime::new()?.block_on(fixture.matches_database())
    }
}
