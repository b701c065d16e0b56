//! Refusals: from the façade's error, or from our own checks, to a status and a problem body.
//!
//! A handler only says *why*. The frame around every request (`request.rs`) adds the request id, logs it once and
//! writes the body, so no refusal is logged twice or leaves without its id.

use axum::response::{IntoResponse, Response};
use chainpool_api::Problem;
use chainpool_orchestrator::Error;
use http::{HeaderValue, StatusCode, header};
use std::{collections::BTreeMap, sync::Arc};

/// Why a request was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal(Box<Why>);

#[derive(Debug, Clone)]
struct Why {
    status: StatusCode,
    problem: Problem,
    /// Seconds after which it may work.
    wait: Option<u64>,
    /// What really happened; for the log only.
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// A refusal with a code for programs and a message for people.
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem {
            code: code.into(),
            message: message.into(),
            fields: BTreeMap::new(),
            request_id: None,
        };
        Self(Box::new(Why {
            status,
            problem,
            wait: None,
            cause: None,
        }))
    }

    /// One field is wrong.
    pub(crate) fn field(field: &str, why: impl Into<String>) -> Self {
        Error::field(field, why).into()
    }

    /// The body is larger than what is taken.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {limit} bytes; send a smaller one"),
        )
    }

    /// There is no such route.
    pub(crate) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "route_not_found",
            "there is no such route; GET /api/v1/openapi.json lists them all",
        )
    }

    /// There is such a route, but not with this method.
    pub(crate) fn no_method() -> Self {
        let message = "this route does not take this method; the header Allow names those that it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// The time for an answer is over.
    pub(crate) fn timed_out(seconds: u64) -> Self {
        let message =
            format!("no answer within {seconds} s; it may have happened, so look before trying again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", message)
    }

    /// Too many requests.
    pub(crate) fn too_many(wait: u64) -> Self {
        Error::TooMany(wait).into()
    }

    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its body, with the name of the request.
    pub(crate) fn problem(mut self, request_id: &str) -> Problem {
        self.0.problem.request_id = Some(request_id.to_owned());
        self.0.problem
    }

    /// Logs it. Only what somebody must look into is loud; what the caller can mend is not ours to shout about.
    pub(crate) fn log(&self, request_id: &str, method: &http::Method, path: &str) {
        let Why {
            status,
            problem,
            cause,
            ..
        } = &*self.0;
        let (status, code, path) = (status.as_u16(), problem.code.as_str(), without_secret(path));
        match status {
            500 => {
                let cause = cause.as_deref().map(|cause| chain(cause)).unwrap_or_default();
                tracing::error!(request_id, %method, path, code, cause, "request failed");
            }
            501.. => {
                tracing::warn!(request_id, %method, path, code, message = problem.message, "request not answered")
            }
            _ => tracing::debug!(request_id, %method, path, status, code, "request refused"),
        }
    }
}

/// A path as it may be logged: what follows `/welcome/` lets its holder set a password.
fn without_secret(path: &str) -> &str {
    const WELCOME: &str = "/welcome/";
    if path.starts_with(WELCOME) { WELCOME } else { path }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.status()).expect("the façade's statuses are valid");
        let problem = error.problem();
        let wait = if let Error::TooMany(seconds) = error {
            Some(seconds.max(1))
        } else {
            None
        };
        let cause = if let Error::Internal(cause) = error {
            Some(Arc::from(cause))
        } else {
            None
        };
        Self(Box::new(Why {
            status,
            problem,
            wait,
            cause,
        }))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        if let Some(wait) = self.0.wait {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_keeps_its_cause_for_the_log_and_tells_nobody_else() {
        let refusal = Refusal::from(Error::Internal("disk full on /secret".into()));
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            refusal
                .0
                .cause
                .as_deref()
                .map(|cause| chain(cause))
                .unwrap_or_default()
                .contains("disk full")
        );
        assert!(
            !serde_json::to_string(&refusal.problem("r1"))
                .unwrap()
                .contains("disk full")
        );
    }

    #[test]
    fn a_welcome_link_is_not_logged() {
        assert_eq!(without_secret("/welcome/s3cret"), "/welcome/");
        assert_eq!(without_secret("/api/v1/hosts"), "/api/v1/hosts");
    }

    #[test]
    fn too_many_says_when_to_try_again() {
        let response = Refusal::too_many(0).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
