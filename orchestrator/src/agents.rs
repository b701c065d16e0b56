//! The hosts' agents: one a host, made when first needed and again when the host's connection changed.

use crate::{Error, Result};
use chainpool_agent::{Agent, Capabilities, Connection, Platform, PlatformKind};
use chainpool_api as api;
use chainpool_store::{HostRow, HostSecrets, Store};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// An agent and how much it is asked at once.
#[derive(Clone)]
pub(crate) struct HostAgent {
    /// The hands.
    pub(crate) agent: Arc<dyn Agent>,
    /// One permit for each call that changes something.
    pub(crate) permits: Arc<Semaphore>,
    /// Networks are made one at a time, as engines do it in any case, and so hold no permit that a node could use.
    pub(crate) networks: Arc<Semaphore>,
}

/// All agents.
pub(crate) struct Agents {
    store: Store,
    platforms: Vec<Arc<dyn Platform>>,
    made: Mutex<HashMap<Uuid, (Fingerprint, HostAgent)>>,
}

/// What an agent was made from; another value means another agent.
type Fingerprint = (String, Option<Vec<u8>>, String);

impl Agents {
    pub(crate) fn new(store: Store, platforms: Vec<Arc<dyn Platform>>) -> Self {
        Self {
            store,
            platforms,
            made: Mutex::default(),
        }
    }

    /// The agent of a host.
    pub(crate) fn of(&self, host: &HostRow) -> Result<HostAgent> {
        let settings = serde_json::to_string(&host.settings.0).map_err(Error::internal)?;
        let fingerprint = (host.address.clone(), host.sealed.clone(), settings);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, agent)) = made.get(&host.id)
            && *known == fingerprint
        {
            return Ok(agent.clone());
        }
        let secrets = HostSecrets::open(self.store.master(), host)?;
        let connection = self.connection(&host.address, &host.settings.0, secrets);
        let agent = self.connect(host.platform.0, &connection)?;
        let Capabilities {
            concurrency, queues, ..
        } = agent.capabilities();
        let knee = host
            .info
            .as_ref()
            .filter(|_| !queues)
            .map_or(usize::MAX, |info| 2 * info.0.cpus.max(1) as usize);
        let permits = Arc::new(Semaphore::new(concurrency.min(knee)));
        let agent = HostAgent {
            agent,
            permits,
            networks: Arc::new(Semaphore::new(1)),
        };
        made.insert(host.id, (fingerprint, agent.clone()));
        Ok(agent)
    }

    /// Forgets a host's agent.
    pub(crate) fn forget(&self, host: Uuid) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&host);
    }

    /// A connection by a host's settings.
    pub(crate) fn connection(
        &self,
        address: &str,
        settings: &chainpool_store::HostSettings,
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
            // One that was stored without its registry goes to none until it is given again.
            registry: secrets.registry.filter(|login| !login.address.is_empty()),
        }
    }

    /// An agent that belongs to no registered host yet.
    pub(crate) fn connect(&self, platform: api::Platform, connection: &Connection) -> Result<Arc<dyn Agent>> {
        let kind = kind_of(platform);
        let maker = self.platforms.iter().find(|p| p.kind() == kind);
        let maker = maker.ok_or_else(|| {
            Error::field(
                "type",
                format!(
                    "this chainpool has no agent for {platform}; it has one for: {}",
                    self.known()
                ),
            )
        })?;
        maker.connect(connection).map_err(|error| match error {
            chainpool_agent::Error::Setting { field, why } => Error::field(field, why),
            other => Error::field("address", other.to_string()),
        })
    }

    /// The kind that an address seems to be of; the probe tells for sure.
    pub(crate) fn guess(&self, address: &str) -> Option<api::Platform> {
        self.platforms
            .iter()
            .find(|p| p.speaks(address))
            .map(|p| platform_of(p.kind()))
    }

    /// Whether there is an agent for this kind.
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

/// The public word for a platform's kind.
pub(crate) fn platform_of(kind: PlatformKind) -> api::Platform {
    match kind {
        PlatformKind::Docker => api::Platform::Docker,
        PlatformKind::Swarm => api::Platform::Swarm,
        PlatformKind::Kubernetes => api::Platform::Kubernetes,
    }
}
