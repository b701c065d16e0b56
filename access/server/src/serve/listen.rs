//! The loop that takes connections in, and what happens on each of them.

use super::{
    connections::{Connection, Connections, Place, Running},
    limits::Limits,
};
use crate::proxy::Proxies;
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

/// What requests under way get when the server stops, and a connection that was told to go.
const GRACE: Duration = Duration::from_secs(5);

/// The largest head of a request. Nobody knows yet who sends it, and each connection may hold one.
const HEAD_BYTES: usize = 64 * 1024;

/// How long accepting rests after the system refused; and how often that is logged at most.
const REST: Duration = Duration::from_millis(100);
const LOG_PERIOD: Duration = Duration::from_mins(1);

/// One listener.
pub(super) struct Listen {
    pub(super) app: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: Limits,
    pub(super) proxies: Arc<Proxies>,
    pub(super) shutdown: CancellationToken,
}

/// What each connection needs.
#[derive(Clone)]
struct Shared {
    listen: Arc<Listen>,
    /// Ends what did not end by itself.
    over: CancellationToken,
}

impl Listen {
    /// Serves until the shutdown; then requests under way get their time.
    pub(super) async fn run(mut self, listener: TcpListener) {
        // Puts the routes together once, not for each connection.
        self.app = self.app.with_state(());
        let connections = Connections::new(self.limits, Arc::clone(&self.proxies));
        let shared = Shared {
            listen: Arc::new(self),
            over: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        let shutdown = shared.listen.shutdown.clone();
        let mut complained = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => match connections.admit(peer.ip()) {
                    Some(place) => {
                        tasks.spawn(shared.clone().attend(stream, peer, place));
                    }
                    None => turn_away(stream, shared.listen.tls.is_some()),
                },
                Err(error) if is_of_the_peer(&error) => (),
                Err(error) => {
                    connections.spare_some();
                    if complained.is_none_or(|at: Instant| at.elapsed() >= LOG_PERIOD) {
                        tracing::warn!(%error, "no connection can be taken in; raise the limit of open files where that is the cause");
                        complained = Some(Instant::now());
                    }
                    sleep(REST).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        if timeout(GRACE, tasks.wait()).await.is_err() {
            shared.over.cancel();
            tasks.wait().await;
        }
    }
}

/// Failures of `accept` that are about the one connection alone.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Says that there is no room. Within TLS nothing can be said before a handshake, which would cost what is to be saved.
fn turn_away(stream: TcpStream, tls: bool) {
    if tls {
        return;
    }
    // It fits into the empty send buffer, or the peer has gone: nobody waits for it.
    let said = stream
        .into_std()
        .and_then(|mut stream| stream.write_all(full().as_bytes()));
    if let Err(error) = said {
        tracing::debug!(%error, "a connection that was turned away could not be told");
    }
}

/// The answer where there is no room: a refusal like any other, but for the request's id.
fn full() -> String {
    let body = r#"{"code":"too_many_connections","message":"too many connections are open; close some, or try again in 10 s","fields":{}}"#;
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 10\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Shared {
    /// One connection to its end.
    async fn attend(self, stream: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers on a connection may be held back");
        }
        let over = self.over.clone();
        let close = place.connection.close.clone();
        let attended = async {
            let Some(tls) = &self.listen.tls else {
                return self.serve(stream, peer, &place.connection).await;
            };
            let shaken = tokio::select! {
                shaken = timeout(self.listen.limits.handshake, tls.accept(stream)) => shaken,
                () = close.cancelled() => return,
            };
            match shaken {
                Ok(Ok(stream)) => self.serve(stream, peer, &place.connection).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        };
        tokio::select! {
            () = attended => (),
            () = over.cancelled() => (),
        }
    }

    /// HTTP on a stream, until the client goes, is overdue, must make room, or the server stops.
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
            .max_buf_size(HEAD_BYTES);
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
            // The time is bounded for all connections together.
            return log_end(peer, serving.await);
        }
        // Who says nothing does not agree to an end either.
        let patience = GRACE.min(idle);
        let late = async {
            sleep(patience).await;
            connection.overdue(patience, patience).await;
        };
        tokio::select! {
            ended = &mut serving => log_end(peer, ended),
            () = late => (),
        }
    }
}

/// How a connection ended is the client's matter.
fn log_end(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
}

/// The requests of one connection.
struct Requests {
    listen: Arc<Listen>,
    peer: SocketAddr,
    connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Sent>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = self.connection.begin();
        let mut request = request.map(Body::new);
        let (proxies, peer) = (&self.listen.proxies, self.peer.ip());
        // From here on the client's address is the one that counts, and nobody looks at the header again.
        let client = proxies.client(peer, request.headers());
        proxies.forget_hearsay(peer, request.headers_mut());
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(client, self.peer.port())));
        let answer = self.listen.app.clone().call(request);
        Box::pin(async move {
            answer.await.map(|response| {
                response.map(|body| Sent {
                    body,
                    _running: running,
                })
            })
        })
    }
}

/// The body of an answer; until it was sent the request runs.
struct Sent {
    body: Body,
    _running: Running,
}

impl HttpBody for Sent {
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
