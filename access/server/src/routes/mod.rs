//! Routes, by resource. Every handler states its full path, which makes paths searchable.

mod accounts;
mod clusters;
mod hosts;
mod leases;
mod operations;
mod response;
mod status;

use crate::{events, openapi, state::Server};
use chainpool_api::Role;
use chainpool_orchestrator::Access;
use http::Method;
use utoipa::openapi::path::PathItem;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

const ANYONE: Access = Access::Anyone;
const USER: Access = Access::AtLeast(Role::User);
const OPERATOR: Access = Access::AtLeast(Role::Operator);
const ADMIN: Access = Access::AtLeast(Role::Admin);

/// The table of routes: minimum role and handler, whose attribute states method and path. The façade enforces
/// the roles; the matrix test checks that this table agrees.
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

/// All routes with their OpenAPI descriptions.
pub(crate) fn all() -> OpenApiRouter<Server> {
    let router = OpenApiRouter::with_openapi(openapi::base());
    table()
        .into_iter()
        .fold(router, |router, (_, route)| router.routes(route))
}

/// The OpenAPI document as JSON.
///
/// # Panics
/// Never: the document consists of strings only.
pub fn openapi_json() -> String {
    openapi_json_at("")
}

/// The OpenAPI document as JSON, for an API below a base path.
pub(crate) fn openapi_json_at(base: &str) -> String {
    openapi::json(all().into_openapi(), base)
}

/// Every route of the API: method, path and minimum role.
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
