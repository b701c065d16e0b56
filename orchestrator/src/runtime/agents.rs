//! The agents of the hosts: one per host, created on first use and again after a change of the connection.

use crate::{Error, Result, runtime::probe::platform_of};
use chainpool_agent::{Agent, Capabilities, Connection, Platform, PlatformKind};
use chainpool_api as api;
use chainpool_store::{HostRow, HostSecrets, HostSettings, Store};
use std::{
    collections::HashMap,
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
type Fingerprint = (String, Option<Vec<u8>>, HostSettings);

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
        if let Some(((address, sealed, settings), agent)) = agents.get(&host.id)
            && (address, sealed, settings) == (&host.address, &host.sealed, &host.settings.0)
        {
            return Ok(agent.clone());
        }
        let secrets = HostSecrets::open(self.store.master(), host)?;
        let connection = self.connection(&host.address, &host.settings.0, secrets);
        let agent = self.connect(host.platform.0, &connection)?;
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
        let fingerprint = (host.address.clone(), host.sealed.clone(), host.settings.0.clone());
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
        Connection {
            instance: self.store.instance(),
            address: address.to_owned(),
            tls: secrets.tls,
            insecure: settings.insecure,
            bind: settings.bind,
            kubeconfig: secrets.kubeconfig,
            storage_class: settings.storage_class.clone(),
            mirror: settings.mirror.clone(),
            // A login stored without its registry is not used until it is given again.
            registry: secrets.registry.filter(|login| !login.address.is_empty()),
        }
    }

    /// Creates an agent for a host that is not registered yet.
    pub(crate) fn connect(&self, platform: api::Platform, connection: &Connection) -> Result<Arc<dyn Agent>> {
        let kind = kind_of(platform);
        let platform_impl = self.platforms.iter().find(|p| p.kind() == kind);
        let platform_impl = platform_impl.ok_or_else(|| {
            Error::field(
                "type",
                format!(
                    "no agent for {platform} is available; available: {}",
                    self.known()
                ),
            )
        })?;
        platform_impl.connect(connection).map_err(|error| match error {
            chainpool_agent::Error::Setting { field, why } => Error::field(field, why),
            other => Error::field("address", other.to_string()),
        })
    }

    /// Guesses the platform from an address; the probe confirms it.
    pub(crate) fn guess(&self, address: &str) -> Option<api::Platform> {
        self.platforms
            .iter()
            .find(|p| p.accepts_address(address))
            .map(|p| platform_of(p.kind()))
    }

    /// Returns `true` if there is an agent for this platform.
    pub(crate) fn has(&self, platform: api::Platform) -> bool {
        self.platforms.iter().any(|p| p.kind() == kind_of(platform))
    }

    pub(crate) fn known(&self) -> String {
        self.platforms
            .iter()
            .map(|p| p.kind().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn kind_of(platform: api::Platform) -> PlatformKind {
    match platform {
        api::Platform::Docker => PlatformKind::Docker,
        api::Platform::Swarm => PlatformKind::Swarm,
        api::Platform::Kubernetes => PlatformKind::Kubernetes,
    }
}
