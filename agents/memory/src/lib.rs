//! An in-memory platform for tests and the bench. The binary never links it.
//!
//! [`World`] is the platform: its objects, their processes, and the faults that a test scripts.
//! [`MemoryAgent`] is the agent of one instance on it. Nodes run one of two programs: the steps of the
//! conformance kit, or the scripted ledger of [`ledger::Ledger`], a network type that tests register beside
//! the real ones. Its nodes are reached through `Agent::dial` like any other, so probe and proof take the
//! production path.
//!
//! A ledger needs no task: its height follows from elapsed time (`ledger/chain.rs`). So [`World::snapshot`]
//! can copy a world of ledgers, and a world outlives the runtime of its agents.
//!
//! All waiting uses tokio's clock, which a test may pause.

mod agent;
mod control;
mod fault;
mod files;
pub mod ledger;
mod process;
mod program;
mod start;
mod state;
mod world;

pub use agent::{KIND, MemoryAgent};
pub use fault::{Fault, Verb};
pub use world::World;

use async_trait::async_trait;
use chainpool_agent::{Agent, Connection, Platform, PlatformKind, Result};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Makes agents for worlds by address.
#[derive(Default)]
pub struct MemoryPlatform {
    worlds: Mutex<BTreeMap<String, Arc<World>>>,
}

impl MemoryPlatform {
    /// A platform with one world, and that world's address.
    pub fn of(world: &Arc<World>) -> (Arc<Self>, String) {
        let platform = Arc::new(Self::default());
        let address = platform.serve("world", world);
        (platform, address)
    }

    /// Serves a world under a name and returns its address. A later call may serve another world under the
    /// same name, like a new engine at an old address.
    pub fn serve(&self, name: &str, world: &Arc<World>) -> String {
        let address = format!("{KIND}://{name}");
        self.worlds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.clone(), Arc::clone(world));
        address
    }
}

#[async_trait]
impl Platform for MemoryPlatform {
    fn kind(&self) -> PlatformKind {
        KIND
    }

    fn accepts_address(&self, address: &str) -> bool {
        address.starts_with(&format!("{KIND}://"))
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        let found = self
            .worlds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&connection.address)
            .cloned();
        let world = found.unwrap_or_else(|| World::unreachable(&connection.address));
        Ok(Arc::new(MemoryAgent::connect(world, connection.instance)))
    }
}
