//! HTTP server: listener, router and graceful shutdown.

mod connections;
mod listen;

use crate::{
    base_path, body::BODY_LIMIT, client_address, config::ServeConfig, error::ApiError, request, routes,
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
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::compression::{CompressionLayer, predicate::Predicate};

/// Minimum size in bytes of a compressed response.
const COMPRESS_ABOVE: u64 = 1024;

/// HSTS for 180 days, without subdomains, which may belong to others.
const HSTS: &str = "max-age=15552000";

/// Startup error of the server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Listening beyond loopback without TLS.
    #[error(
        "listening on {0} without TLS would expose passwords and tokens; set a certificate and key (--tls-cert, \
         --tls-key), listen on 127.0.0.1, or use a TLS proxy and set its address or network with --behind-proxy"
    )]
    Exposed(SocketAddr),
    /// Failure to bind the listen address.
    #[error(
        "cannot listen on {address}; check for another program on this port, and that the address is local"
    )]
    Bind {
        /// Listen address.
        address: SocketAddr,
        /// Cause.
        source: io::Error,
    },
    /// Invalid TLS file.
    #[error("{path}: {why}")]
    Tls {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        why: String,
    },
}

/// Serves REST API and dashboard until `shutdown`, then ends streams and allows running requests 5 s to
/// complete. `on_bound` receives the bound address, for port 0.
pub async fn serve(
    orchestrator: Orchestrator,
    config: ServeConfig,
    shutdown: CancellationToken,
    on_bound: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let app = build_router(orchestrator, &config, shutdown.clone());
    listen(app, &config, shutdown, on_bound).await
}

/// REST API and dashboard as one router, without a listener.
pub fn router(orchestrator: Orchestrator, config: &ServeConfig) -> Router {
    build_router(orchestrator, config, CancellationToken::new())
}

/// Assembles the router.
fn build_router(orchestrator: Orchestrator, config: &ServeConfig, shutdown: CancellationToken) -> Router {
    let server = Server::new(orchestrator.clone(), config, routes::openapi_json_at, shutdown);
    let dashboard = chainpool_dashboard::router(orchestrator)
        .layer(middleware::from_fn_with_state(server.clone(), around_dashboard))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    let (api, _) = routes::all().split_for_parts();
    let api = api
        .route("/api", any(async || ApiError::no_route()))
        .route("/api/", any(async || ApiError::no_route()))
        .route("/api/{*rest}", any(async || ApiError::no_route()))
        .method_not_allowed_fallback(async || ApiError::no_method())
        .with_state(server);
    let mut app = api
        .merge(dashboard)
        .layer(CompressionLayer::new().compress_when(Compressible))
        .layer(middleware::from_fn(request::handle));
    if config.is_https() {
        app = app.layer(middleware::map_response(add_hsts));
    }
    base_path::with_base_path(config.base(), app)
}

/// The server's middleware of the dashboard: adds [`chainpool_dashboard::Site`], limits the request rate, and
/// ends event streams at shutdown.
async fn around_dashboard(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    if let Some(limiter) = &server.limiter
        && !request.uri().path().starts_with("/static/")
        && let Some(key) = server.site.session(&request).or_else(|| client(&request))
        && let Err(wait) = limiter.take(&key)
    {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, HeaderValue::from(wait))],
            "too many requests; retry in a second",
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

/// The client's network, as rate-limit key of anonymous requests.
fn client(request: &Request) -> Option<String> {
    client_address::client(request.extensions())
        .map(|address| chainpool_dashboard::client_network(address).to_string())
}

/// Adds the HSTS header; browsers ignore it on plain HTTP.
async fn add_hsts(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    response
}

/// Compresses large texts, but no streams, because a compressor delays lines.
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
    reject_exposed(config)?;
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

/// Allows listening beyond loopback only with TLS or behind configured proxies.
fn reject_exposed(config: &ServeConfig) -> Result<(), ServeError> {
    if config.listen.ip().to_canonical().is_loopback()
        || config.tls.is_some()
        || !config.behind_proxy.is_empty()
    {
        return Ok(());
    }
    Err(ServeError::Exposed(config.listen))
}

/// Loads a certificate chain and its key. Uses an explicit provider, independent of the process default.
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
            "contains no certificate; set the PEM file of the certificate chain".into(),
        ));
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| bad(key, format!("cannot be read as a PEM private key: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| {
            bad(
                key,
                format!("does not match the certificate in {}: {error}", cert.display()),
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
