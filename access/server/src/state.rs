//! Shared state of all handlers.

use crate::{rate_limit::Limiter, serve::ServeConfig};
use bytes::Bytes;
use chainpool_dashboard::{PerAddressLimit, Site};
use chainpool_orchestrator::Orchestrator;
use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};
use tokio_util::sync::CancellationToken;

/// Shared state of all handlers. Cheap to clone: every request clones it.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

/// Contents of [`Server`].
pub(crate) struct Shared {
    /// Façade.
    pub(crate) orchestrator: Orchestrator,
    /// Rate limit per token; absent: no limit.
    pub(crate) limiter: Option<Limiter>,
    /// Public URL and limits, shared with the dashboard.
    pub(crate) site: Arc<Site>,
    /// OpenAPI document for this base path.
    pub(crate) openapi: OnceLock<Bytes>,
    /// Ends open streams at shutdown.
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// Creates the state, once per router.
    pub(crate) fn new(orchestrator: Orchestrator, config: &ServeConfig, shutdown: CancellationToken) -> Self {
        let limiter = (config.rate_limit_per_second > 0).then(|| Limiter::new(config.rate_limit_per_second));
        let site = Arc::new(Site {
            https: config.is_https(),
            base: config.base().to_owned(),
            instance: orchestrator.instance(),
            anonymous: PerAddressLimit::new(
                config.limits.anonymous_bodies,
                config.limits.anonymous_bodies_per_address,
            ),
        });
        Self(Arc::new(Shared {
            orchestrator,
            limiter,
            site,
            openapi: OnceLock::new(),
            shutdown,
        }))
    }
}

impl Deref for Server {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}
