//! The conformance kit on the in-memory platform. Arguments select promises by parts of their names.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind, Result,
    kit::{self, Foreign, TestPlatform, TestPlatformResult},
    network_name, node_object_name, volume_name,
};
use chainpool_agent_memory::{MemoryAgent, World};
use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

/// A world as test platform.
struct MemoryTestPlatform {
    world: Arc<World>,
    count: AtomicU16,
}

impl MemoryTestPlatform {
    fn next(&self) -> u16 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

#[async_trait]
impl TestPlatform for MemoryTestPlatform {
    fn name(&self) -> &'static str {
        "In memory"
    }

    fn connect(&self, instance: InstanceId) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(MemoryAgent::connect(Arc::clone(&self.world), instance)))
    }

    fn images(&self) -> Vec<String> {
        vec!["memory/busybox:1".to_owned()]
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
        let id = self.world.foreign_create(kind, &name, None);
        Ok(Some(Foreign { kind, name, id }))
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
        Duration::from_secs(30)
    }

    fn concurrency(&self) -> usize {
        16
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let platform = MemoryTestPlatform {
        world: World::new(),
        count: AtomicU16::new(0),
    };
    let report = kit::run(&platform, &kit::selected(std::env::args().skip(1))).await;
    // The docs' table lists real platforms only.
    print!("{report}");
    if report.failed().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
