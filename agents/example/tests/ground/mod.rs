//! What the kit needs of a world beside its agent.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind, Result,
    kit::{Foreign, Ground, GroundResult, Meddling},
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

/// A world, and what stands between it and the kit.
pub struct MemoryGround {
    pub world: Arc<World>,
    pub count: AtomicU16,
    /// Wraps each agent.
    pub wrap: fn(MemoryAgent) -> Arc<dyn Agent>,
}

impl MemoryGround {
    pub fn new(wrap: fn(MemoryAgent) -> Arc<dyn Agent>) -> Self {
        Self { world: World::new(), count: AtomicU16::new(0), wrap }
    }

    fn next(&self) -> u16 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

#[async_trait]
impl Ground for MemoryGround {
    fn name(&self) -> &str {
        "Memory"
    }

    fn connect(&self, instance: InstanceId) -> Result<Arc<dyn Agent>> {
        Ok((self.wrap)(MemoryAgent::connect(self.world.clone(), instance)))
    }

    fn images(&self) -> Vec<String> {
        self.world.images().iter().map(|name| (*name).to_owned()).collect()
    }

    fn network(&self) -> NetworkSpec {
        let [high, low] = self.next().to_be_bytes();
        NetworkSpec { subnet: Some(format!("10.{high}.{low}.0/26").parse().expect("a subnet was written")) }
    }

    fn port(&self) -> u16 {
        20_000 + self.next() % 10_000
    }

    async fn foreign_make(&self, kind: ObjectKind, key: &ClusterKey, node: &NodeSpec) -> GroundResult<Option<Foreign>> {
        let name = match kind {
            ObjectKind::Network => network_name(key),
            ObjectKind::Node | ObjectKind::Job => node_object_name(key, &node.name),
            ObjectKind::Volume => volume_name(key, &node.name, &node.volumes[0].name),
            ObjectKind::Part => return Ok(None),
        };
        let id = self.world.foreign_make(kind, &name);
        Ok(Some(Foreign { kind, name, id }))
    }

    async fn meddle(&self, meddling: Meddling, key: &ClusterKey, node: &NodeSpec) -> GroundResult<bool> {
        // Its things have the names that they were made with, and no cables.
        let Meddling::LoseVolume = meddling else { return Ok(false) };
        self.world.remove(ObjectKind::Volume, &volume_name(key, &node.name, &node.volumes[0].name));
        Ok(true)
    }

    async fn foreign_look(&self, foreign: &Foreign) -> GroundResult<String> {
        Ok(self.world.foreign_look(foreign.kind, &foreign.name).ok_or("it is gone")?)
    }

    async fn foreign_remove(&self, foreign: &Foreign) -> GroundResult<()> {
        self.world.remove(foreign.kind, &foreign.name);
        Ok(())
    }

    async fn restart(&self) -> GroundResult<bool> {
        self.world.restart();
        Ok(true)
    }

    async fn leftovers(&self, instance: InstanceId) -> GroundResult<Vec<String>> {
        Ok(self.world.leftovers(instance))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn at_once(&self) -> usize {
        16
    }
}
