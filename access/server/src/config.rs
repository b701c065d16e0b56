//! Configuration of the HTTP server.

use crate::{
    limits::Limits,
    proxy::{Proxies, ProxyNetwork},
    public_url::PublicUrl,
};
use std::{net::SocketAddr, path::PathBuf};

/// Configuration of the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Listen address.
    pub listen: SocketAddr,
    /// PEM files of the certificate chain and the key; enables TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Public URL, for a server behind a proxy or below a base path.
    pub public_url: Option<PublicUrl>,
    /// Trusted reverse proxies.
    pub behind_proxy: Vec<ProxyNetwork>,
    /// Maximum requests per second of each token and each dashboard session; 0: no limit.
    pub rate_limit_per_second: u32,
    /// Limits on connections.
    pub limits: Limits,
}

impl ServeConfig {
    /// Plain HTTP at this address, without proxy and rate limit.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            public_url: None,
            behind_proxy: Vec::new(),
            rate_limit_per_second: 0,
            limits: Limits::default(),
        }
    }

    /// `true` if clients use https, to this server or to a proxy.
    pub(crate) fn is_https(&self) -> bool {
        self.tls.is_some() || self.has_https_url()
    }

    fn has_https_url(&self) -> bool {
        self.public_url.as_ref().is_some_and(PublicUrl::is_https)
    }

    /// Base path; empty at the root.
    pub(crate) fn base(&self) -> &str {
        self.public_url.as_ref().map_or("", PublicUrl::base)
    }

    /// The configured proxies, and loopback if an https public URL implies a local TLS proxy.
    pub(crate) fn proxies(&self) -> Proxies {
        Proxies::new(&self.behind_proxy, self.tls.is_none() && self.has_https_url())
    }
}
