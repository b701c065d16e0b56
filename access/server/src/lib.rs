//! REST over the façade: parses what comes in, names who asks, and says what came of it. Decides nothing itself.
//!
//! A request goes through one frame (`request.rs`: id, time limit, refusals), then into a handler whose extractors
//! refuse the anonymous (`auth.rs`) and whatever is not exactly what the route takes (`body.rs`, `query.rs`).

mod auth;
mod base_path;
mod body;
mod body_schema;
mod error;
mod events;
mod limit;
mod openapi;
mod proxy;
mod public_url;
mod query;
mod request;
mod routes;
mod serve;
mod state;

pub use openapi::openapi_json;
pub use proxy::ProxyNetwork;
pub use public_url::{PublicUrl, http_url};
pub use routes::routes;
pub use serve::{Limits, ServeConfig, ServeError, router, serve};
