//! The route table: minimum access and handler of each page.

use crate::{
    account, admin, assets, clusters, error_page, events, hosts, leases, logs, network_types, operations,
    request::AuthedRequest, search, session, site::ANONYMOUS_BODY_LIMIT, state::App, status,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    handler::Handler,
    middleware::{self, Next},
    response::Redirect,
    routing::{self, MethodRouter},
};
use chainpool_api::Role;
use chainpool_orchestrator::Access;
use http::Method;

const ANYONE: Access = Access::Anyone;
const USER: Access = Access::AtLeast(Role::User);
const OPERATOR: Access = Access::AtLeast(Role::Operator);
const ADMIN: Access = Access::AtLeast(Role::Admin);

/// One route.
struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    handler: MethodRouter<App>,
}

fn get<H: Handler<T, App>, T: 'static>(access: Access, path: &'static str, handler: H) -> Route {
    Route {
        method: Method::GET,
        path,
        access,
        handler: routing::get(handler),
    }
}

fn post<H: Handler<T, App>, T: 'static>(access: Access, path: &'static str, handler: H) -> Route {
    Route {
        method: Method::POST,
        path,
        access,
        handler: routing::post(handler),
    }
}

/// The route table.
fn table() -> Vec<Route> {
    let mut all = account_and_admin();
    all.extend(hosts_and_clusters());
    all.extend(leases_and_operations());
    all
}

/// Sign-in, status, own account, administration.
fn account_and_admin() -> Vec<Route> {
    vec![
        get(ANYONE, "/sign-in", account::sign_in_page),
        post(ANYONE, "/sign-in", account::sign_in),
        get(ANYONE, "/welcome", account::welcome),
        post(ANYONE, "/welcome", account::password_set),
        get(ANYONE, "/welcome/{link}", account::welcome_path),
        post(ANYONE, "/theme", account::theme),
        get(ANYONE, "/static/{file}", assets::serve),
        get(USER, "/", async || Redirect::to("/status")),
        get(USER, "/status", status::show),
        get(USER, "/search", search::show),
        get(USER, "/network-types", network_types::list),
        get(USER, "/events/stream", events::stream),
        get(USER, "/account", account::show),
        post(USER, "/account/tokens", account::token_create),
        get(
            USER,
            "/account/tokens/{token}/delete",
            account::token_delete_preview,
        ),
        post(USER, "/account/tokens/{token}/delete", account::token_delete),
        get(USER, "/sign-out", account::sign_out_preview),
        post(USER, "/sign-out", account::sign_out),
        get(ADMIN, "/admin", admin::show),
        post(ADMIN, "/admin/accounts", admin::account_create),
        post(ADMIN, "/admin/accounts/{account}/reset-link", admin::reset_link),
        get(
            ADMIN,
            "/admin/accounts/{account}/delete",
            admin::account_delete_preview,
        ),
        post(ADMIN, "/admin/accounts/{account}/delete", admin::account_delete),
        post(ADMIN, "/admin/tokens", admin::token_create),
        post(ADMIN, "/admin/backup", admin::backup),
        get(ADMIN, "/admin/resume", admin::resume_preview),
        post(ADMIN, "/admin/resume", admin::resume),
    ]
}

fn hosts_and_clusters() -> Vec<Route> {
    vec![
        get(OPERATOR, "/hosts", hosts::list),
        post(OPERATOR, "/hosts", hosts::form::create),
        get(OPERATOR, "/hosts/new", hosts::form::new),
        get(OPERATOR, "/hosts/{host}", hosts::show),
        get(OPERATOR, "/hosts/{host}/edit", hosts::form::edit),
        post(OPERATOR, "/hosts/{host}/edit", hosts::form::update),
        post(OPERATOR, "/hosts/{host}/maintenance", hosts::form::maintenance),
        post(OPERATOR, "/hosts/{host}/resume", hosts::form::resume),
        get(OPERATOR, "/hosts/{host}/adopt", hosts::action::adopt_preview),
        post(OPERATOR, "/hosts/{host}/adopt", hosts::action::adopt),
        get(OPERATOR, "/hosts/{host}/{action}", hosts::action::preview),
        post(OPERATOR, "/hosts/{host}/{action}", hosts::action::run),
        get(USER, "/clusters", clusters::list),
        post(OPERATOR, "/clusters", clusters::form::create),
        get(OPERATOR, "/clusters/new", clusters::form::new),
        get(USER, "/clusters/{cluster}", clusters::show),
        get(USER, "/clusters/{cluster}/operations", clusters::operations),
        get(USER, "/clusters/{cluster}/health", clusters::health),
        get(USER, "/clusters/{cluster}/logs", logs::show),
        get(USER, "/clusters/{cluster}/logs/download", logs::download),
        get(USER, "/clusters/{cluster}/logs/stream", logs::stream),
        get(OPERATOR, "/clusters/{cluster}/amend", clusters::amend::edit),
        post(OPERATOR, "/clusters/{cluster}/amend", clusters::amend::amend),
        post(
            OPERATOR,
            "/clusters/{cluster}/maintenance",
            clusters::action::maintenance,
        ),
        get(USER, "/clusters/{cluster}/{action}", clusters::action::preview),
        post(USER, "/clusters/{cluster}/{action}", clusters::action::run),
    ]
}

fn leases_and_operations() -> Vec<Route> {
    vec![
        get(USER, "/leases", leases::list),
        post(USER, "/leases", leases::apply),
        get(USER, "/leases/{lease}", leases::show),
        get(USER, "/leases/{lease}/bundle", leases::show),
        get(USER, "/leases/{lease}/bundle.json", leases::bundle_json),
        get(USER, "/leases/{lease}/bundle.tar", leases::bundle_tar),
        get(USER, "/leases/{lease}/files/{file}", leases::file),
        post(USER, "/leases/{lease}/renew", leases::renew),
        get(USER, "/leases/{lease}/release", leases::release_preview),
        post(USER, "/leases/{lease}/release", leases::release),
        get(OPERATOR, "/operations", operations::list),
        get(USER, "/operations/{operation}", operations::show),
    ]
}

/// Every route of the dashboard, from the table that the router is built from: method, path and minimum
/// access.
pub fn routes() -> Vec<(Method, &'static str, Access)> {
    table()
        .into_iter()
        .map(
            |Route {
                 method, path, access, ..
             }| (method, path, access),
        )
        .collect()
}

/// The table as a router: public routes, and signed-in routes with a role check.
pub(crate) fn router(app: &App) -> Router<App> {
    let (mut public, mut signed_in) = (Router::new(), Router::new());
    for Route {
        method: _,
        path,
        access,
        handler,
    } in table()
    {
        match access {
            Access::Anyone => public = public.route(path, handler),
            Access::AtLeast(_) => {
                let permit =
                    middleware::from_fn(move |authed: AuthedRequest, request: Request, next: Next| {
                        session::permit(access, authed, request, next)
                    });
                signed_in = signed_in.route(path, handler.route_layer(permit));
            }
        }
    }
    let signed_in = signed_in
        .fallback(error_page::not_found)
        .layer(middleware::from_fn_with_state(
            app.clone(),
            session::require_sign_in,
        ));
    let public = public
        .layer(DefaultBodyLimit::max(ANONYMOUS_BODY_LIMIT))
        .layer(middleware::from_fn_with_state(app.clone(), session::allow_anyone));
    public.merge(signed_in)
}
