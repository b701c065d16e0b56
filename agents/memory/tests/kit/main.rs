//! The conformance kit on the platform in memory. Arguments choose promises by parts of their names.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind, Result,
    kit::{self, Foreign, Ground, GroundResult},
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

/// A world as the kit's platform.
struct MemoryGround {
    world: Arc<World>,
    count: AtomicU16,
}

impl MemoryGround {
    fn next(&self) -> u16 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

#[async_trait]
impl Ground for MemoryGround {
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
            subnet: Some(
                format!("10.{high}.{low}.0/26")
                    .parse()
                    .expect("a subnet was written"),
            ),
        }
    }

    fn port(&self) -> u16 {
        20_000 + self.next() % 10_000
    }

    async fn foreign_make(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> GroundResult<Option<Foreign>> {
        let name = match kind {
            ObjectKind::Network => network_name(key),
            ObjectKind::Node | ObjectKind::Job => node_object_name(key, &node.name),
            ObjectKind::Volume => volume_name(key, &node.name, &node.volumes[0].name),
            ObjectKind::Part => return Ok(None),
        };
        let id = self.world.foreign_make(kind, &name, None);
        Ok(Some(Foreign { kind, name, id }))
    }

    async fn foreign_look(&self, foreign: &Foreign) -> GroundResult<String> {
        Ok(self
            .world
            .foreign_look(foreign.kind, &foreign.name)
            .ok_or("it is gone")?)
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
        Duration::from_secs(30)
    }

    fn at_once(&self) -> usize {
        16
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let ground = MemoryGround {
        world: World::new(),
        count: AtomicU16::new(0),
    };
    let report = kit::run(&ground, &kit::asked_for(std::env::args().skip(1))).await;
    // The page's table is of real platforms: this one has no column there.
    print!("{report}");
    if report.failed().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
