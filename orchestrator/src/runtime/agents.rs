//! The agents of the hosts: one per host, created on first use and again after a change of the connection.

use crate::{Error, Result, runtime::probe::platform_of};
use chainpool_agent::{Agent, Capabilities, Connection, Platform};
use chainpool_api::{self as api, HostSettings};
use chainpool_store::{HostRow, HostSecrets, Store};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// An agent with its concurrency limits.
#[derive(Clone)]
pub(crate) struct HostAgent {
    /// The agent.
    pub(crate) agent: Arc<dyn Agent>,
    /// One permit per changing call.
    pub(crate) permits: Arc<Semaphore>,
    /// Networks are created one at a time, as engines do anyway, and hold no permit that a node could use.
    pub(crate) networks: Arc<Semaphore>,
}

/// All agents.
pub(crate) struct Agents {
    store: Store,
    platforms: Vec<Arc<dyn Platform>>,
    by_host: Mutex<HashMap<Uuid, (Fingerprint, HostAgent)>>,
}

/// The input of an agent; a different value requires a new agent.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    address: String,
    sealed: Option<Vec<u8>>,
    settings: ConnectionSettings,
}

impl Fingerprint {
    fn of(host: &HostRow) -> Self {
        Self {
            address: host.address.clone(),
            sealed: host.sealed.clone(),
            settings: ConnectionSettings::of(&host.settings.0),
        }
    }
}

/// The settings of a host that are passed to its agent.
#[derive(Debug, PartialEq, Eq)]
struct ConnectionSettings {
    insecure: bool,
    bind: IpAddr,
    storage_class: Option<String>,
    mirror: Option<String>,
}

impl ConnectionSettings {
    fn of(settings: &HostSettings) -> Self {
        Self {
            insecure: settings.insecure,
            bind: settings.bind,
            storage_class: settings.storage_class.clone(),
            mirror: settings.mirror.clone(),
        }
    }
}

impl Agents {
    pub(crate) fn new(store: Store, platforms: Vec<Arc<dyn Platform>>) -> Self {
        Self {
            store,
            platforms,
            by_host: Mutex::default(),
        }
    }

    /// Returns the agent of a host.
    pub(crate) fn of(&self, host: &HostRow) -> Result<HostAgent> {
        let mut agents = self.by_host.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = Fingerprint::of(host);
        if let Some((known, agent)) = agents.get(&host.id)
            && *known == fingerprint
        {
            return Ok(agent.clone());
        }
        let secrets = HostSecrets::open(self.store.master(), host)?;
        let connection = self.connection(&host.address, &host.settings.0, secrets);
        let agent = self.connect(&host.platform.0, &connection)?;
        let Capabilities {
            concurrency, queues, ..
        } = agent.capabilities();
        let limit = host
            .info
            .as_ref()
            .filter(|_| !queues)
            .map_or(usize::MAX, |info| 2 * info.0.cpus.max(1) as usize);
        let permits = Arc::new(Semaphore::new(concurrency.min(limit)));
        let agent = HostAgent {
            agent,
            permits,
            networks: Arc::new(Semaphore::new(1)),
        };
        agents.insert(host.id, (fingerprint, agent.clone()));
        Ok(agent)
    }

    /// Drops the agent of a host.
    pub(crate) fn forget(&self, host: Uuid) {
        self.by_host
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&host);
    }

    /// Builds a connection from a host's settings.
    pub(crate) fn connection(
        &self,
        address: &str,
        settings: &HostSettings,
        secrets: HostSecrets,
    ) -> Connection {
        let ConnectionSettings {
            insecure,
            bind,
            storage_class,
            mirror,
        } = ConnectionSettings::of(settings);
        Connection {
            instance: self.store.instance(),
            address: address.to_owned(),
            tls: secrets.tls,
            insecure,
            bind,
            kubeconfig: secrets.kubeconfig,
            storage_class,
            mirror,
            // A login stored without its registry is not used until it is given again.
            registry: secrets.registry.filter(|login| !login.address.is_empty()),
        }
    }

    /// Creates an agent for a host that is not registered yet.
    pub(crate) fn connect(
        &self,
        platform: &api::Platform,
        connection: &Connection,
    ) -> Result<Arc<dyn Agent>> {
        let connected = self.find(platform)?.connect(connection);
        connected.map_err(|error| match error {
            chainpool_agent::Error::Setting { field, why } => Error::field(field, why),
            other => Error::field("address", other.to_string()),
        })
    }

    /// Guesses the platform from an address, else from the request; the probe confirms it. For an address of no
    /// known form it is the first one, whose agent explains the error.
    pub(crate) fn guess(&self, address: &str, wanted: Option<&api::Platform>) -> Result<api::Platform> {
        let accepting = self.platforms.iter().find(|p| p.accepts_address(address));
        match (accepting, wanted, self.platforms.first()) {
            (None, Some(wanted), _) => Ok(wanted.clone()),
            (Some(platform), ..) | (None, None, Some(platform)) => Ok(platform_of(platform.kind())),
            (None, None, None) => Err(Error::internal("no agents are registered")),
        }
    }

    /// Finds the implementation of a platform.
    pub(crate) fn find(&self, platform: &api::Platform) -> Result<&Arc<dyn Platform>> {
        let found = self
            .platforms
            .iter()
            .find(|p| p.kind().as_str() == platform.as_str());
        found.ok_or_else(|| {
            let known = self.known();
            Error::field(
                "type",
                format!("no agent for {platform} is available; available: {known}"),
            )
        })
    }

    /// The available platforms.
    pub(crate) fn platforms(&self) -> impl Iterator<Item = api::Platform> {
        self.platforms.iter().map(|p| platform_of(p.kind()))
    }

    /// Their names.
    pub(crate) fn known(&self) -> String {
        let names: Vec<_> = self.platforms().map(String::from).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_agent::PlatformKind;

    #[test]
    fn the_longest_kind_is_a_public_platform() {
        let kind = PlatformKind::new("k234567890-234567890");
        assert_eq!(platform_of(kind).as_str(), kind.as_str());
    }
}
