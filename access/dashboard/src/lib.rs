//! The web dashboard: rendered on the server, updated by server-sent events, fully usable without scripts.
//!
//! Every page and form uses the same façade as REST. GET changes nothing. A rejected form keeps its input and
//! shows the error at the field. One stylesheet, one small script, no build step for the browser.

mod account;
mod action_preview;
mod admin;
mod assets;
mod base_path;
mod clusters;
mod confirm;
mod cookie;
mod error;
mod error_page;
mod events;
mod form;
mod format;
mod hosts;
mod leases;
mod listing;
mod logs;
mod network_types;
mod operations;
mod page;
mod redirect;
mod request;
mod routes;
#[cfg(test)]
mod samples;
mod search;
mod session;
mod site;
mod state;
mod status;
mod status_badge;
#[cfg(test)]
mod template_tests;

pub use routes::routes;
pub use site::{ANONYMOUS_BODY_LIMIT, PerAddressLimit, Permit, Site, client_network};

use axum::{Router, middleware};
use chainpool_orchestrator::Orchestrator;
use state::App;

/// The dashboard's routes. The server may add an `Arc` of [`Site`] and axum's `ConnectInfo` to a request's
/// extensions: the first describes how browsers reach the pages, the second is the address that the sign-in
/// limit counts.
pub fn router(orchestrator: Orchestrator) -> Router {
    let app = App { orchestrator };
    routes::router(&app)
        .layer(middleware::from_fn(session::reject_cross_site))
        .layer(middleware::from_fn(base_path::prefix_addresses))
        .layer(middleware::from_fn(page::security_headers))
        .with_state(app)
}
