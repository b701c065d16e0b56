//! Connections to nodes: HTTP/1.1 or gRPC over TLS over the platform's byte stream.

use super::{access::Access, render::GRPC, tls};
use bytes::Bytes;
use chainpool_agent::{ByteStream, NodeName};
use chainpool_api::Timestamp;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::ServerName;
use std::{error::Error, future::Future, time::Duration};
use tokio::{task::AbortHandle, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Time limit of a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Time limit of a query.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// Time limit of an action on a node.
pub(super) const ACTION: Duration = Duration::from_secs(30);
/// Largest accepted answer; Fabric's own message limit.
const MAX_ANSWER_BYTES: usize = 100 * 1024 * 1024;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The node is unreachable or not yet ready; retry.
    #[error("{0}")]
    Unavailable(String),
    /// The node refused the call.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    /// The more informative of two errors: a refusal over an unavailable node.
    pub(super) fn or(self, other: Self) -> Self {
        if matches!((&self, &other), (Self::Refused(_), Self::Unavailable(_))) {
            self
        } else {
            other
        }
    }

    /// Prefixes the error with its subject.
    pub(super) fn of(self, who: &dyn std::fmt::Display) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(format!("{who}: {why}")),
            Self::Refused(why) => Self::Refused(format!("{who}: {why}")),
        }
    }
}

/// Applies a time limit.
pub(super) async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    timeout(limit, what).await.unwrap_or_else(|_| {
        Err(CallError::Unavailable(format!(
            "no response within {} s",
            limit.as_secs()
        )))
    })
}

/// A transport error with its causes; its own text alone is not informative.
fn unavailable(error: &dyn Error) -> CallError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    CallError::Unavailable(text)
}

/// A TLS stream to a node and the expiry of the node's certificate.
struct Secure {
    stream: TlsStream<ByteStream>,
    certificate_expiry: Option<Timestamp>,
}

/// Connects to a node's port and authenticates the node.
async fn secure(access: &Access, node: &NodeName, port: &str) -> Result<Secure, CallError> {
    let trust = access.trust(node)?;
    let config = if port == GRPC { &trust.grpc } else { &trust.control };
    let name = ServerName::try_from(node.to_string())
        .map_err(|e| CallError::Refused(format!("{node} is not a valid TLS server name: {e}")))?;
    let connect = async {
        let stream = access
            .nodes
            .dial(node, port)
            .await
            .map_err(|e| CallError::Unavailable(e.to_string()))?;
        TlsConnector::from(std::sync::Arc::clone(config))
            .connect(name, stream)
            .await
            .map_err(|e| unavailable(&e))
    };
    let late = || CallError::Unavailable(format!("no connection within {} s", CONNECT.as_secs()));
    let stream = timeout(CONNECT, Box::pin(connect)).await.map_err(|_| late())??;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    Ok(Secure {
        certificate_expiry: shown.and_then(|certificate| tls::expiry(certificate)),
        stream,
    })
}

/// An HTTP/1.1 connection to a control port of a node. Dropping it closes the connection.
pub(super) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    driver: AbortHandle,
    /// Expiry of the node's TLS certificate.
    pub(super) certificate_expiry: Option<Timestamp>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http {
    /// Connects to a node.
    pub(super) async fn connect(access: &Access, node: &NodeName, port: &str) -> Result<Self, CallError> {
        let Secure {
            stream,
            certificate_expiry,
        } = secure(access, node, port).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unavailable(&e))?;
        // A connection error also fails the pending request, which reports it.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender,
            host: node.to_string(),
            driver,
            certificate_expiry,
        })
    }

    /// Sends a GET request.
    pub(super) async fn get(&mut self, path: &str) -> Result<(http::StatusCode, Bytes), CallError> {
        // The participation API answers 406 to clients that do not accept JSON; metrics ignore the header.
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json, text/plain");
        within(ANSWER, self.send(request, Bytes::new())).await
    }

    /// Sends a POST request.
    pub(super) async fn post(
        &mut self,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(http::StatusCode, Bytes), CallError> {
        let request = http::Request::post(path).header(http::header::CONTENT_TYPE, kind);
        within(ACTION, self.send(request, body)).await
    }

    async fn send(
        &mut self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(http::StatusCode, Bytes), CallError> {
        let request = request
            .header(http::header::HOST, &self.host)
            .body(Full::new(body));
        let request = request.map_err(|e| CallError::Refused(e.to_string()))?;
        self.sender.ready().await.map_err(|e| unavailable(&e))?;
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|e| unavailable(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok((
            status,
            body.map_err(|e| CallError::Unavailable(format!("the response was cut off: {e}")))?
                .to_bytes(),
        ))
    }
}

/// A gRPC connection to a node. Dropping the last clone closes it; it does not reconnect.
#[derive(Clone)]
pub(super) struct Grpc {
    channel: Channel,
    /// Expiry of the node's TLS certificate.
    pub(super) certificate_expiry: Option<Timestamp>,
}

impl Grpc {
    /// Connects to a node.
    pub(super) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        let Secure {
            stream,
            certificate_expiry,
        } = secure(access, node, GRPC).await?;
        // TLS is terminated here; tonic gets a plain stream.
        let endpoint =
            Endpoint::from_shared(format!("http://{node}")).map_err(|e| CallError::Refused(e.to_string()))?;
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let stream = stream
                .take()
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
            std::future::ready(stream)
        });
        let connect = async {
            endpoint
                .connect_with_connector(connector)
                .await
                .map_err(|e| unavailable(&e))
        };
        Ok(Self {
            channel: within(CONNECT, Box::pin(connect)).await?,
            certificate_expiry,
        })
    }

    /// A unary call.
    pub(super) async fn unary<Q, A>(
        &self,
        path: &'static str,
        question: Q,
        limit: Duration,
    ) -> Result<A, CallError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        within(limit, async {
            let mut client = self.client().await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = client
                .unary(
                    tonic::Request::new(question),
                    PathAndQuery::from_static(path),
                    codec,
                )
                .await;
            Ok(answer.map_err(|status| from_status(&status))?.into_inner())
        })
        .await
    }

    /// A streaming call. The wait for the first message is unlimited; the caller sets a time limit.
    pub(super) async fn stream<Q, A>(&self, path: &'static str, question: Q) -> Result<Answers<A>, CallError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = self.client().await?;
        let question = tonic::Request::new(futures::stream::once(std::future::ready(question)));
        let answers = client
            .streaming(
                question,
                PathAndQuery::from_static(path),
                ProstCodec::<Q, A>::default(),
            )
            .await;
        Ok(Answers(
            answers.map_err(|status| from_status(&status))?.into_inner(),
        ))
    }

    async fn client(&self) -> Result<tonic::client::Grpc<Channel>, CallError> {
        let mut client =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        client.ready().await.map_err(|e| unavailable(&e))?;
        Ok(client)
    }
}

/// A stream of responses.
pub(super) struct Answers<A>(Streaming<A>);

impl<A> Answers<A> {
    /// The next response. The end of the stream is an error.
    pub(super) async fn next(&mut self) -> Result<A, CallError> {
        let next = self.0.message().await.map_err(|status| from_status(&status))?;
        next.ok_or_else(|| CallError::Unavailable("the node closed the stream".to_owned()))
    }
}

/// Classifies a gRPC status as refusal or unavailable node.
fn from_status(status: &Status) -> CallError {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => unavailable(status),
        _ if status.source().is_some() => unavailable(status),
        Code::Unimplemented => CallError::Refused("the node does not implement this call".to_owned()),
        _ => CallError::Refused(status.message().to_owned()),
    }
}
