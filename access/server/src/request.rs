//! The middleware of every request: request id, time limit, panics, error responses.

use crate::error::ApiError;
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
use http_body_util::BodyExt;
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
use tokio::runtime::Handle;
use uuid::Uuid;

/// Header of the request id, in requests and responses.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Time limit for the start of a response. Streams start at once and may then last.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Route of the backup, whose response starts only after the whole database was copied.
pub(crate) const BACKUP: &str = "/api/v1/backup";

/// Time limit for the start of a backup.
const BACKUP_TIME_LIMIT: Duration = Duration::from_mins(10);

/// Id of a request in the log, the audit and the response.
#[derive(Debug, Clone)]
struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id if it is safe to log, otherwise a new one.
    fn of(headers: &HeaderMap) -> Self {
        let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        match headers.get(REQUEST_ID) {
            Some(value) if (1..=64).contains(&value.len()) && value.as_bytes().iter().all(safe) => {
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
        self.0.to_str().expect("checked at creation")
    }
}

/// The request id inside the middleware, which has set the header.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned)
}

/// The request middleware. One layer instead of several, because each layer adds cost to every request.
pub(crate) async fn handle(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    request.headers_mut().insert(REQUEST_ID, id.0.clone());
    let read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let version = request.version();
    let request = request.map(|body| {
        Body::new(TrackedBody {
            body,
            read: Arc::clone(&read),
            drains: version <= Version::HTTP_11,
        })
    });
    let limit = if uri.path() == BACKUP {
        BACKUP_TIME_LIMIT
    } else {
        TIME_LIMIT
    };
    let mut response = with_deadline(limit, next.run(request)).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error_response(&response, error, &id, &method, &uri);
    }
    add_headers(response.headers_mut(), id, &uri);
    // After a response before the end of the body, the connection cannot be reused.
    if version <= Version::HTTP_11 && !read.load(Ordering::Relaxed) {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Time and bytes for which the rest of a body is read after an early response.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES: usize = 16 * 1024 * 1024;

/// A request body that records whether it was read to its end. On HTTP/1 the rest is read and discarded when it
/// is dropped early: if the connection were closed before, the client's next write would fail, and the client
/// would lose the response that it has not read yet.
struct TrackedBody {
    body: Body,
    read: Arc<AtomicBool>,
    drains: bool,
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        if !self.drains || self.read.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(drain(std::mem::take(&mut self.body)));
        }
    }
}

async fn drain(mut body: Body) {
    let all = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // After the time limit the connection is closed with the rest unread.
    let _ = tokio::time::timeout(DRAIN_TIME, all).await;
}

impl HttpBody for TrackedBody {
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

/// The response, or an error after a timeout or panic.
async fn with_deadline(limit: Duration, response: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(limit, AssertUnwindSafe(response).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => ApiError::from(Error::Internal(panic_message(&*panic).into())).into_response(),
        Err(_) => ApiError::timed_out(limit.as_secs()).into_response(),
    }
}

/// Logs the error and writes its body. Keeps existing headers such as `Allow`.
fn error_response(
    response: &Response,
    error: ApiError,
    id: &RequestId,
    method: &Method,
    uri: &Uri,
) -> Response {
    error.log(id.as_str(), method, uri.path());
    let mut written = (error.status(), Json(error.problem(id.as_str()))).into_response();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            written.headers_mut().insert(name, value.clone());
        }
    }
    written
}

/// Adds the headers of every response. API responses contain secrets and current state and must not be
/// cached.
fn add_headers(headers: &mut HeaderMap, id: RequestId, uri: &Uri) {
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

/// Message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", message.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware, routing::get};
    use chainpool_api::Problem;
    use http::StatusCode;
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
                get(async || with_deadline(Duration::ZERO, std::future::pending()).await),
            )
            .route("/api/full", get(async || ApiError::too_many(7)))
            .method_not_allowed_fallback(async || ApiError::no_method())
            .layer(middleware::from_fn(handle));
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
    async fn every_response_has_an_id_and_security_headers() {
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
                "{bad:?} was accepted"
            );
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_an_internal_error_without_its_message() {
        let (status, headers, body) = ask("/api/panics", None).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), problem.code.as_str()), (500, "internal"));
        assert_eq!(problem.request_id.as_deref(), headers[REQUEST_ID].to_str().ok());
        assert!(!problem.message.contains("wheel"));
    }

    #[tokio::test]
    async fn a_hanging_handler_times_out() {
        let (status, _, body) = ask("/api/hangs", None).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), problem.code.as_str()), (503, "timed_out"));
    }

    #[tokio::test]
    async fn an_error_response_keeps_its_headers() {
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
