//! Hosts.

use super::{accepted, located};
use crate::{
    auth::Auth,
    body::Asked,
    error::Answer,
    query::{Path, Query},
    state::Server,
};
use axum::{Json, extract::State, response::Response};
use chainpool_api::{
    Host, HostAdopt, HostCreate, HostFilter, HostForget, HostUpdate, Operation, Page, Problem,
};
use http::StatusCode;

/// Lists hosts.
#[utoipa::path(
    get, path = "/api/v1/hosts", tag = "hosts", params(HostFilter),
    responses(
        (status = 200, description = "The hosts.", body = Page<Host>),
        (status = 403, description = "Only operators and admins see hosts.", body = Problem),
    )
)]
pub(crate) async fn host_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<HostFilter>,
) -> Answer<Json<Page<Host>>> {
    Ok(Json(server.orchestrator.host_list(&caller, &filter).await?))
}

/// Registers a host.
///
/// It is probed first; nothing is stored when that fails.
#[utoipa::path(
    post, path = "/api/v1/hosts", tag = "hosts", request_body = HostCreate,
    responses(
        (status = 201, description = "The host. `Location` names it.", body = Host),
        (status = 403, description = "Only operators and admins register hosts.", body = Problem),
        (status = 409, description = "The name or the engine is registered already.", body = Problem),
    )
)]
pub(crate) async fn host_create(
    State(server): State<Server>,
    Asked { caller, body }: Asked<HostCreate>,
) -> Answer<Response> {
    let host = server.orchestrator.host_create(&caller, body).await?;
    Ok(located(StatusCode::CREATED, "hosts", host.id, &host))
}

/// Shows a host.
#[utoipa::path(
    get, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = String, Path, description = "Its name or id.")),
    responses(
        (status = 200, description = "The host.", body = Host),
        (status = 403, description = "Only operators and admins see hosts.", body = Problem),
    )
)]
pub(crate) async fn host_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> Answer<Json<Host>> {
    Ok(Json(server.orchestrator.host_show(&caller, &host).await?))
}

/// Changes a host.
///
/// What is absent stays.
#[utoipa::path(
    patch, path = "/api/v1/hosts/{host}", tag = "hosts", request_body = HostUpdate,
    params(("host" = String, Path, description = "Its name or id.")),
    responses(
        (status = 200, description = "The host as it is now.", body = Host),
        (status = 403, description = "Only operators and admins change hosts.", body = Problem),
        (status = 409, description = "The name is taken.", body = Problem),
    )
)]
pub(crate) async fn host_update(
    State(server): State<Server>,
    Path(host): Path<String>,
    Asked { caller, body }: Asked<HostUpdate>,
) -> Answer<Json<Host>> {
    Ok(Json(server.orchestrator.host_update(&caller, &host, body).await?))
}

/// Removes a host.
///
/// Refused while clusters exist, except that `forget` drops one that never returns.
#[utoipa::path(
    delete, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = String, Path, description = "Its name or id."), HostForget),
    responses(
        (status = 204, description = "It is gone."),
        (status = 403, description = "Only operators and admins remove hosts.", body = Problem),
        (status = 409, description = "Clusters exist there, or a host to be forgotten still answers.", body = Problem),
    )
)]
pub(crate) async fn host_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
    Query(query): Query<HostForget>,
) -> Answer<StatusCode> {
    server
        .orchestrator
        .host_delete(&caller, &host, query.forget.as_deref())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fills a host up.
///
/// Makes what is missing up to its capacity.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/fillup", tag = "hosts", params(("host" = String, Path, description = "Its name or id.")),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins fill hosts.", body = Problem),
        (status = 409, description = "Another operation on the host is under way, or it cannot be worked with.", body = Problem),
    )
)]
pub(crate) async fn host_fillup(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> Answer<Response> {
    Ok(accepted(&server.orchestrator.host_fillup(&caller, &host).await?))
}

/// Cleans a host.
///
/// Switches autofill off and deletes the free clusters; applied ones stay.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/clean", tag = "hosts", params(("host" = String, Path, description = "Its name or id.")),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins clean hosts.", body = Problem),
        (status = 409, description = "Another operation on the host is under way.", body = Problem),
    )
)]
pub(crate) async fn host_clean(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> Answer<Response> {
    Ok(accepted(&server.orchestrator.host_clean(&caller, &host).await?))
}

/// Resets a host.
///
/// Switches autofill off and drops everything of this instance there, and nothing else. Refused while clusters are applied.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/reset", tag = "hosts", params(("host" = String, Path, description = "Its name or id.")),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins reset hosts.", body = Problem),
        (status = 409, description = "Clusters are applied there.", body = Problem),
    )
)]
pub(crate) async fn host_reset(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(host): Path<String>,
) -> Answer<Response> {
    Ok(accepted(&server.orchestrator.host_reset(&caller, &host).await?))
}

/// Adopts unclaimed objects.
///
/// Takes over what carries our label and is unknown, in order to remove it.
#[utoipa::path(
    post, path = "/api/v1/hosts/{host}/adopt", tag = "hosts", request_body = HostAdopt,
    params(("host" = String, Path, description = "Its name or id.")),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins adopt objects.", body = Problem),
        (status = 409, description = "Another operation on the host is under way.", body = Problem),
    )
)]
pub(crate) async fn host_adopt(
    State(server): State<Server>,
    Path(host): Path<String>,
    Asked { caller, body }: Asked<HostAdopt>,
) -> Answer<Response> {
    Ok(accepted(
        &server.orchestrator.host_adopt(&caller, &host, body).await?,
    ))
}
