//! Error pages: what to do next, and the request ID.

use crate::{
    error::{PageResult, Rejection},
    page::{self, Frame},
    request::{AuthedRequest, RequestInfo},
    state::App,
};
use askama::Template;
use axum::response::{IntoResponse, Response};
use chainpool_api::Problem;
use chainpool_orchestrator::Error;

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
