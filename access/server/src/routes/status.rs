//! The state of the whole, and what is the same for everybody.

use crate::{
    auth::Auth,
    body_schema,
    error::{Answer, Refusal},
    openapi::openapi_json_at,
    state::Server,
};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use chainpool_api::{NetworkType, Page, Problem, Status, Timestamp};
use chainpool_orchestrator::Error;
use http::{HeaderValue, StatusCode, header};
use std::io::SeekFrom;
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;

/// Shows the state of the whole.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "status",
    responses(
        (status = 200, description = "The pool, the hosts, the database, the watchdog, and what is wrong.", body = Status),
        (status = 403, description = "Only operators and admins see it.", body = Problem),
    )
)]
pub(crate) async fn status_show(State(server): State<Server>, Auth(caller): Auth) -> Answer<Json<Status>> {
    Ok(Json(server.orchestrator.status(&caller).await?))
}

/// Lists network types.
///
/// What can be made, and with which parameters.
#[utoipa::path(
    get, path = "/api/v1/network-types", tag = "status",
    responses((status = 200, description = "All of them.", body = Page<NetworkType>))
)]
pub(crate) async fn network_type_list(
    State(server): State<Server>,
    Auth(caller): Auth,
) -> Json<Page<NetworkType>> {
    Json(Page {
        items: server.orchestrator.network_types(&caller),
        next: None,
    })
}

/// Ends the pause after a restore.
///
/// Somebody has looked at what is unclaimed; from now on Chainpool fills and deletes again. Free clusters are made
/// again, since they may have been used after the backup.
#[utoipa::path(
    post, path = "/api/v1/resume", tag = "status",
    responses(
        (status = 204, description = "It goes on."),
        (status = 403, description = "Only admins end it.", body = Problem),
    )
)]
pub(crate) async fn resume(State(server): State<Server>, Auth(caller): Auth) -> Answer<StatusCode> {
    server.orchestrator.resume(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a backup.
///
/// A consistent copy of the database, never with the master key.
#[utoipa::path(
    post, path = "/api/v1/backup", tag = "status",
    responses(
        (status = 200, description = "The copy.", content_type = "application/vnd.sqlite3", body = inline(body_schema::Bytes)),
        (status = 403, description = "Only admins take backups.", body = Problem),
    )
)]
pub(crate) async fn backup(State(server): State<Server>, Auth(caller): Auth) -> Answer<Response> {
    let file = tokio::fs::File::from_std(server.orchestrator.backup(&caller).await?);
    let (file, length) = rewound(file)
        .await
        .map_err(|error| Refusal::from(Error::Internal(error.into())))?;
    let mut response = Response::new(Body::from_stream(ReaderStream::new(file)));
    let day = Timestamp::now().to_string();
    let name = format!("attachment; filename=\"chainpool-{}.db\"", &day[..10]);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.sqlite3"),
    );
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::try_from(name).expect("a day is visible ASCII"),
    );
    Ok(response)
}

/// The file from its beginning, with its length, so that the client sees when the end is missing.
async fn rewound(mut file: tokio::fs::File) -> std::io::Result<(tokio::fs::File, u64)> {
    file.seek(SeekFrom::Start(0)).await?;
    let length = file.metadata().await?.len();
    Ok((file, length))
}

/// Says that the process serves.
///
/// Open, because what looks after processes has no account; it tells nothing else.
#[utoipa::path(
    get, path = "/healthz", tag = "status", security(()),
    responses((status = 200, description = "`ok`", content_type = "text/plain", body = String))
)]
pub(crate) async fn health() -> &'static str {
    "ok"
}

/// Describes this API.
///
/// Open, because it is the same for everybody and tells nothing about this installation.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "status", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object))
)]
pub(crate) async fn openapi(State(server): State<Server>) -> impl IntoResponse {
    let text = server
        .openapi
        .get_or_init(|| openapi_json_at(&server.site.base).into());
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        text.clone(),
    )
}
