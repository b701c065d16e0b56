//! Connections to nodes: TLS over what the platform dials, and on it HTTP/1.1 or gRPC.

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

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the answer to a question may take.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long something that a node shall do may take.
pub(super) const ACTION: Duration = Duration::from_secs(30);
/// The largest answer that is read; Fabric's own limit for a message.
const MAX_ANSWER_BYTES: usize = 100 * 1024 * 1024;

/// Why there is no answer of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The node did not answer, or not as itself.
    #[error("{0}")]
    Silent(String),
    /// The node answered that it will not do it.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    /// The one of two that tells more: what a node says more than a node's silence.
    pub(super) fn or(self, other: Self) -> Self {
        if matches!((&self, &other), (Self::Refused(_), Self::Silent(_))) {
            self
        } else {
            other
        }
    }

    /// The same error, told of somebody.
    pub(super) fn of(self, who: &dyn std::fmt::Display) -> Self {
        match self {
            Self::Silent(why) => Self::Silent(format!("{who}: {why}")),
            Self::Refused(why) => Self::Refused(format!("{who}: {why}")),
        }
    }
}

/// The result, or silence after so long.
pub(super) async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    timeout(limit, what).await.unwrap_or_else(|_| {
        Err(CallError::Silent(format!(
            "no answer within {} s",
            limit.as_secs()
        )))
    })
}

/// An error with its causes: the text of a transport error alone says nothing.
fn silent(error: &dyn Error) -> CallError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    CallError::Silent(text)
}

/// A TLS stream to a node, and when the certificate ends that it showed.
struct Secure {
    stream: TlsStream<ByteStream>,
    ends: Option<Timestamp>,
}

/// Dials a node's port and makes sure that it is this node.
async fn secure(access: &Access, node: &NodeName, port: &str) -> Result<Secure, CallError> {
    let trust = access.trust(node)?;
    let config = if port == GRPC { &trust.grpc } else { &trust.control };
    let name = ServerName::try_from(node.to_string())
        .map_err(|e| CallError::Refused(format!("{node} is no name for TLS: {e}")))?;
    let connect = async {
        let stream = access
            .nodes
            .dial(node, port)
            .await
            .map_err(|e| CallError::Silent(e.to_string()))?;
        TlsConnector::from(std::sync::Arc::clone(config))
            .connect(name, stream)
            .await
            .map_err(|e| silent(&e))
    };
    let late = || CallError::Silent(format!("no connection within {} s", CONNECT.as_secs()));
    let stream = timeout(CONNECT, Box::pin(connect)).await.map_err(|_| late())??;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    Ok(Secure {
        ends: shown.and_then(|certificate| tls::ends(certificate)),
        stream,
    })
}

/// An HTTP/1.1 connection to one of a node's control ports. Ends when dropped.
pub(super) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    driver: AbortHandle,
    /// When the node's TLS certificate ends.
    pub(super) ends: Option<Timestamp>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http {
    /// Connects to a node.
    pub(super) async fn connect(access: &Access, node: &NodeName, port: &str) -> Result<Self, CallError> {
        let Secure { stream, ends } = secure(access, node, port).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| silent(&e))?;
        // What ends the connection also ends the request that waits on it, and is told there.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender,
            host: node.to_string(),
            driver,
            ends,
        })
    }

    /// Asks for a path.
    pub(super) async fn get(&mut self, path: &str) -> Result<(http::StatusCode, Bytes), CallError> {
        // Participation answers 406 to a client that does not name JSON; metrics answer in their own form whatever is accepted.
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json, text/plain");
        within(ANSWER, self.send(request, Bytes::new())).await
    }

    /// Hands something over.
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
        self.sender.ready().await.map_err(|e| silent(&e))?;
        let response = self.sender.send_request(request).await.map_err(|e| silent(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        Ok((
            status,
            body.map_err(|e| CallError::Silent(format!("the answer broke off: {e}")))?
                .to_bytes(),
        ))
    }
}

/// A gRPC connection to a node. Ends when the last of its copies is dropped, and is not made again.
#[derive(Clone)]
pub(super) struct Grpc {
    channel: Channel,
    /// When the node's TLS certificate ends.
    pub(super) ends: Option<Timestamp>,
}

impl Grpc {
    /// Connects to a node.
    pub(super) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        let Secure { stream, ends } = secure(access, node, GRPC).await?;
        // TLS is ours: to tonic this is a plain stream.
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
                .map_err(|e| silent(&e))
        };
        Ok(Self {
            channel: within(CONNECT, Box::pin(connect)).await?,
            ends,
        })
    }

    /// One question, one answer.
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
            Ok(answer.map_err(|status| told(&status))?.into_inner())
        })
        .await
    }

    /// One question, many answers. It waits for the first answer as long as the node does: the caller sets the limit.
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
        Ok(Answers(answers.map_err(|status| told(&status))?.into_inner()))
    }

    async fn client(&self) -> Result<tonic::client::Grpc<Channel>, CallError> {
        let mut client =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        client.ready().await.map_err(|e| silent(&e))?;
        Ok(client)
    }
}

/// Answers as they come.
pub(super) struct Answers<A>(Streaming<A>);

impl<A> Answers<A> {
    /// The next one. That there is none is an error: we read only what we asked for.
    pub(super) async fn next(&mut self) -> Result<A, CallError> {
        let next = self.0.message().await.map_err(|status| told(&status))?;
        next.ok_or_else(|| CallError::Silent("it ended the answers".to_owned()))
    }
}

/// What a gRPC status means: whether the node said no, or there was no node.
fn told(status: &Status) -> CallError {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => silent(status),
        _ if status.source().is_some() => silent(status),
        Code::Unimplemented => CallError::Refused("it does not know this call".to_owned()),
        _ => CallError::Refused(status.message().to_owned()),
    }
}
