//! Responses with the `Location` of their resource.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use chainpool_api::Operation;
use http::{HeaderValue, StatusCode, header};
use std::fmt::Display;

/// Response 202 with the accepted operation and its `Location`.
pub(super) fn accepted(operation: &Operation) -> Response {
    located(StatusCode::ACCEPTED, "operations", operation.id, operation)
}

/// A response with the `Location` of its resource.
pub(super) fn located(
    status: StatusCode,
    collection: &str,
    id: impl Display,
    body: &impl serde::Serialize,
) -> Response {
    let location =
        HeaderValue::try_from(format!("/api/v1/{collection}/{id}")).expect("ids are visible ASCII");
    (status, [(header::LOCATION, location)], Json(body)).into_response()
}
