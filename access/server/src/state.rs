//! What every handler needs.

use crate::{limit::Limiter, serve::ServeConfig};
use bytes::Bytes;
use chainpool_dashboard::{Shares, Site};
use chainpool_orchestrator::Orchestrator;
use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};
use tokio_util::sync::CancellationToken;

/// What every handler needs. Cheap to clone, because each request does it.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

/// The inside of [`Server`].
pub(crate) struct Shared {
    /// The façade.
    pub(crate) orchestrator: Orchestrator,
    /// Requests a second of each token; absent: without limit.
    pub(crate) limiter: Option<Limiter>,
    /// What the dashboard, too, must know of the way here.
    pub(crate) site: Arc<Site>,
    /// The description of the API at this place.
    pub(crate) openapi: OnceLock<Bytes>,
    /// Ends the streams, so that a shutdown need not wait for them.
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// Makes it once for the life of the router.
    pub(crate) fn new(orchestrator: Orchestrator, config: &ServeConfig, shutdown: CancellationToken) -> Self {
        let limiter = (config.rate_limit_per_second > 0).then(|| Limiter::new(config.rate_limit_per_second));
        let site = Arc::new(Site {
            https: config.is_https(),
            base: config.base().to_owned(),
            instance: orchestrator.instance(),
            anonymous: Shares::new(
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
