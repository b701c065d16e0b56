//! What every handler needs.

use crate::{limit::Limiter, serve::ServeConfig};
use chainpool_orchestrator::Orchestrator;
use std::{ops::Deref, sync::Arc};
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
    /// Whether a proxy stands before us and names the client's address.
    pub(crate) proxied: bool,
    /// Whether clients come by https, to us or to that proxy.
    pub(crate) https: bool,
    /// Ends the streams, so that a shutdown need not wait for them.
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// Makes it once for the life of the router.
    pub(crate) fn new(orchestrator: Orchestrator, config: &ServeConfig, shutdown: CancellationToken) -> Self {
        let limiter = (config.rate_limit_per_second > 0).then(|| Limiter::new(config.rate_limit_per_second));
        let proxied = config.public_url.is_some() && config.tls.is_none();
        Self(Arc::new(Shared { orchestrator, limiter, proxied, https: config.is_https(), shutdown }))
    }
}

impl Deref for Server {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}
