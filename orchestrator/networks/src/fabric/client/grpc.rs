//! gRPC to nodes.

use crate::{
    client::call::{CONNECT, CallError, unavailable, within},
    fabric::{
        client::{
            access::Access,
            secure::{Secure, secure},
        },
        model::ports::GRPC,
    },
};
use chainpool_agent::NodeName;
use chainpool_api::Timestamp;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::{error::Error, time::Duration};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Largest accepted answer; Fabric's own message limit.
const MAX_ANSWER_BYTES: usize = 100 * 1024 * 1024;

/// A gRPC connection to a node. Dropping the last clone closes it; it does not reconnect.
#[derive(Clone)]
pub(crate) struct Grpc {
    channel: Channel,
    /// Expiry of the node's TLS certificate.
    pub(crate) certificate_expiry: Option<Timestamp>,
}

impl Grpc {
    /// Connects to a node.
    pub(crate) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
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
    pub(crate) async fn unary<Q, A>(
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
    pub(crate) async fn stream<Q, A>(&self, path: &'static str, question: Q) -> Result<Answers<A>, CallError>
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
pub(crate) struct Answers<A>(Streaming<A>);

impl<A> Answers<A> {
    /// The next response. The end of the stream is an error.
    pub(crate) async fn next(&mut self) -> Result<A, CallError> {
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
