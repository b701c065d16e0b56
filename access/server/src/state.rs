//! Shared state of all handlers.

use crate::{config::ServeConfig, rate_limit::Limiter};
use bytes::Bytes;
use chainpool_dashboard::{PerAddressLimit, Site};
use chainpool_orchestrator::Orchestrator;
use std::{
    num::NonZeroU32,
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
    /// Generates the OpenAPI document for a base path; it lists the routes, which lie above this file.
    describe: fn(&str) -> String,
    /// OpenAPI document for this base path.
    openapi: OnceLock<Bytes>,
    /// Ends open streams at shutdown.
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// Creates the state, once per router.
    pub(crate) fn new(
        orchestrator: Orchestrator,
        config: &ServeConfig,
        describe: fn(&str) -> String,
        shutdown: CancellationToken,
    ) -> Self {
        let limiter = NonZeroU32::new(config.rate_limit_per_second).map(Limiter::new);
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
            describe,
            openapi: OnceLock::new(),
            shutdown,
        }))
    }

    /// The OpenAPI document for this base path, generated at the first request.
    pub(crate) fn openapi(&self) -> Bytes {
        self.openapi
            .get_or_init(|| (self.describe)(&self.site.base).into())
            .clone()
    }
}

impl Deref for Server {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}
