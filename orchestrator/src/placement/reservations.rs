//! Ports and networks of hosts in use by others. In memory: each inventory of a host replaces them.

use chainpool_agent::{Place, ResourcesInUse};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// The resources in use by others, by host.
#[derive(Default)]
pub(crate) struct Reservations(Mutex<BTreeMap<Uuid, ResourcesInUse>>);

impl Reservations {
    /// Stores the resources of a host in use by others.
    pub(crate) fn put(&self, host: Uuid, in_use: ResourcesInUse) {
        self.by_host().insert(host, in_use);
    }

    /// Adds a resource of a host that turned out to be in use by others, until the next inventory.
    pub(crate) fn add(&self, host: Uuid, place: Place) {
        let mut hosts = self.by_host();
        let in_use = hosts.entry(host).or_default();
        match place {
            Place::Subnet(subnet) => in_use.networks.push(subnet),
            Place::Port(port) => drop(in_use.ports.insert(port)),
        }
    }

    /// Returns the resources of a host in use by others.
    pub(crate) fn of(&self, host: Uuid) -> ResourcesInUse {
        self.by_host().get(&host).cloned().unwrap_or_default()
    }

    fn by_host(&self) -> MutexGuard<'_, BTreeMap<Uuid, ResourcesInUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_replaces_what_was_found_in_use_since_the_last_one() {
        let (reservations, host) = (Reservations::default(), Uuid::now_v7());
        reservations.add(host, Place::Port(20_000));
        reservations.add(host, Place::Subnet("10.213.0.0/26".parse().expect("a network")));
        let found = reservations.of(host);
        assert_eq!((found.ports.len(), found.networks.len()), (1, 1));
        assert_eq!(reservations.of(Uuid::now_v7()), ResourcesInUse::default());
        reservations.put(host, ResourcesInUse::default());
        assert_eq!(reservations.of(host), ResourcesInUse::default());
    }
}
