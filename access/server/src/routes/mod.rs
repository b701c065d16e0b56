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
use chainpool_api::{Operation, Role};
use chainpool_orchestrator::Access;
use http::{HeaderValue, Method, StatusCode, header};
use std::fmt::Display;
use utoipa::openapi::path::PathItem;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

const ANYONE: Access = Access::Anyone;
const USER: Access = Access::AtLeast(Role::User);
const OPERATOR: Access = Access::AtLeast(Role::Operator);
const ADMIN: Access = Access::AtLeast(Role::Admin);

/// THE table of routes: what each asks of its caller at least, and its handler, whose attribute names method and path.
/// The façade decides; this says what it decides, and the matrix test holds it to that.
fn table() -> Vec<(Access, UtoipaMethodRouter<Server>)> {
    vec![
        (OPERATOR, routes!(hosts::host_list)),
        (OPERATOR, routes!(hosts::host_create)),
        (OPERATOR, routes!(hosts::host_show)),
        (OPERATOR, routes!(hosts::host_update)),
        (OPERATOR, routes!(hosts::host_delete)),
        (OPERATOR, routes!(hosts::host_fillup)),
        (OPERATOR, routes!(hosts::host_clean)),
        (OPERATOR, routes!(hosts::host_reset)),
        (OPERATOR, routes!(hosts::host_adopt)),
        (USER, routes!(clusters::cluster_list)),
        (OPERATOR, routes!(clusters::cluster_create)),
        (USER, routes!(clusters::cluster_show)),
        (OPERATOR, routes!(clusters::cluster_update)),
        (OPERATOR, routes!(clusters::cluster_delete)),
        (USER, routes!(clusters::cluster_start)),
        (USER, routes!(clusters::cluster_stop)),
        (USER, routes!(clusters::cluster_restart)),
        (OPERATOR, routes!(clusters::cluster_reset)),
        (USER, routes!(clusters::cluster_prove)),
        (OPERATOR, routes!(clusters::cluster_amend)),
        (USER, routes!(clusters::cluster_health)),
        (USER, routes!(clusters::cluster_logs)),
        (USER, routes!(leases::lease_list)),
        (USER, routes!(leases::lease_apply)),
        (USER, routes!(leases::lease_show)),
        (USER, routes!(leases::lease_release)),
        (USER, routes!(leases::lease_renew)),
        (USER, routes!(leases::lease_bundle)),
        (USER, routes!(operations::operation_list)),
        (USER, routes!(operations::operation_show)),
        (USER, routes!(events::operation_events)),
        (USER, routes!(events::event_list)),
        (ANYONE, routes!(accounts::session_create)),
        (USER, routes!(accounts::session_show)),
        (USER, routes!(accounts::session_delete)),
        (ANYONE, routes!(accounts::password_set)),
        (ADMIN, routes!(accounts::account_list)),
        (ADMIN, routes!(accounts::account_create)),
        (ADMIN, routes!(accounts::account_delete)),
        (ADMIN, routes!(accounts::account_reset_link)),
        (USER, routes!(accounts::token_list)),
        (USER, routes!(accounts::token_create)),
        (USER, routes!(accounts::token_delete)),
        (OPERATOR, routes!(status::status_show)),
        (USER, routes!(status::network_type_list)),
        (ADMIN, routes!(status::resume)),
        (ADMIN, routes!(status::backup)),
        (ANYONE, routes!(status::health)),
        (ANYONE, routes!(status::openapi)),
    ]
}

/// All routes with what they say of themselves.
pub(crate) fn all() -> OpenApiRouter<Server> {
    let router = OpenApiRouter::with_openapi(openapi::base());
    table()
        .into_iter()
        .fold(router, |router, (_, route)| router.routes(route))
}

/// Every route of the API, from the table that the router is made of: method, path, and what it asks of its caller at least.
pub fn routes() -> Vec<(Method, String, Access)> {
    let mut routes = Vec::new();
    for (access, (_, paths, _)) in table() {
        for (path, item) in paths.paths {
            let PathItem {
                get,
                post,
                patch,
                delete,
                ..
            } = item;
            let methods = [
                (Method::GET, get),
                (Method::POST, post),
                (Method::PATCH, patch),
                (Method::DELETE, delete),
            ];
            let known = methods.into_iter().filter(|(_, operation)| operation.is_some());
            routes.extend(known.map(|(method, _)| (method, path.clone(), access)));
        }
    }
    routes
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
