//! The routes, by noun. Each names its path in full, so that a search for the path finds its handler.

mod accounts;
mod clusters;
mod hosts;
mod leases;
mod operations;
mod status;

use crate::{events, openapi, state::Server};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use chainpool_api::Operation;
use http::{HeaderValue, StatusCode, header};
use std::fmt::Display;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All routes with what they say of themselves.
pub(crate) fn all() -> OpenApiRouter<Server> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(hosts::host_list, hosts::host_create))
        .routes(routes!(hosts::host_show, hosts::host_update, hosts::host_delete))
        .routes(routes!(hosts::host_fillup))
        .routes(routes!(hosts::host_clean))
        .routes(routes!(hosts::host_reset))
        .routes(routes!(hosts::host_adopt))
        .routes(routes!(clusters::cluster_list, clusters::cluster_create))
        .routes(routes!(clusters::cluster_show, clusters::cluster_update, clusters::cluster_delete))
        .routes(routes!(clusters::cluster_start))
        .routes(routes!(clusters::cluster_stop))
        .routes(routes!(clusters::cluster_restart))
        .routes(routes!(clusters::cluster_reset))
        .routes(routes!(clusters::cluster_prove))
        .routes(routes!(clusters::cluster_amend))
        .routes(routes!(clusters::cluster_health))
        .routes(routes!(clusters::cluster_logs))
        .routes(routes!(leases::lease_list, leases::lease_apply))
        .routes(routes!(leases::lease_show, leases::lease_release))
        .routes(routes!(leases::lease_renew))
        .routes(routes!(leases::lease_bundle))
        .routes(routes!(operations::operation_list))
        .routes(routes!(operations::operation_show))
        .routes(routes!(events::operation_events))
        .routes(routes!(events::event_list))
        .routes(routes!(accounts::session_create, accounts::session_show, accounts::session_delete))
        .routes(routes!(accounts::password_set))
        .routes(routes!(accounts::account_list, accounts::account_create))
        .routes(routes!(accounts::account_delete))
        .routes(routes!(accounts::account_reset_link))
        .routes(routes!(accounts::token_list, accounts::token_create))
        .routes(routes!(accounts::token_delete))
        .routes(routes!(status::status_show))
        .routes(routes!(status::network_type_list))
        .routes(routes!(status::resume))
        .routes(routes!(status::backup))
        .routes(routes!(status::health))
        .routes(routes!(status::openapi))
}

/// 202: the operation was accepted, and where to see how far it is.
fn accepted(operation: &Operation) -> Response {
    located(StatusCode::ACCEPTED, "operations", operation.id, operation)
}

/// An answer that says where its noun can be found from now on.
fn located(status: StatusCode, nouns: &str, id: impl Display, body: &impl serde::Serialize) -> Response {
    let place = HeaderValue::try_from(format!("/api/v1/{nouns}/{id}")).expect("ids are visible ASCII");
    (status, [(header::LOCATION, place)], Json(body)).into_response()
}
