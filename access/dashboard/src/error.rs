//! What was refused, as a page: what to do next, and the request's id.

use crate::{
    page::{self, Frame},
    session::{Manner, Visit},
    state::App,
};
use askama::Template;
use axum::response::{IntoResponse, Response};
use chainpool_api::Problem;
use chainpool_orchestrator::Error;
use http::StatusCode;

/// What a handler answers.
pub(crate) type Outcome = Result<Response, Refused>;

/// Why a request was refused. The layer around the handlers draws the page, since it knows who asks.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    /// The HTTP status that says the same.
    pub(crate) status: StatusCode,
    /// What is said.
    pub(crate) problem: Problem,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        if let Error::Internal(cause) = &error {
            tracing::error!(
                error = cause.as_ref() as &(dyn std::error::Error + 'static),
                "a page could not be answered"
            );
        }
        Self {
            status: StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            problem: error.problem(),
        }
    }
}

impl From<askama::Error> for Refused {
    fn from(error: askama::Error) -> Self {
        Error::Internal(Box::new(error)).into()
    }
}

impl IntoResponse for Refused {
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

/// Draws the page for a response that was refused; passes others on.
pub(crate) async fn refused_page(
    app: &App,
    visit: Option<&Visit>,
    manner: &Manner,
    mut response: Response,
) -> Response {
    let Some(Refused { status, mut problem }) = response.extensions_mut().remove::<Refused>() else {
        return response;
    };
    problem
        .request_id
        .get_or_insert_with(|| manner.request_id.clone());
    let heading = match status.as_u16() {
        400 | 422 => "That cannot be done as it was asked",
        403 => "Not allowed",
        404 => "Not found",
        409 => "Not now",
        429 => "Too many tries",
        503 => "Something that is needed does not answer",
        507 => "The server's disk is full",
        _ => "Something went wrong",
    };
    let frame = match visit {
        Some(visit) => Frame::new(app, visit, "", heading).await,
        None => Frame::guest(manner, heading),
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

/// The answer for an address that is no page.
pub(crate) async fn no_such_page(visit: Visit) -> Outcome {
    Err(Error::not_found("page", visit.manner.path).into())
}
