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
mod routes;
#[cfg(test)]
mod samples;
mod search;
mod session;
mod site;
mod state;
mod status;

pub use routes::routes;
pub use site::{ANONYMOUS_BODY_LIMIT, Share, Shares, Site, holder};

use axum::{Router, middleware};
use chainpool_orchestrator::Orchestrator;
use state::App;

/// The dashboard's routes. The surrounding server may put an `Arc` of [`Site`] and axum's `ConnectInfo` into a request's
/// extensions: the first says how browsers reach the pages, the second is the address that the sign-in limit counts.
pub fn router(orchestrator: Orchestrator) -> Router {
    let app = App { orchestrator };
    routes::router(&app)
        .layer(middleware::from_fn(session::same_site_posts))
        .layer(middleware::from_fn(base_path::addresses))
        .layer(middleware::from_fn(page::security_headers))
        .with_state(app)
}
