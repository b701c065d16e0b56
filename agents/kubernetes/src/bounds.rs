//! How much of an answer is read: what answers at an address may be no API server, and may never end.

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use kube::client::Body as Sent;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::{BoxError, Layer, Service, layer::layer_fn};

/// The most that one answer may be, in bytes: a list of a crowded cluster is some MiB.
const ANSWER: usize = 64 << 20;
/// The same for one event of a watch: an object is 1.5 MiB at most (etcd: `--max-request-bytes`).
const EVENT: usize = 8 << 20;
/// The same for words about what went wrong.
const WORDS: usize = 64 << 10;

/// Bounds the answers that a client gets.
pub(crate) fn layer<S>() -> impl Layer<S, Service = Bounding<S>> {
    layer_fn(Bounding)
}

/// The way to a server, with bounded answers.
pub(crate) struct Bounding<S>(S);

impl<S, B> Service<Request<Sent>> for Bounding<S>
where
    S: Service<Request<Sent>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Bounded<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        let asked = Bound::of(request.uri());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let status = answer.status();
            let bound = if status.is_client_error() || status.is_server_error() {
                Bound::Whole(WORDS)
            } else {
                asked
            };
            Ok(answer.map(|body| Bounded {
                body,
                bound,
                left: bound.most(),
            }))
        })
    }
}

/// What of an answer is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// All of it, in bytes.
    Whole(usize),
    /// Each of its lines, of which there may be any number.
    Line(usize),
    /// Nothing: its reader holds no more than a part.
    Nothing,
}

impl Bound {
    /// The bound for what is asked for, when it is told.
    fn of(asked: &Uri) -> Self {
        if asked
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
        {
            Self::Line(EVENT)
        } else if asked.path().ends_with("/log") {
            Self::Nothing
        } else {
            Self::Whole(ANSWER)
        }
    }

    fn most(self) -> usize {
        match self {
            Self::Whole(most) | Self::Line(most) => most,
            Self::Nothing => usize::MAX,
        }
    }
}

/// The body of an answer, which ends with an error where it goes beyond its bound.
pub(crate) struct Bounded<B> {
    body: B,
    bound: Bound,
    left: usize,
}

impl<B> Bounded<B> {
    /// Counts what came; false when it is too much.
    fn count(&mut self, data: &[u8]) -> bool {
        let fresh = match self.bound {
            Bound::Nothing => return true,
            Bound::Whole(_) => None,
            Bound::Line(_) => data.iter().rposition(|byte| *byte == b'\n'),
        };
        let (left, read) = fresh.map_or((self.left, data.len()), |end| {
            (self.bound.most(), data.len() - end - 1)
        });
        let left = left.checked_sub(read);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    fn too_much(&self) -> BoxError {
        let most = self.bound.most();
        let most = if most < 1 << 20 {
            format!("{} KiB", most >> 10)
        } else {
            format!("{} MiB", most >> 20)
        };
        match self.bound {
            Bound::Line(_) => {
                format!("an event of its watch is longer than {most}, which no API server's is")
            }
            _ => format!("its answer is longer than {most}, which no API server's is"),
        }
        .into()
    }
}

impl<B> Body for Bounded<B>
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
        Poll::Ready(Some(if fits { Ok(frame) } else { Err(self.too_much()) }))
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
        server::CALL,
        stranger::{Answer, agent, answer, stranger},
    };
    use chainpool_agent::{Agent, Wake};
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::ListParams;

    /// The begin of an answer whose end is that of its connection.
    fn endless(status: &str, begin: &str) -> Answer {
        Answer {
            bytes: format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{begin}"),
            more: Some(vec![b'x'; 1 << 20]),
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        for (status, most) in [("200 OK", "64 MiB"), ("500 Internal Server Error", "64 KiB")] {
            let server = stranger(move |_| endless(status, "{\"gitVersion\":\"")).await;
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
                    error.to_string().contains(&format!("longer than {most}")),
                    "{status}: {error}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_watch_whose_event_does_not_end_is_lost() {
        let list = || {
            answer(
                "200 OK",
                "application/json",
                r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#,
            )
        };
        let server = stranger(move |asked| {
            if asked.contains("watch=true") {
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
    fn a_watch_and_a_log_may_last() {
        for (asked, bound) in [
            ("/api/v1/pods?&watch=true&timeoutSeconds=290", Bound::Line(EVENT)),
            ("/api/v1/namespaces/n/pods/v0-0/log?&follow=true", Bound::Nothing),
            ("/api/v1/pods?&labelSelector=a%3Db", Bound::Whole(ANSWER)),
            ("/version", Bound::Whole(ANSWER)),
        ] {
            assert_eq!(Bound::of(&asked.parse().expect("an address")), bound, "{asked}");
        }
        let mut lines = Bounded {
            body: (),
            bound: Bound::Line(4),
            left: 4,
        };
        assert!(
            lines.count(b"123\n12") && lines.count(b"34") && lines.count(b"\n\n123") && !lines.count(b"45")
        );
        let mut whole = Bounded {
            body: (),
            bound: Bound::Whole(4),
            left: 4,
        };
        assert!(whole.count(b"1\n2") && whole.count(b"3") && !whole.count(b"\n"));
    }
}
