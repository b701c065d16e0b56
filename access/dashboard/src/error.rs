//! Rejected requests.

use axum::response::{IntoResponse, Response};
use chainpool_api::Problem;
use chainpool_orchestrator::Error;
use http::StatusCode;

/// The result of a page handler.
pub(crate) type PageResult = Result<Response, Rejection>;

/// A rejected request. The layer around the handlers renders the error page, because it knows the caller.
#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The error body.
    pub(crate) problem: Problem,
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        if let Error::Internal(cause) = &error {
            tracing::error!(
                error = cause.as_ref() as &(dyn std::error::Error + 'static),
                "a dashboard request failed"
            );
        }
        Self {
            status: StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            problem: error.problem(),
        }
    }
}

impl From<askama::Error> for Rejection {
    fn from(error: askama::Error) -> Self {
        Error::Internal(Box::new(error)).into()
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
