//! A world as test platform of the kit.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind, Result,
    kit::{Foreign, Interference, TestPlatform, TestPlatformResult},
    network_name, node_object_name, volume_name,
};
use chainpool_agent_example::{MemoryAgent, World};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

/// A world, with a wrapper around each agent.
pub struct MemoryTestPlatform {
    pub world: Arc<World>,
    pub count: AtomicU16,
    /// The wrapper.
    pub wrap: fn(MemoryAgent) -> Arc<dyn Agent>,
}

impl MemoryTestPlatform {
    pub fn new(wrap: fn(MemoryAgent) -> Arc<dyn Agent>) -> Self {
        Self {
            world: World::new(),
            count: AtomicU16::new(0),
            wrap,
        }
    }

    fn next(&self) -> u16 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

#[async_trait]
impl TestPlatform for MemoryTestPlatform {
    fn name(&self) -> &str {
        "Memory"
    }

    fn connect(&self, instance: InstanceId) -> Result<Arc<dyn Agent>> {
        Ok((self.wrap)(MemoryAgent::connect(self.world.clone(), instance)))
    }

    fn images(&self) -> Vec<String> {
        self.world
            .images()
            .iter()
            .map(|name| (*name).to_owned())
            .collect()
    }

    fn network(&self) -> NetworkSpec {
        let [high, low] = self.next().to_be_bytes();
        NetworkSpec {
            subnet: Some(format!("10.{high}.{low}.0/26").parse().expect("a valid subnet")),
        }
    }

    fn port(&self) -> u16 {
        20_000 + self.next() % 10_000
    }

    async fn foreign_create(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<Option<Foreign>> {
        let name = match kind {
            ObjectKind::Network => network_name(key),
            ObjectKind::Node | ObjectKind::Job => node_object_name(key, &node.name),
            ObjectKind::Volume => volume_name(key, &node.name, &node.volumes[0].name),
            ObjectKind::Part => return Ok(None),
        };
        let id = self.world.foreign_create(kind, &name);
        Ok(Some(Foreign { kind, name, id }))
    }

    async fn interfere(
        &self,
        interference: Interference,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<bool> {
        // Its objects can be neither renamed nor disconnected.
        let Interference::LoseVolume = interference else {
            return Ok(false);
        };
        self.world.remove(
            ObjectKind::Volume,
            &volume_name(key, &node.name, &node.volumes[0].name),
        );
        Ok(true)
    }

    async fn foreign_state(&self, foreign: &Foreign) -> TestPlatformResult<String> {
        Ok(self
            .world
            .foreign_state(foreign.kind, &foreign.name)
            .ok_or("it is gone")?)
    }

    async fn foreign_remove(&self, foreign: &Foreign) -> TestPlatformResult<()> {
        self.world.remove(foreign.kind, &foreign.name);
        Ok(())
    }

    async fn restart(&self) -> TestPlatformResult<bool> {
        self.world.restart();
        Ok(true)
    }

    async fn leftovers(&self, instance: InstanceId) -> TestPlatformResult<Vec<String>> {
        Ok(self.world.leftovers(instance))
    }

    fn step_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn concurrency(&self) -> usize {
        16
    }
}
