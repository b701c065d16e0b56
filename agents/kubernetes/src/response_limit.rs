//! Size limits for responses: the server at an address may not be an API server, and its response may be
//! endless.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use kube::client::Body as Sent;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::{BoxError, Layer, Service, layer::layer_fn};

/// Maximum size of a response in bytes. A list of a large cluster has some MiB.
const RESPONSE: usize = 64 << 20;
/// Maximum size of one watch event in bytes. An object has at most 1.5 MiB (etcd: `--max-request-bytes`).
const EVENT: usize = 8 << 20;
/// Maximum size of an error response in bytes.
const ERROR: usize = 64 << 10;

/// Limits the responses of a client.
pub(crate) fn layer<S>() -> impl Layer<S, Service = LimitService<S>> {
    layer_fn(LimitService)
}

/// A client service with limited responses.
pub(crate) struct LimitService<S>(S);

impl<S, B> Service<Request<Sent>> for LimitService<S>
where
    S: Service<Request<Sent>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<LimitedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        let request_limit = Limit::of(request.uri());
        let response = self.0.call(request);
        Box::pin(async move {
            let response = response.await?;
            let status = response.status();
            let limit = if status.is_client_error() || status.is_server_error() {
                Limit::Total(ERROR)
            } else {
                request_limit
            };
            Ok(response.map(|body| LimitedBody {
                body,
                limit,
                left: limit.max_bytes(),
            }))
        })
    }
}

/// The size limit of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// Total bytes.
    Total(usize),
    /// Bytes of each line. The number of lines is unlimited.
    Line(usize),
    /// No limit: the reader buffers only a part.
    Unlimited,
}

impl Limit {
    /// The limit for a successful response to this request.
    fn of(request: &Uri) -> Self {
        if request
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
        {
            Self::Line(EVENT)
        } else if request.path().ends_with("/log") {
            Self::Unlimited
        } else {
            Self::Total(RESPONSE)
        }
    }

    fn max_bytes(self) -> usize {
        match self {
            Self::Total(max) | Self::Line(max) => max,
            Self::Unlimited => usize::MAX,
        }
    }
}

/// A response body that fails when it exceeds its limit.
pub(crate) struct LimitedBody<B> {
    body: B,
    limit: Limit,
    left: usize,
}

impl<B> LimitedBody<B> {
    /// Counts received bytes; false when they exceed the limit.
    fn count(&mut self, data: &[u8]) -> bool {
        let line_end = match self.limit {
            Limit::Unlimited => return true,
            Limit::Total(_) => None,
            Limit::Line(_) => data.iter().rposition(|byte| *byte == b'\n'),
        };
        let (left, read) = line_end.map_or((self.left, data.len()), |end| {
            (self.limit.max_bytes(), data.len() - end - 1)
        });
        let left = left.checked_sub(read);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    fn limit_error(&self) -> BoxError {
        let max = self.limit.max_bytes();
        let max = if max < 1 << 20 {
            format!("{} KiB", max >> 10)
        } else {
            format!("{} MiB", max >> 20)
        };
        match self.limit {
            Limit::Line(_) => {
                format!("watch event longer than {max}: not an API server; check the address")
            }
            _ => format!("response longer than {max}: not an API server; check the address"),
        }
        .into()
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
        };
        let fits = frame.data_ref().is_none_or(|data| self.count(data));
        Poll::Ready(Some(if fits { Ok(frame) } else { Err(self.limit_error()) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake_server::{CannedResponse, agent, fake_server, response},
        server::CALL,
    };
    use chainpool_agent::{Agent, Wake};
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::ListParams;

    /// The beginning of a response that lasts as long as its connection.
    fn endless(status: &str, begin: &str) -> CannedResponse {
        CannedResponse {
            bytes: format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{begin}"),
            more: Some(vec![b'x'; 1 << 20]),
        }
    }

    #[tokio::test]
    async fn endless_responses_are_cut_off() {
        for (status, max) in [("200 OK", "64 MiB"), ("500 Internal Server Error", "64 KiB")] {
            let server = fake_server(move |_| endless(status, "{\"gitVersion\":\"")).await;
            let list = server
                .call(
                    CALL,
                    server
                        .all::<Namespace>()
                        .expect("a client")
                        .list(&ListParams::default()),
                )
                .await;
            let probe = agent(server).probe().await;
            for error in [
                list.map(drop).expect_err("no end").into_error("list"),
                probe.map(drop).expect_err("no end"),
            ] {
                assert!(
                    error.to_string().contains(&format!("longer than {max}")),
                    "{status}: {error}"
                );
            }
        }
    }

    #[tokio::test]
    async fn an_endless_watch_event_ends_the_watch() {
        let list = || {
            response(
                "200 OK",
                "application/json",
                r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#,
            )
        };
        let server = fake_server(move |request| {
            if request.contains("watch=true") {
                endless("200 OK", "{\"type\":\"")
            } else {
                list()
            }
        })
        .await;
        let wakes: Vec<_> = agent(server).watch().collect().await;
        assert!(
            matches!(wakes.last(), Some(Wake::Lost(why)) if why.contains("longer than 8 MiB")),
            "{wakes:?}"
        );
    }

    #[test]
    fn watches_and_logs_have_no_total_limit() {
        for (request, limit) in [
            ("/api/v1/pods?&watch=true&timeoutSeconds=290", Limit::Line(EVENT)),
            (
                "/api/v1/namespaces/n/pods/v0-0/log?&follow=true",
                Limit::Unlimited,
            ),
            ("/api/v1/pods?&labelSelector=a%3Db", Limit::Total(RESPONSE)),
            ("/version", Limit::Total(RESPONSE)),
        ] {
            assert_eq!(
                Limit::of(&request.parse().expect("an address")),
                limit,
                "{request}"
            );
        }
        let mut lines = LimitedBody {
            body: (),
            limit: Limit::Line(4),
            left: 4,
        };
        assert!(
            lines.count(b"123\n12") && lines.count(b"34") && lines.count(b"\n\n123") && !lines.count(b"45")
        );
        let mut total = LimitedBody {
            body: (),
            limit: Limit::Total(4),
            left: 4,
        };
        assert!(total.count(b"1\n2") && total.count(b"3") && !total.count(b"\n"));
    }
}
