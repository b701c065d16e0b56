//! Leases: who holds which cluster until when.

use super::located;
use crate::{
    auth::Auth,
    body::Asked,
    error::Answer,
    query::{Path, Query, id},
    state::Server,
};
use axum::{Json, extract::State, response::Response};
use chainpool_api::{Apply, Bundle, Lease, LeaseFilter, Page, Problem, Renew};
use http::StatusCode;

/// Lists leases.
///
/// Users see their own.
#[utoipa::path(
    get, path = "/api/v1/leases", tag = "leases", params(LeaseFilter),
    responses((status = 200, description = "The leases, ended ones too.", body = Page<Lease>))
)]
pub(crate) async fn lease_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<LeaseFilter>,
) -> Answer<Json<Page<Lease>>> {
    Ok(Json(server.orchestrator.lease_list(&caller, &filter).await?))
}

/// Applies for a cluster.
///
/// Takes a free, healthy one that matches. Asking again gives the same one, unless `allow_multiple`.
#[utoipa::path(
    post, path = "/api/v1/leases", tag = "leases", request_body = Apply,
    responses(
        (status = 200, description = "The lease that the holder has already. `Location` names it.", body = Lease),
        (status = 201, description = "The lease. `Location` names it.", body = Lease),
        (status = 403, description = "For another holder, or without end, and the caller may not.", body = Problem),
        (status = 409, description = "Nothing that matches is free; the message says what would match.", body = Problem),
    )
)]
pub(crate) async fn lease_apply(
    State(server): State<Server>,
    Asked { caller, body }: Asked<Apply>,
) -> Answer<Response> {
    let applied = server.orchestrator.lease_apply(&caller, body).await?;
    let status = if applied.made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(located(status, "leases", applied.lease.id, &applied.lease))
}

/// Shows a lease.
#[utoipa::path(
    get, path = "/api/v1/leases/{lease}", tag = "leases", params(("lease" = Uuid, Path, description = "Its id.")),
    responses((status = 200, description = "The lease.", body = Lease))
)]
pub(crate) async fn lease_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(lease): Path<String>,
) -> Answer<Json<Lease>> {
    Ok(Json(
        server
            .orchestrator
            .lease_show(&caller, id("lease", &lease)?)
            .await?,
    ))
}

/// Renews a lease.
///
/// Its time is counted anew from now.
#[utoipa::path(
    post, path = "/api/v1/leases/{lease}/renew", tag = "leases", request_body = Renew,
    params(("lease" = Uuid, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The lease as it is now.", body = Lease),
        (status = 403, description = "Without end, and the caller may not.", body = Problem),
        (status = 409, description = "It has ended.", body = Problem),
    )
)]
pub(crate) async fn lease_renew(
    State(server): State<Server>,
    Path(lease): Path<String>,
    Asked { caller, body }: Asked<Renew>,
) -> Answer<Json<Lease>> {
    Ok(Json(
        server
            .orchestrator
            .lease_renew(&caller, id("lease", &lease)?, body)
            .await?,
    ))
}

/// Releases a lease.
///
/// It ends at once; `operation_id` names the operation that wipes the cluster and makes it again with new keys.
#[utoipa::path(
    delete, path = "/api/v1/leases/{lease}", tag = "leases", params(("lease" = Uuid, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The lease, ended.", body = Lease),
        (status = 409, description = "It has ended already.", body = Problem),
    )
)]
pub(crate) async fn lease_release(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(lease): Path<String>,
) -> Answer<Json<Lease>> {
    Ok(Json(
        server
            .orchestrator
            .lease_release(&caller, id("lease", &lease)?)
            .await?,
    ))
}

/// Gives the bundle of a lease.
///
/// Everything that its holder needs to connect.
#[utoipa::path(
    get, path = "/api/v1/leases/{lease}/bundle", tag = "leases", params(("lease" = Uuid, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The bundle.", body = Bundle),
        (status = 409, description = "The lease has ended.", body = Problem),
    )
)]
pub(crate) async fn lease_bundle(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(lease): Path<String>,
) -> Answer<Json<Bundle>> {
    Ok(Json(
        server
            .orchestrator
            .lease_bundle(&caller, id("lease", &lease)?)
            .await?,
    ))
}
