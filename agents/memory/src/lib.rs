//! A platform in memory, for tests and the bench alone; the binary never links it.
//!
//! [`World`] is the platform: all objects on it, their processes, and the faults that a test scripts. [`MemoryAgent`] is
//! the agent of one instance on it. Nodes run one of two programs: the steps of the conformance kit, or the scripted
//! ledger of [`ledger::Ledger`], a network type that tests register beside the real ones. Its nodes are reached through
//! `Agent::dial` like any other's, so probe and proof take the product's own way.
//!
//! A ledger needs no task: its height follows from the time that passed (`ledger/chain.rs`), so a world of ledgers can
//! be copied with [`World::snapshot`] and outlives the runtime that its agents ran in.
//!
//! All waiting is on tokio's clock, which a test may pause.

mod agent;
mod fault;
mod hand;
pub mod ledger;
mod process;
mod program;
mod world;

pub use agent::MemoryAgent;
pub use fault::{Fault, Verb};
pub use world::World;

use async_trait::async_trait;
use chainpool_agent::{Agent, Connection, Platform, PlatformKind, Result};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Makes agents for worlds, each by its address. It counts as Docker, because the product knows no further kind.
#[derive(Default)]
pub struct MemoryPlatform {
    worlds: Mutex<BTreeMap<String, Arc<World>>>,
}

impl MemoryPlatform {
    /// A platform with one world, and the address of that.
    pub fn of(world: &Arc<World>) -> (Arc<Self>, String) {
        let platform = Arc::new(Self::default());
        let address = platform.serve("world", world);
        (platform, address)
    }

    /// Has a world answer under a name; returns its address. Under the same name another world may answer later, as
    /// another engine may at one address.
    pub fn serve(&self, name: &str, world: &Arc<World>) -> String {
        let address = format!("unix:///memory/{name}.sock");
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
        PlatformKind::Docker
    }

    fn speaks(&self, address: &str) -> bool {
        address.starts_with("unix://")
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        let found = self
            .worlds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&connection.address)
            .cloned();
        let world = found.unwrap_or_else(|| World::nowhere(&connection.address));
        Ok(Arc::new(MemoryAgent::connect(world, connection.instance)))
    }
}
