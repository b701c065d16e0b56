//! Connections to the engine: one per request, over a unix socket, TCP or mutual TLS.
//!
//! bollard's own transports need certificate files and an existing socket, trust every public authority, and
//! have no connect timeout. Ours connects lazily (an engine may be down when its agent is made), keeps keys
//! in memory, and detects a vanished peer.

use crate::connect::Address;
use bollard::{BollardRequest, ClientVersion, Docker, errors::Error as Bollard};
use chainpool_agent::{ByteStream, Error, Result};
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Time limit of a connection to an engine, TLS included.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// Maximum bytes of one response. A listing of a crowded engine has several MiB.
const ANSWER: u64 = 64 << 20;
/// Maximum bytes of an error response.
const ERROR_BODY: usize = 64 << 10;
/// Maximum bytes between two items of a stream. An event or log frame has at most 256 KiB, and hyper reads 1
/// MiB ahead.
const ITEM: u64 = 2 << 20;
/// The answer of a TLS server to a plain request.
const WANTS_TLS: &str = "HTTP request to an HTTPS server";
/// bollard's own time limit in seconds: longer than all of ours, so ours apply.
const BEYOND: u64 = 3600;

/// Opens connections to one engine.
#[derive(Clone)]
pub(crate) struct Transport {
    address: Arc<Address>,
}

impl Transport {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address: Arc::new(address),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A client for this API version; with a flow, for a single stream.
    pub(crate) fn client(&self, version: &ClientVersion, flow: Option<Arc<Flow>>) -> Result<Docker> {
        let transport = self.clone();
        let send = move |request: BollardRequest| {
            let (transport, flow) = (transport.clone(), flow.clone());
            async move {
                let bound = flow.clone().unwrap_or_else(|| Arc::new(Flow::of(ANSWER)));
                let response = transport.send(request, bound).await?;
                if let Some(flow) = flow.filter(|_| response.status().is_success()) {
                    flow.opened.notify_one();
                }
                Ok(response)
            }
        };
        Docker::connect_with_custom_transport(send, Some("http://engine"), BEYOND, version)
            .map_err(|e| Error::Refused(format!("{} cannot be used: {e}", self.address)))
    }

    async fn send(
        &self,
        mut request: BollardRequest,
        flow: Arc<Flow>,
    ) -> Result<Response<Incoming>, Bollard> {
        let stream = timeout(CONNECT, self.open()).await.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {} s", CONNECT.as_secs()),
            )
        })??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(Bounded { stream, flow })).await?;
        // Ends with the request: hyper closes the connection when its sender and its response body are
        // dropped.
        let connection = tokio::spawn(connection);
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = path.parse::<Uri>()?;
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("engine"));
        url_safe_login(&mut request);
        let is_head = request.method() == Method::HEAD;
        match sender.send_request(request).await {
            Ok(response) if is_head || is_good(response.status()) => Ok(response),
            Ok(response) => Err(refusal(response).await),
            Err(e) => {
                drop(sender);
                // The connection has the cause (such as a rejected certificate), the request only the
                // failure.
                Err(match connection.await {
                    Ok(Err(cause)) => cause.into(),
                    _ => e.into(),
                })
            }
        }
    }

    async fn open(&self) -> io::Result<ByteStream> {
        let (host, port, tls) = match &*self.address {
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Tcp { host, port, tls } => (host.as_str(), *port, tls),
        };
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        // Detects an engine that lost power: otherwise event and log streams would hang.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, Duration::from_secs(10))?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(5))?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        Ok(match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(
                TlsConnector::from(tls.config.clone())
                    .connect(tls.server.clone(), stream)
                    .await?,
            ),
        })
    }
}

/// Returns true if bollard accepts a response of this status.
fn is_good(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Maps an error response. A body that is not an engine's error message is not quoted: the peer may be
/// another service with confidential responses.
async fn refusal(response: Response<Incoming>) -> Bollard {
    let status_code = response.status().as_u16();
    let body = match Limited::new(response.into_body(), ERROR_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => bytes::Bytes::new(),
    };
    let error: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let message = match error.as_ref().and_then(|error| error.get("message")?.as_str()) {
        Some(message) => message.to_owned(),
        None if String::from_utf8_lossy(&body).contains(WANTS_TLS) => {
            format!("it requires TLS ({WANTS_TLS})")
        }
        None => String::new(),
    };
    Bollard::DockerResponseServerError { status_code, message }
}

/// Bounds one response. A stream is unlimited, so only the bytes between two of its items are bounded. The
/// bound does not parse lines and frames: bollard joins the lines of an unfinished JSON, and chunks have
/// lines of their own.
pub(crate) struct Flow {
    /// Notified when the engine has accepted the request: the only sign that a stream is open before its
    /// first item.
    pub(crate) opened: Notify,
    /// Bytes left until the next item, or until the end of a response that is not a stream.
    left: AtomicU64,
    /// The bound was exceeded.
    overrun: AtomicBool,
}

impl Flow {
    /// The flow of a stream.
    pub(crate) fn new() -> Self {
        Self::of(ITEM)
    }

    fn of(bytes: u64) -> Self {
        Self {
            opened: Notify::new(),
            left: AtomicU64::new(bytes),
            overrun: AtomicBool::new(false),
        }
    }

    /// The items of its stream. Each resets the bound.
    pub(crate) fn through<T>(
        self: Arc<Self>,
        items: impl Stream<Item = Result<T, Bollard>> + Send,
    ) -> impl Stream<Item = Result<T, Bollard>> + Send {
        items.map(move |item| match item {
            Ok(item) => {
                self.left.store(ITEM, Ordering::Relaxed);
                Ok(item)
            }
            // bollard drops the connection's error.
            Err(_) if self.overrun.load(Ordering::Relaxed) => Err(io::Error::other(format!(
                "one event or line exceeds {} MiB, more than any engine sends",
                ITEM >> 20
            ))
            .into()),
            Err(error) => Err(error),
        })
    }

    fn read(&self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            }) {
            Ok(_) => Ok(()),
            Err(_) => {
                self.overrun.store(true, Ordering::Relaxed);
                Err(io::Error::other(format!(
                    "the response exceeds {} MiB, more than any engine sends",
                    ANSWER >> 20
                )))
            }
        }
    }
}

/// A connection with bounded reads: a peer may send endlessly.
struct Bounded {
    stream: ByteStream,
    flow: Arc<Flow>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.flow.read(buffer.filled().len() - before))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Engines decode a login as URL-safe base64 and ignore an invalid one; bollard 0.21 sends the standard
/// alphabet.
fn url_safe_login(request: &mut BollardRequest) {
    if let Some(login) = request.headers_mut().get_mut("x-registry-auth") {
        let safe: Vec<u8> = login
            .as_bytes()
            .iter()
            .map(|b| {
                if *b == b'+' {
                    b'-'
                } else if *b == b'/' {
                    b'_'
                } else {
                    *b
                }
            })
            .collect();
        if let Ok(mut value) = HeaderValue::from_bytes(&safe) {
            value.set_sensitive(true);
            *login = value;
        }
    }
}
