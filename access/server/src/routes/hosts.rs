//! Routes of hosts.

use super::response::{accepted, located};
use crate::{
    auth::Auth,
    body::AuthedJson,
    error::ApiResult,
    query::{Path, Query},
    state::Server,
};
use axum::{Json, extract::State, response::Response};
use chainpool_api::{
    Host, HostAdopt, HostCreate, HostFilter, HostForget, HostUpdate, Operation, Page, Problem,
};
use http::StatusCode;

/// List hosts.
#[utoipa::path(
    get, path = "/api/v1/hosts", tag = "hosts", params(HostFilter),
    responses(
        (status = 200, description = "Page of hosts.", body = Page<Host>),
        (status = 403, description = "Role operator or admin required.", body = Problem),
    )
)]
pub(crate) async fn host_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<HostFilter>,
) -> ApiResult<Json<Page<Host>>> {
    Ok(Json(server.orchestrator.host_list(&caller, &filter).await?))
}

/// Register a host.
///
/// The server probes the host first and stores nothing if the probe fails.
#[utoipa::path(
    post, path = "/api/v1/hosts", tag = "hosts", request_body = HostCreate,
    responses(
        (status = 201, description = "New host, with its `Location`.", body = Host),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Name or engine already registered.", body = Problem),
    )
)]
pub(crate) async fn host_create(
    State(server): State<Server>,
    AuthedJson { caller, body }: AuthedJson<HostCreate>,
) -> ApiResult<Response> {
    let host = server.orchestrator.host_create(&caller, body).await?;
    Ok(located(StatusCode::CREATED, "hosts", host.id, &host))
}

/// Show a host.
#[utoipa::path(
    get, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = String, Path, description = "Host name or id.")),
    responses(
        (status = 200, description = "Host.", body = Host),
        (status = 403, description = "Role operator or admin required.", body = Problem),
    )
)]
pub(crate) async fn host_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> ApiResult<Json<Host>> {
    Ok(Json(server.orchestrator.host_show(&caller, &host).await?))
}

/// Update a host.
///
/// Absent fields keep their value.
#[utoipa::path(
    patch, path = "/api/v1/hosts/{host}", tag = "hosts", request_body = HostUpdate,
    params(("host" = String, Path, description = "Host name or id.")),
    responses(
        (status = 200, description = "Updated host.", body = Host),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Name already in use.", body = Problem),
    )
)]
pub(crate) async fn host_update(
    State(server): State<Server>,
    Path(host): Path<String>,
    AuthedJson { caller, body }: AuthedJson<HostUpdate>,
) -> ApiResult<Json<Host>> {
    Ok(Json(server.orchestrator.host_update(&caller, &host, body).await?))
}

/// Delete a host.
///
/// Requires a host without clusters, or `forget` for a permanently lost host.
#[utoipa::path(
    delete, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = String, Path, description = "Host name or id."), HostForget),
    responses(
        (status = 204, description = "Host deleted."),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Host has clusters, or `forget` names a reachable host.", body = Problem),
    )
)]
pub(crate) async fn host_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
    Query(query): Query<HostForget>,
) -> ApiResult<StatusCode> {
    server
        .orchestrator
        .host_delete(&caller, &host, query.forget.as_deref())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fill a host.
///
/// Creates clusters up to the host's capacity, according to its fill policy.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/fillup", tag = "hosts", params(("host" = String, Path, description = "Host name or id.")),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Another operation in progress on the host, or host unavailable.", body = Problem),
    )
)]
pub(crate) async fn host_fillup(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> ApiResult<Response> {
    Ok(accepted(&server.orchestrator.host_fillup(&caller, &host).await?))
}

/// Clean a host.
///
/// Disables autofill and deletes the free clusters. Leased clusters stay.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/clean", tag = "hosts", params(("host" = String, Path, description = "Host name or id.")),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Another operation in progress on the host.", body = Problem),
    )
)]
pub(crate) async fn host_clean(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> ApiResult<Response> {
    Ok(accepted(&server.orchestrator.host_clean(&caller, &host).await?))
}

/// Reset a host.
///
/// Disables autofill and deletes all objects of this instance, and nothing else. Requires a host without
/// leased clusters.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/reset", tag = "hosts", params(("host" = String, Path, description = "Host name or id.")),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Host has leased clusters.", body = Problem),
    )
)]
pub(crate) async fn host_reset(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> ApiResult<Response> {
    Ok(accepted(&server.orchestrator.host_reset(&caller, &host).await?))
}

/// Adopt unclaimed objects.
///
/// Adopts objects with this instance's label that are not in the database, and deletes them.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/adopt", tag = "hosts", request_body = HostAdopt,
    params(("host" = String, Path, description = "Host name or id.")),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Another operation in progress on the host.", body = Problem),
    )
)]
pub(crate) async fn host_adopt(
    State(server): State<Server>,
    Path(host): Path<String>,
    AuthedJson { caller, body }: AuthedJson<HostAdopt>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server.orchestrator.host_adopt(&caller, &host, body).await?,
    ))
}
