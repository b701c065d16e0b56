//! The frame around every request: its id, its time limit, what happens when it panics, and how a refusal is written.

use crate::error::Refusal;
use axum::{
    Json,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use chainpool_orchestrator::Error;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use uuid::Uuid;

/// The header that names a request, in and out.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Until an answer begins. What streams begins at once and may then last.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The route whose answer begins only after the whole database was copied.
pub(crate) const BACKUP: &str = "/api/v1/backup";

/// Until a backup begins.
const BACKUP_TIME_LIMIT: Duration = Duration::from_mins(10);

/// Names a request in the log, in the audit and in the answer.
#[derive(Debug, Clone)]
struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own when it is harmless in a log, else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        match headers.get(REQUEST_ID) {
            Some(value) if (1..=64).contains(&value.len()) && value.as_bytes().iter().all(harmless) => {
                Self(value.clone())
            }
            _ => {
                let id = Uuid::now_v7();
                let mut buffer = Uuid::encode_buffer();
                let text = id.hyphenated().encode_lower(&mut buffer);
                Self(HeaderValue::from_str(text).expect("a UUID is visible ASCII"))
            }
        }
    }

    fn as_str(&self) -> &str {
        self.0.to_str().expect("checked when it was made")
    }
}

/// The id of a request inside the frame, where the header holds the one that counts.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned)
}

/// The frame. Written as one middleware because each layer costs every request.
pub(crate) async fn frame(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    request.headers_mut().insert(REQUEST_ID, id.0.clone());
    let read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let version = request.version();
    let request = request.map(|body| {
        Body::new(Noted {
            body,
            read: Arc::clone(&read),
        })
    });
    let limit = if uri.path() == BACKUP {
        BACKUP_TIME_LIMIT
    } else {
        TIME_LIMIT
    };
    let mut response = within(limit, next.run(request)).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = refused(&response, refusal, &id, &method, &uri);
    }
    finish(response.headers_mut(), id, &uri);
    // The connection ends with an answer that came before the end of the body: a client must not use it for its next request.
    if version <= Version::HTTP_11 && !read.load(Ordering::Relaxed) {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request's body that notes whether it was read to its end.
struct Noted {
    body: Body,
    read: Arc<AtomicBool>,
}

impl HttpBody for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.read.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// An answer that comes in time and does not panic, or the refusal that says so.
async fn within(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(limit, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Refusal::from(Error::Internal(panic_message(&*panic).into())).into_response(),
        Err(_) => Refusal::timed_out(limit.as_secs()).into_response(),
    }
}

/// Logs the refusal and writes its body; headers that stand already, such as `Allow`, stay.
fn refused(response: &Response, refusal: Refusal, id: &RequestId, method: &Method, uri: &Uri) -> Response {
    refusal.log(id.as_str(), method, uri.path());
    let mut written = (refusal.status(), Json(refusal.problem(id.as_str()))).into_response();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            written.headers_mut().insert(name, value.clone());
        }
    }
    written
}

/// What every answer carries. Answers of the API hold secrets and moments, so nobody keeps them.
fn finish(headers: &mut HeaderMap, id: RequestId, uri: &Uri) {
    headers.insert(REQUEST_ID, id.0);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if uri.path().starts_with("/api/") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", said.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware, routing::get};
    use chainpool_api::Problem;
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn ask(path: &str, id: Option<&str>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let app = Router::new()
            .route("/api/ok", get(async || "ok"))
            .route(
                "/api/panics",
                get(async || -> &'static str { panic!("the wheel came off") }),
            )
            .route(
                "/api/hangs",
                get(async || within(Duration::ZERO, std::future::pending()).await),
            )
            .route("/api/full", get(async || Refusal::too_many(7)))
            .method_not_allowed_fallback(async || Refusal::no_method())
            .layer(middleware::from_fn(frame));
        let mut request = Request::builder().uri(path.trim_start_matches("POST "));
        if path.starts_with("POST ") {
            request = request.method(Method::POST);
        }
        if let Some(id) = id {
            request = request.header(REQUEST_ID, id);
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (
            parts.status,
            parts.headers,
            body.collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    #[tokio::test]
    async fn every_answer_carries_an_id_and_the_security_headers() {
        let (status, headers, _) = ask("/api/ok", Some("from-the-client.1")).await;
        assert_eq!(
            (status, headers[REQUEST_ID].to_str().unwrap()),
            (StatusCode::OK, "from-the-client.1")
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(headers[name], value);
        }
        for bad in ["a b", "{}", &"x".repeat(65)] {
            let (_, headers, _) = ask("/api/ok", Some(bad)).await;
            assert!(
                headers[REQUEST_ID].to_str().unwrap().parse::<Uuid>().is_ok(),
                "{bad:?} was taken over"
            );
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_names_the_request_and_not_the_panic() {
        let (status, headers, body) = ask("/api/panics", None).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), problem.code.as_str()), (500, "internal"));
        assert_eq!(problem.request_id.as_deref(), headers[REQUEST_ID].to_str().ok());
        assert!(!problem.message.contains("wheel"));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_given_up() {
        let (status, _, body) = ask("/api/hangs", None).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), problem.code.as_str()), (503, "timed_out"));
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_headers() {
        let (status, headers, _) = ask("/api/full", None).await;
        assert_eq!(
            (status.as_u16(), headers["retry-after"].to_str().unwrap()),
            (429, "7")
        );
        let (status, headers, body) = ask("POST /api/ok", None).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status.as_u16(), problem.code.as_str()),
            (405, "method_not_allowed")
        );
        assert_eq!(headers["allow"], "GET,HEAD");
        assert_eq!(headers["content-type"], "application/json");
    }
}
