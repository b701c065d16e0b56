//! The way to the engine: one connection a request, over a unix socket, TCP or mutual TLS.
//!
//! bollard's own ways want certificate files and an existing socket, trust every public authority, and do not limit
//! the time of a connect. Ours is lazy (an engine may be down when its agent is made), keeps keys in memory, and
//! notices a peer that vanished without a word.

use crate::connect::Address;
use bollard::{BollardRequest, ClientVersion, Docker, errors::Error as Bollard};
use chainpool_agent::{ByteStream, Error, Result};
use hyper::{
    Response, Uri,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long a connection to an engine may take, TLS included.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// What bollard is given as its own limit, in seconds: more than any of ours, so that ours decide.
const BEYOND: u64 = 3600;

/// Opens connections to one engine.
#[derive(Clone)]
pub(crate) struct Transport {
    address: Arc<Address>,
}

impl Transport {
    pub(crate) fn new(address: Address) -> Self {
        Self { address: Arc::new(address) }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A client that speaks this version. `opened` is told when the engine has accepted a request, which is the only
    /// way to know that a stream is open before its first item.
    pub(crate) fn client(&self, version: &ClientVersion, opened: Option<Arc<Notify>>) -> Result<Docker> {
        let transport = self.clone();
        let send = move |request: BollardRequest| {
            let (transport, opened) = (transport.clone(), opened.clone());
            async move {
                let response = transport.send(request).await?;
                if let Some(opened) = opened.filter(|_| response.status().is_success()) {
                    opened.notify_one();
                }
                Ok(response)
            }
        };
        Docker::connect_with_custom_transport(send, Some("http://engine"), BEYOND, version)
            .map_err(|e| Error::Refused(format!("{} cannot be used: {e}", self.address)))
    }

    async fn send(&self, mut request: BollardRequest) -> Result<Response<Incoming>, Bollard> {
        let stream = timeout(CONNECT, self.open())
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", CONNECT.as_secs())))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the request: hyper closes the connection when its sender and its response body are gone.
        let connection = tokio::spawn(connection);
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        *request.uri_mut() = path.parse::<Uri>()?;
        request.headers_mut().insert(HOST, HeaderValue::from_static("engine"));
        url_safe_login(&mut request);
        match sender.send_request(request).await {
            Ok(response) => Ok(response),
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
            Some(tls) => Box::new(TlsConnector::from(tls.config.clone()).connect(tls.server.clone(), stream).await?),
        })
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
