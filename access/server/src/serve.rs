//! Listens, serves, and stops when told.

use crate::{auth::forwarded_for, body::BODY_LIMIT, error::Refusal, request::frame, routes, state::Server};
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::Response,
    routing::any,
};
use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use chainpool_dashboard::Https;
use chainpool_orchestrator::Orchestrator;
use futures::StreamExt;
use http::header;
use hyper_util::rt::TokioTimer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::{CompressionLayer, predicate::Predicate};

/// What requests under way get when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Within which a client must have sent a request's head; also how long an idle connection may stay.
const HEAD_LIMIT: Duration = Duration::from_mins(1);

/// Texts above this many bytes are compressed.
const COMPRESS_ABOVE: u64 = 1024;

/// How the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The PEM files of a certificate chain and of its key: with them the server speaks TLS itself.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The address that clients use, when a proxy stands in between.
    pub public_url: Option<String>,
    /// Requests a second that each token may make; 0: without limit.
    pub rate_limit_per_second: u32,
}

impl ServeConfig {
    /// Whether clients come by https: to us, or to the proxy in front.
    pub(crate) fn is_https(&self) -> bool {
        self.tls.is_some() || self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Passwords and tokens would cross the network in the clear.
    #[error(
        "listening on {0} without TLS would send passwords and tokens in the clear; give a certificate and its key, or \
         listen on 127.0.0.1, or put a proxy with TLS in front and state its address as public URL (https://…)"
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
    /// Serving broke off.
    #[error("serving broke off")]
    Serve(#[source] io::Error),
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
    api.merge(dashboard).layer(CompressionLayer::new().compress_when(Compressible)).layer(middleware::from_fn(frame))
}

/// What the dashboard needs from the server around it: how the browser came and from where; and an end of its event
/// streams at shutdown, because they never end by themselves.
async fn surround(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Https(server.https));
    if server.proxied
        && let Some(address) = forwarded_for(request.headers())
    {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 0)));
    }
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    let shutdown = server.shutdown.clone().cancelled_owned();
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(shutdown))))
}

/// Texts that are known to be large. What streams is left alone, because a compressor would hold lines back.
#[derive(Clone, Copy)]
struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let text = kind.starts_with(b"text/") || kind.starts_with(b"application/json") || kind.starts_with(b"image/svg");
        text && response.body().size_hint().exact().is_some_and(|size| size > COMPRESS_ABOVE)
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
    let tls = config.tls.as_ref().map(|(cert, key)| tls(cert, key)).transpose()?;
    let bind = |source| ServeError::Bind { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    let handle = Handle::<SocketAddr>::new();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let mut server = axum_server::Server::from_listener(listener).handle(handle.clone());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    on_bound(address);
    let serving = async {
        match tls {
            Some(tls) => server.acceptor(RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new())).serve(app).await,
            None => server.acceptor(NoDelayAcceptor::new()).serve(app).await,
        }
    };
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended,
        () = shutdown.cancelled() => {
            handle.graceful_shutdown(Some(GRACE));
            serving.await
        }
    }
    .map_err(ServeError::Serve)
}

/// Beyond loopback only with TLS, our own or a stated proxy's.
fn refuse_exposed(config: &ServeConfig) -> Result<(), ServeError> {
    if config.listen.ip().to_canonical().is_loopback() || config.is_https() {
        return Ok(());
    }
    Err(ServeError::Exposed(config.listen))
}

/// Reads a certificate chain and its key. The provider is named, so that it does not matter what the process installed.
fn tls(cert: &Path, key: &Path) -> Result<RustlsConfig, ServeError> {
    let bad = |path: &Path, why: String| ServeError::Tls { path: path.to_owned(), why };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| bad(cert, format!("cannot be read as a PEM certificate: {error}")))?;
    if chain.is_empty() {
        return Err(bad(cert, "holds no certificate; give the PEM file of the certificate chain".into()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, format!("cannot be read as a PEM private key: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| bad(key, format!("does not fit the certificate in {}: {error}", cert.display())))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

#[cfg(test)]
mod tests;
