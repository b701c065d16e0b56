//! Operations. Their events are in `events.rs`.

use crate::{
    auth::Auth,
    error::Answer,
    query::{Path, Query, id},
    state::Server,
};
use axum::{Json, extract::State};
use chainpool_api::{Operation, OperationFilter, Page, Problem};

/// Lists operations.
///
/// To users those of one cluster that they hold, since they hold it.
#[utoipa::path(
    get, path = "/api/v1/operations", tag = "operations", params(OperationFilter),
    responses(
        (status = 200, description = "The operations, without their steps.", body = Page<Operation>),
        (status = 403, description = "Only operators and admins see all operations; others name a cluster.", body = Problem),
        (status = 404, description = "There is no host or cluster of the name in `host` or `cluster`.", body = Problem),
    )
)]
pub(crate) async fn operation_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<OperationFilter>,
) -> Answer<Json<Page<Operation>>> {
    Ok(Json(server.orchestrator.operation_list(&caller, &filter).await?))
}

/// Shows an operation.
///
/// With its steps. Users may read those that they asked for, and those on a cluster that they hold, since they hold it.
#[utoipa::path(
    get, path = "/api/v1/operations/{operation}", tag = "operations", params(("operation" = Uuid, Path, description = "Its id.")),
    responses((status = 200, description = "The operation.", body = Operation))
)]
pub(crate) async fn operation_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(operation): Path<String>,
) -> Answer<Json<Operation>> {
    Ok(Json(
        server
            .orchestrator
            .operation_show(&caller, id("operation", &operation)?)
            .await?,
    ))
}
