//! The way to the engine: one connection a request, over a unix socket, TCP or mutual TLS.
//!
//! bollard's own ways want certificate files and an existing socket, trust every public authority, and do not limit
//! the time of a connect. Ours is lazy (an engine may be down when its agent is made), keeps keys in memory, and
//! notices a peer that vanished without a word.

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

/// How long a connection to an engine may take, TLS included.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// The most that one answer may be, in bytes: a listing of a crowded engine is some MiB.
const ANSWER: u64 = 64 << 20;
/// The same for words about what went wrong.
const WORDS: usize = 64 << 10;
/// The most that may come of a stream between two of its items, in bytes: an event or a frame of a log has at most 256 KiB, and hyper reads
/// 1 MiB ahead.
const ITEM: u64 = 2 << 20;
/// What a server says that wants TLS, to whoever comes without.
const WANTS_TLS: &str = "HTTP request to an HTTPS server";
/// What bollard is given as its own limit, in seconds: more than any of ours, so that ours decide.
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

    /// A client that speaks this version; with a flow, one for a single stream.
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
        // Ends with the request: hyper closes the connection when its sender and its response body are gone.
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
                // The connection knows why (a certificate that was refused, say), the request only that it failed.
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
        // An engine whose machine lost power says nothing: without this, event and log streams would wait for ever.
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

/// Whether bollard goes on with an answer of this status.
fn is_good(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS
}

/// What an answer that is none says. Of a body that has not the form of an engine's words nothing is told: whatever answers at an address may be
/// another service, and what it says nobody's affair.
async fn refusal(response: Response<Incoming>) -> Bollard {
    let status_code = response.status().as_u16();
    let body = match Limited::new(response.into_body(), WORDS).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => bytes::Bytes::new(),
    };
    let words: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let message = match words.as_ref().and_then(|words| words.get("message")?.as_str()) {
        Some(message) => message.to_owned(),
        None if String::from_utf8_lossy(&body).contains(WANTS_TLS) => format!("it wants TLS ({WANTS_TLS})"),
        None => String::new(),
    };
    Bollard::DockerResponseServerError { status_code, message }
}

/// One answer as its connection sees it. A stream lasts for as long as one listens, so only what comes of it between two of its items is
/// bounded. Lines and frames are not looked for in the bytes: bollard joins the lines of an unfinished JSON, and chunks have lines of their own.
pub(crate) struct Flow {
    /// Told when the engine has accepted the request, which is the only way to know that a stream is open before its first item.
    pub(crate) opened: Notify,
    /// How many bytes may come until the next item, or the end of an answer that is no stream.
    left: AtomicU64,
    /// Whether more came.
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

    /// The items of its stream, each of which makes room for another.
    pub(crate) fn through<T>(
        self: Arc<Self>,
        items: impl Stream<Item = Result<T, Bollard>> + Send,
    ) -> impl Stream<Item = Result<T, Bollard>> + Send {
        items.map(move |item| match item {
            Ok(item) => {
                self.left.store(ITEM, Ordering::Relaxed);
                Ok(item)
            }
            // bollard keeps of the connection's error only that there was one.
            Err(_) if self.overrun.load(Ordering::Relaxed) => Err(io::Error::other(format!(
                "more than {} MiB came of one event or line, which no engine sends",
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
                    "its answer is longer than {} MiB, which no engine's is",
                    ANSWER >> 20
                )))
            }
        }
    }
}

/// A connection of which no more than so much is read: what answers may never end.
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

/// Engines read a login as URL-safe base64 and silently take what they cannot read for none; bollard 0.21 sends the
/// other alphabet.
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
