//! Error pages: what to do next, and the request ID.

use crate::{
    page::{self, Frame},
    session::{AuthedRequest, RequestInfo},
    state::App,
};
use askama::Template;
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

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    heading: &'static str,
    problem: Problem,
}

/// Renders the error page for a rejected response; passes other responses through.
pub(crate) async fn render_rejection(
    app: &App,
    request: Option<&AuthedRequest>,
    info: &RequestInfo,
    mut response: Response,
) -> Response {
    let Some(Rejection { status, mut problem }) = response.extensions_mut().remove::<Rejection>() else {
        return response;
    };
    problem.request_id.get_or_insert_with(|| info.request_id.clone());
    let heading = match status.as_u16() {
        400 | 422 => "Invalid request",
        403 => "Permission denied",
        404 => "Not found",
        409 => "Conflict",
        429 => "Too many requests",
        503 => "Service unavailable",
        507 => "Server disk full",
        _ => "Internal error",
    };
    let frame = match request {
        Some(request) => Frame::new(app, request, "", heading).await,
        None => Frame::guest(info, heading),
    };
    match page::html(&ErrorPage {
        frame,
        heading,
        problem,
    }) {
        Ok(page) => (status, page).into_response(),
        Err(_) => status.into_response(),
    }
}

/// The response for an unknown address.
pub(crate) async fn not_found(request: AuthedRequest) -> PageResult {
    Err(Error::not_found("page", request.info.path).into())
}
