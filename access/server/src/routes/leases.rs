//! Routes of leases.

use super::response::located;
use crate::{
    auth::Auth,
    body::AuthedJson,
    error::ApiResult,
    query::{Path, Query, id},
    state::Server,
};
use axum::{Json, extract::State, response::Response};
use chainpool_api::{Apply, Bundle, Lease, LeaseFilter, Page, Problem, Renew};
use http::StatusCode;

/// List leases.
///
/// Users see their own leases.
#[utoipa::path(
    get, path = "/api/v1/leases", tag = "leases", params(LeaseFilter),
    responses((status = 200, description = "Page of leases, including ended ones.", body = Page<Lease>))
)]
pub(crate) async fn lease_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<LeaseFilter>,
) -> ApiResult<Json<Page<Lease>>> {
    Ok(Json(server.orchestrator.lease_list(&caller, &filter).await?))
}

/// Lease a cluster.
///
/// Leases a free, healthy cluster that matches. Repeating the request returns the same lease, unless
/// `allow_multiple` is `true`.
#[utoipa::path(
    post, path = "/api/v1/leases", tag = "leases", request_body = Apply,
    responses(
        (status = 200, description = "Existing lease of the holder, with its `Location`.", body = Lease),
        (status = 201, description = "New lease, with its `Location`.", body = Lease),
        (status = 403, description = "No permission for another holder or for a lease without expiry.", body = Problem),
        (status = 409, description = "No matching free cluster; the message has the reason.", body = Problem),
    )
)]
pub(crate) async fn lease_apply(
    State(server): State<Server>,
    AuthedJson { caller, body }: AuthedJson<Apply>,
) -> ApiResult<Response> {
    let applied = server.orchestrator.lease_apply(&caller, body).await?;
    let status = if applied.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(located(status, "leases", applied.lease.id, &applied.lease))
}

/// Show a lease.
#[utoipa::path(
    get, path = "/api/v1/leases/{lease}", tag = "leases", params(("lease" = Uuid, Path, description = "Lease id.")),
    responses((status = 200, description = "Lease.", body = Lease))
)]
pub(crate) async fn lease_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(lease): Path<String>,
) -> ApiResult<Json<Lease>> {
    Ok(Json(
        server
            .orchestrator
            .lease_show(&caller, id("lease", &lease)?)
            .await?,
    ))
}

/// Renew a lease.
///
/// The new lifetime counts from the request.
#[utoipa::path(
    post, path = "/api/v1/leases/{lease}/renew", tag = "leases", request_body = Renew,
    params(("lease" = Uuid, Path, description = "Lease id.")),
    responses(
        (status = 200, description = "Renewed lease.", body = Lease),
        (status = 403, description = "No permission for a lease without expiry.", body = Problem),
        (status = 409, description = "Lease has ended.", body = Problem),
    )
)]
pub(crate) async fn lease_renew(
    State(server): State<Server>,
    Path(lease): Path<String>,
    AuthedJson { caller, body }: AuthedJson<Renew>,
) -> ApiResult<Json<Lease>> {
    Ok(Json(
        server
            .orchestrator
            .lease_renew(&caller, id("lease", &lease)?, body)
            .await?,
    ))
}

/// Release a lease.
///
/// The lease ends immediately; `operation_id` is the operation that resets the cluster with new keys.
#[utoipa::path(
    delete, path = "/api/v1/leases/{lease}", tag = "leases", params(("lease" = Uuid, Path, description = "Lease id.")),
    responses(
        (status = 200, description = "Ended lease.", body = Lease),
        (status = 409, description = "Lease has already ended.", body = Problem),
    )
)]
pub(crate) async fn lease_release(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(lease): Path<String>,
) -> ApiResult<Json<Lease>> {
    Ok(Json(
        server
            .orchestrator
            .lease_release(&caller, id("lease", &lease)?)
            .await?,
    ))
}

/// Show the bundle of a lease.
///
/// Connection details for its holder.
#[utoipa::path(
    get, path = "/api/v1/leases/{lease}/bundle", tag = "leases", params(("lease" = Uuid, Path, description = "Lease id.")),
    responses(
        (status = 200, description = "Bundle.", body = Bundle),
        (status = 409, description = "Lease has ended.", body = Problem),
    )
)]
pub(crate) async fn lease_bundle(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(lease): Path<String>,
) -> ApiResult<Json<Bundle>> {
    Ok(Json(
        server
            .orchestrator
            .lease_bundle(&caller, id("lease", &lease)?)
            .await?,
    ))
}
