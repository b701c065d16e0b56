//! Error responses: a status and a problem body, from errors of the façade or of this crate.
//!
//! A handler only returns the error. The request middleware (`request.rs`) adds the request id, logs the
//! error once and writes the body.

use axum::response::{IntoResponse, Response};
use chainpool_api::Problem;
use chainpool_orchestrator::{Error, error_chain};
use http::{HeaderValue, StatusCode, header};
use std::{collections::BTreeMap, sync::Arc};

/// An error response.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    status: StatusCode,
    problem: Problem,
    /// Seconds until a retry may succeed.
    wait: Option<u64>,
    /// Internal cause, for the log only.
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with a machine-readable code and a human-readable message.
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem {
            code: code.into(),
            message: message.into(),
            fields: BTreeMap::new(),
            request_id: None,
        };
        Self(Box::new(Details {
            status,
            problem,
            wait: None,
            cause: None,
        }))
    }

    /// One invalid field.
    pub(crate) fn field(field: &str, why: impl Into<String>) -> Self {
        Error::field(field, why).into()
    }

    /// Body above the size limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {limit} bytes; send a smaller one"),
        )
    }

    /// Unknown route.
    pub(crate) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "route_not_found",
            "no such route; GET /api/v1/openapi.json lists all routes",
        )
    }

    /// Known route, wrong method.
    pub(crate) fn no_method() -> Self {
        let message = "method not allowed for this route; the header Allow lists the allowed methods";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// Request timeout.
    pub(crate) fn timed_out(seconds: u64) -> Self {
        let message =
            format!("timed out after {seconds} s; the request may have been executed, check before a retry");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", message)
    }

    /// Rate limit exceeded.
    pub(crate) fn too_many(wait: u64) -> Self {
        Error::TooMany(wait).into()
    }

    /// HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Response body, with the request id.
    pub(crate) fn problem(mut self, request_id: &str) -> Problem {
        self.0.problem.request_id = Some(request_id.to_owned());
        self.0.problem
    }

    /// Logs the error: server faults as error or warning, client errors at debug level.
    pub(crate) fn log(&self, request_id: &str, method: &http::Method, path: &str) {
        let Details {
            status,
            problem,
            cause,
            ..
        } = &*self.0;
        let (status, code, path) = (status.as_u16(), problem.code.as_str(), without_secret(path));
        match status {
            500 => {
                let cause = cause
                    .as_deref()
                    .map(|cause| error_chain(cause))
                    .unwrap_or_default();
                tracing::error!(request_id, %method, path, code, cause, "request failed");
            }
            501.. => {
                tracing::warn!(request_id, %method, path, code, message = problem.message, "request not served");
            }
            _ => tracing::debug!(request_id, %method, path, status, code, "request rejected"),
        }
    }
}

/// A path for the log, without the secret after `/welcome/`, which can set a password.
fn without_secret(path: &str) -> &str {
    const WELCOME: &str = "/welcome/";
    if path.starts_with(WELCOME) { WELCOME } else { path }
}

impl From<Error> for ApiError {
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
        Self(Box::new(Details {
            status,
            problem,
            wait,
            cause,
        }))
    }
}

impl IntoResponse for ApiError {
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
    fn the_cause_of_an_internal_error_is_logged_but_not_returned() {
        let error = ApiError::from(Error::Internal("disk full on /secret".into()));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            error
                .0
                .cause
                .as_deref()
                .map(|cause| error_chain(cause))
                .unwrap_or_default()
                .contains("disk full")
        );
        assert!(
            !serde_json::to_string(&error.problem("r1"))
                .unwrap()
                .contains("disk full")
        );
    }

    #[test]
    fn the_secret_of_a_welcome_link_is_not_logged() {
        assert_eq!(without_secret("/welcome/s3cret"), "/welcome/");
        assert_eq!(without_secret("/api/v1/hosts"), "/api/v1/hosts");
    }

    #[test]
    fn a_rate_limit_error_has_a_retry_after_header() {
        let response = ApiError::too_many(0).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
