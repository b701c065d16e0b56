//! The pages that people work with: rendered on the server, live through server-sent events, whole without script.
//!
//! Every page and form goes through the same façade as REST. Nothing changes by GET; a form that is refused comes back
//! with its input and the reason at the field. One stylesheet, one small script, no build step for the browser.

mod account;
mod admin;
mod assets;
mod base_path;
mod clusters;
mod confirm;
mod error;
mod events;
mod form;
mod format;
mod hosts;
mod leases;
mod listing;
mod logs;
mod marks;
mod network_types;
mod operations;
mod page;
mod plan;
#[cfg(test)]
mod rendered;
#[cfg(test)]
mod samples;
mod search;
mod session;
mod site;
mod state;
mod status;

pub use site::{ANONYMOUS_BODY_LIMIT, Share, Shares, Site, holder};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::Redirect,
    routing::{get, post},
};
use chainpool_orchestrator::Orchestrator;
use state::App;

/// The dashboard's routes. The surrounding server may put an `Arc` of [`Site`] and axum's `ConnectInfo` into a request's
/// extensions: the first says how browsers reach the pages, the second is the address that the sign-in limit counts.
pub fn router(orchestrator: Orchestrator) -> Router {
    let app = App { orchestrator };
    let signed_in = Router::new()
        .route("/", get(|| async { Redirect::to("/status") }))
        .route("/status", get(status::show))
        .route("/search", get(search::show))
        .merge(hosts::routes())
        .merge(clusters::routes())
        .merge(leases::routes())
        .merge(operations::routes())
        .merge(admin::routes())
        .route("/network-types", get(network_types::list))
        .route("/account", get(account::show))
        .route("/account/tokens", post(account::token_create))
        .route("/account/tokens/{token}/delete", get(account::token_delete_plan).post(account::token_delete))
        .route("/events/stream", get(events::stream))
        .route("/sign-out", get(account::sign_out_plan).post(account::sign_out))
        .fallback(error::no_such_page)
        .layer(middleware::from_fn_with_state(app.clone(), session::require));
    let open = Router::new()
        .route("/sign-in", get(account::sign_in_page).post(account::sign_in))
        .route("/welcome", get(account::welcome).post(account::password_set))
        .route("/welcome/{link}", get(account::welcome_path))
        .route("/theme", post(account::theme))
        .layer(DefaultBodyLimit::max(ANONYMOUS_BODY_LIMIT))
        .layer(middleware::from_fn_with_state(app.clone(), session::anyone));
    Router::new()
        .merge(open)
        .merge(signed_in)
        .layer(middleware::from_fn(session::same_site_posts))
        .layer(middleware::from_fn(base_path::addresses))
        .layer(middleware::from_fn(page::security_headers))
        .route("/static/{file}", get(assets::serve))
        .with_state(app)
}
