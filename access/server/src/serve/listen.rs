//! The accept loop, and the handling of each connection.

use super::connections::{Connection, Connections, RequestGuard, Slot};
use crate::{limits::Limits, proxy::Proxies};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{
    convert::Infallible,
    io::{self, Write as _},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

/// Time for running requests at shutdown, and for a connection asked to close.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Maximum size of a request head. It is read before authentication, one per connection.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Delay after a failed `accept`, and minimum time between two log lines about it.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const LOG_PERIOD: Duration = Duration::from_mins(1);

/// The settings of one listener.
pub(super) struct Listen {
    pub(super) app: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: Limits,
    pub(super) proxies: Arc<Proxies>,
    pub(super) shutdown: CancellationToken,
}

/// Shared state of all connections.
#[derive(Clone)]
struct Shared {
    listen: Arc<Listen>,
    /// Aborts connections after the grace period.
    abort: CancellationToken,
}

impl Listen {
    /// Serves until shutdown, then allows running requests the grace period.
    pub(super) async fn run(mut self, listener: TcpListener) {
        // Builds the routes once instead of for each connection.
        self.app = self.app.with_state(());
        let connections = Connections::new(self.limits, Arc::clone(&self.proxies));
        let shared = Shared {
            listen: Arc::new(self),
            abort: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        let shutdown = shared.listen.shutdown.clone();
        let mut last_logged = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => match connections.admit(peer.ip()) {
                    Some(slot) => {
                        tasks.spawn(shared.clone().handle(stream, peer, slot));
                    }
                    None => reject(stream, shared.listen.tls.is_some()),
                },
                Err(error) if is_peer_error(&error) => (),
                Err(error) => {
                    connections.close_some_idle();
                    if last_logged.is_none_or(|at: Instant| at.elapsed() >= LOG_PERIOD) {
                        tracing::warn!(%error, "cannot accept connections; if out of file descriptors, raise the limit of open files");
                        last_logged = Some(Instant::now());
                    }
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        if timeout(GRACE_PERIOD, tasks.wait()).await.is_err() {
            shared.abort.cancel();
            tasks.wait().await;
        }
    }
}

/// `true` for failures of `accept` that concern only one connection.
fn is_peer_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Rejects a connection with status 503. With TLS it closes without a response, to avoid the cost of a
/// handshake.
fn reject(stream: TcpStream, tls: bool) {
    if tls {
        return;
    }
    // Does not block: the response fits into the empty send buffer.
    let written = stream
        .into_std()
        .and_then(|mut stream| stream.write_all(overload_response().as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "cannot send a rejection");
    }
}

/// The response at the connection limit: an error without a request id.
fn overload_response() -> String {
    let body = r#"{"code":"too_many_connections","message":"too many open connections; close some or retry in 10 s","fields":{}}"#;
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 10\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Shared {
    /// Handles one connection to its end.
    async fn handle(self, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY; responses may be delayed");
        }
        let abort = self.abort.clone();
        let close = slot.connection.close.clone();
        let handled = async {
            let Some(tls) = &self.listen.tls else {
                return self.serve(stream, peer, &slot.connection).await;
            };
            let handshake = tokio::select! {
                handshake = timeout(self.listen.limits.handshake, tls.accept(stream)) => handshake,
                () = close.cancelled() => return,
            };
            match handshake {
                Ok(Ok(stream)) => self.serve(stream, peer, &slot.connection).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
            }
        };
        tokio::select! {
            () = handled => (),
            () = abort.cancelled() => (),
        }
    }

    /// Serves HTTP on a stream until the client closes it or is overdue, or the server closes it or stops.
    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        connection: &Arc<Connection>,
    ) {
        let Limits {
            first_request,
            idle,
            ping,
            ..
        } = self.listen.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(ping)
            .keep_alive_timeout(ping);
        let requests = Requests {
            listen: Arc::clone(&self.listen),
            peer,
            connection: Arc::clone(connection),
        };
        let serving = builder.serve_connection(TokioIo::new(stream), requests);
        tokio::pin!(serving);
        let stopping = tokio::select! {
            ended = &mut serving => return log_end(peer, ended),
            () = connection.overdue(first_request, idle) => false,
            () = connection.close.cancelled() => false,
            () = self.listen.shutdown.cancelled() => true,
        };
        serving.as_mut().graceful_shutdown();
        if stopping {
            // The accept loop limits the time for all connections together.
            return log_end(peer, serving.await);
        }
        // An unresponsive client does not complete a graceful shutdown.
        let grace = GRACE_PERIOD.min(idle);
        let late = async {
            sleep(grace).await;
            connection.overdue(grace, grace).await;
        };
        tokio::select! {
            ended = &mut serving => log_end(peer, ended),
            () = late => (),
        }
    }
}

/// Logs the end of a connection at debug level: clients may break it at any time.
fn log_end(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection error");
    }
}

/// The requests of one connection.
struct Requests {
    listen: Arc<Listen>,
    peer: SocketAddr,
    connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = self.connection.begin_request();
        let mut request = request.map(Body::new);
        let (proxies, peer) = (&self.listen.proxies, self.peer.ip());
        // Handlers use this address and never the header.
        let client = proxies.client(peer, request.headers());
        proxies.strip_untrusted_headers(peer, request.headers_mut());
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(client, self.peer.port())));
        let response = self.listen.app.clone().call(request);
        Box::pin(async move {
            response.await.map(|response| {
                response.map(|body| GuardedBody {
                    body,
                    _running: running,
                })
            })
        })
    }
}

/// A response body; its request counts as running until it is sent.
struct GuardedBody {
    body: Body,
    _running: RequestGuard,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
