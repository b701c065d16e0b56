//! Listens, serves, and stops when told.

mod connections;
mod limits;
mod listen;

pub use limits::Limits;

use crate::{
    auth, base_path,
    body::BODY_LIMIT,
    error::Refusal,
    proxy::{Proxies, ProxyNetwork},
    public_url::PublicUrl,
    request::frame,
    routes,
    state::Server,
};
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use chainpool_orchestrator::Orchestrator;
use futures::StreamExt;
use http::{HeaderValue, StatusCode, header};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::compression::{CompressionLayer, predicate::Predicate};

/// Texts above this many bytes are compressed.
const COMPRESS_ABOVE: u64 = 1024;

/// For so long browsers come back by https alone. Not for names below this one, which are others' machines.
const HSTS: &str = "max-age=15552000";

/// How the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The PEM files of a certificate chain and of its key: with them the server speaks TLS itself.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The address that clients use, when a proxy stands in between or everything stands below a path.
    pub public_url: Option<PublicUrl>,
    /// Proxies whose word counts on who the client is.
    pub behind_proxy: Vec<ProxyNetwork>,
    /// Requests a second that each token, and each session of the dashboard, may make; 0: without limit.
    pub rate_limit_per_second: u32,
    /// Bounds on connections.
    pub limits: Limits,
}

impl ServeConfig {
    /// Plain HTTP at this address, without a proxy and without a limit of requests.
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

    /// Whether clients come by https: to us, or to the proxy in front.
    pub(crate) fn is_https(&self) -> bool {
        self.tls.is_some() || self.has_https_url()
    }

    fn has_https_url(&self) -> bool {
        self.public_url.as_ref().is_some_and(PublicUrl::is_https)
    }

    /// The path below which everything stands; empty at the root.
    pub(crate) fn base(&self) -> &str {
        self.public_url.as_ref().map_or("", PublicUrl::base)
    }

    /// The stated proxies, and one on this machine where a public URL says that it does TLS.
    fn proxies(&self) -> Proxies {
        Proxies::new(&self.behind_proxy, self.tls.is_none() && self.has_https_url())
    }
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Passwords and tokens would cross the network in the clear.
    #[error(
        "listening on {0} without TLS would send passwords and tokens in the clear; give a certificate and its key \
         (--tls-cert, --tls-key), or listen on 127.0.0.1, or put a proxy with TLS in front and name its address or network \
         with --behind-proxy"
    )]
    Exposed(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; is another program there, or is the address not this machine's?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A file for TLS cannot be used.
    #[error("{path}: {why}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Serves REST and dashboard until `shutdown`; then ends the streams and gives requests under way 5 s.
/// `on_bound` hears the address, which matters when the port was 0.
pub async fn serve(
    orchestrator: Orchestrator,
    config: ServeConfig,
    shutdown: CancellationToken,
    on_bound: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let app = compose(orchestrator, &config, shutdown.clone());
    listen(app, &config, shutdown, on_bound).await
}

/// REST and dashboard as one router, without a listener.
pub fn router(orchestrator: Orchestrator, config: &ServeConfig) -> Router {
    compose(orchestrator, config, CancellationToken::new())
}

/// Puts all together.
fn compose(orchestrator: Orchestrator, config: &ServeConfig, shutdown: CancellationToken) -> Router {
    let server = Server::new(orchestrator.clone(), config, shutdown);
    let dashboard = chainpool_dashboard::router(orchestrator)
        .layer(middleware::from_fn_with_state(server.clone(), surround))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    let (api, _) = routes::all().split_for_parts();
    let api = api
        .route("/api", any(async || Refusal::no_route()))
        .route("/api/", any(async || Refusal::no_route()))
        .route("/api/{*rest}", any(async || Refusal::no_route()))
        .method_not_allowed_fallback(async || Refusal::no_method())
        .with_state(server);
    let mut app = api
        .merge(dashboard)
        .layer(CompressionLayer::new().compress_when(Compressible))
        .layer(middleware::from_fn(frame));
    if config.is_https() {
        app = app.layer(middleware::map_response(only_by_https));
    }
    base_path::below(config.base(), app)
}

/// What the dashboard needs from the server around it: what is known of the way here; a limit of requests, as tokens have
/// one; and an end of its event streams at shutdown, because they never end by themselves.
async fn surround(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    if let Some(limiter) = &server.limiter
        && !request.uri().path().starts_with("/static/")
        && let Some(key) = server.site.session(&request).or_else(|| client(&request))
        && !limiter.take(&key, Instant::now())
    {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "1")],
            "too many requests; try again in a second",
        )
            .into_response();
    }
    request.extensions_mut().insert(Arc::clone(&server.site));
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    let shutdown = server.shutdown.clone().cancelled_owned();
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(shutdown))))
}

/// The client's address, for who is not signed in.
fn client(request: &Request) -> Option<String> {
    auth::client(request.extensions()).map(|address| chainpool_dashboard::holder(address).to_string())
}

/// Tells browsers to come by https alone from now on; they heed it only where they came so.
async fn only_by_https(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    response
}

/// Texts that are known to be large. What streams is left alone, because a compressor would hold lines back.
#[derive(Clone, Copy)]
struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map_or(&b""[..], |kind| kind.as_bytes());
        let text = kind.starts_with(b"text/")
            || kind.starts_with(b"application/json")
            || kind.starts_with(b"image/svg");
        text && response
            .body()
            .size_hint()
            .exact()
            .is_some_and(|size| size > COMPRESS_ABOVE)
    }
}

/// Serves a router.
async fn listen(
    app: Router,
    config: &ServeConfig,
    shutdown: CancellationToken,
    on_bound: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    refuse_exposed(config)?;
    let tls = config
        .tls
        .as_ref()
        .map(|(cert, key)| tls(cert, key))
        .transpose()?;
    let bind = |source| ServeError::Bind {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
    on_bound(listener.local_addr().map_err(bind)?);
    listen::Listen {
        app,
        tls,
        limits: config.limits,
        proxies: Arc::new(config.proxies()),
        shutdown,
    }
    .run(listener)
    .await;
    Ok(())
}

/// Beyond loopback only with TLS of our own, or behind proxies that were named.
fn refuse_exposed(config: &ServeConfig) -> Result<(), ServeError> {
    if config.listen.ip().to_canonical().is_loopback()
        || config.tls.is_some()
        || !config.behind_proxy.is_empty()
    {
        return Ok(());
    }
    Err(ServeError::Exposed(config.listen))
}

/// Reads a certificate chain and its key. The provider is named, so that it does not matter what the process installed.
fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let bad = |path: &Path, why: String| ServeError::Tls {
        path: path.to_owned(),
        why,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| bad(cert, format!("cannot be read as a PEM certificate: {error}")))?;
    if chain.is_empty() {
        return Err(bad(
            cert,
            "holds no certificate; give the PEM file of the certificate chain".into(),
        ));
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| bad(key, format!("cannot be read as a PEM private key: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| {
            bad(
                key,
                format!("does not fit the certificate in {}: {error}", cert.display()),
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
