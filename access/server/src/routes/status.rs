//! Routes of the whole installation: status, network types, resume, backup, health and OpenAPI document.

use crate::{
    auth::Auth,
    body_schema,
    error::{ApiError, ApiResult},
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

/// Show overall status.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "status",
    responses(
        (status = 200, description = "Pool, hosts, database, watchdog, and problems.", body = Status),
        (status = 403, description = "Role operator or admin required.", body = Problem),
    )
)]
pub(crate) async fn status_show(State(server): State<Server>, Auth(caller): Auth) -> ApiResult<Json<Status>> {
    Ok(Json(server.orchestrator.status(&caller).await?))
}

/// List network types.
///
/// Includes their parameters and presets.
#[utoipa::path(
    get, path = "/api/v1/network-types", tag = "status",
    responses((status = 200, description = "All network types.", body = Page<NetworkType>))
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

/// Resume after a restore.
///
/// Call this after inspecting the unclaimed objects: the server resumes filling and deleting. Free clusters
/// are reset, because they may have been used since the backup.
#[utoipa::path(
    post, path = "/api/v1/resume", tag = "status",
    responses(
        (status = 204, description = "Resumed."),
        (status = 403, description = "Role admin required.", body = Problem),
    )
)]
pub(crate) async fn resume(State(server): State<Server>, Auth(caller): Auth) -> ApiResult<StatusCode> {
    server.orchestrator.resume(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Create a backup.
///
/// Consistent copy of the database, without the master key.
#[utoipa::path(
    post, path = "/api/v1/backup", tag = "status",
    responses(
        (status = 200, description = "SQLite database.", content_type = "application/vnd.sqlite3", body = inline(body_schema::Bytes)),
        (status = 403, description = "Role admin required.", body = Problem),
    )
)]
pub(crate) async fn backup(State(server): State<Server>, Auth(caller): Auth) -> ApiResult<Response> {
    let file = tokio::fs::File::from_std(server.orchestrator.backup(&caller).await?);
    let (file, length) = rewound(file)
        .await
        .map_err(|error| ApiError::from(Error::Internal(error.into())))?;
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
        HeaderValue::try_from(name).expect("a date is visible ASCII"),
    );
    Ok(response)
}

/// Rewinds the file and returns its length, which lets the client detect a truncated download.
async fn rewound(mut file: tokio::fs::File) -> std::io::Result<(tokio::fs::File, u64)> {
    file.seek(SeekFrom::Start(0)).await?;
    let length = file.metadata().await?.len();
    Ok((file, length))
}

/// Check liveness.
///
/// Public, for supervisors without an account. `ok` while the server runs.
#[utoipa::path(
    get, path = "/healthz", tag = "status", security(()),
    responses((status = 200, description = "`ok`", content_type = "text/plain", body = String))
)]
pub(crate) async fn health() -> &'static str {
    "ok"
}

/// Show the OpenAPI document.
///
/// Public; contains nothing specific to the installation.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "status", security(()),
    responses((status = 200, description = "OpenAPI 3.1 document.", content_type = "application/json", body = Object))
)]
pub(crate) async fn openapi(State(server): State<Server>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        server.openapi(),
    )
}
