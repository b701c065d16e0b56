//! Routes of operations. Their event streams are in `events.rs`.

use crate::{
    auth::Auth,
    error::ApiResult,
    query::{Path, Query, id},
    state::Server,
};
use axum::{Json, extract::State};
use chainpool_api::{Operation, OperationFilter, Page, Problem};

/// List operations.
///
/// Users must name a cluster they hold, and see its operations since the start of the lease.
#[utoipa::path(
    get, path = "/api/v1/operations", tag = "operations", params(OperationFilter),
    responses(
        (status = 200, description = "Page of operations, without steps.", body = Page<Operation>),
        (status = 403, description = "Role operator or admin required, except with `cluster`.", body = Problem),
        (status = 404, description = "Unknown host or cluster in `host` or `cluster`.", body = Problem),
    )
)]
pub(crate) async fn operation_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<OperationFilter>,
) -> ApiResult<Json<Page<Operation>>> {
    Ok(Json(server.orchestrator.operation_list(&caller, &filter).await?))
}

/// Show an operation.
///
/// Includes its steps. Users see their own operations, and those of a cluster they hold since the start of
/// the lease.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}", tag = "operations", params(("operation" = Uuid, Path, description = "Operation id.")),
    responses((status = 200, description = "Operation.", body = Operation))
)]
pub(crate) async fn operation_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(operation): Path<String>,
) -> ApiResult<Json<Operation>> {
    Ok(Json(
        server
            .orchestrator
            .operation_show(&caller, id("operation", &operation)?)
            .await?,
    ))
}
