//! REST API over the façade: parses requests, authenticates callers and formats responses. It makes no
//! decisions.
//!
//! Every request passes one middleware (`request.rs`: id, time limit, errors), then a handler whose
//! extractors reject unauthenticated callers (`auth.rs`) and invalid input (`body.rs`, `query.rs`).

mod auth;
mod base_path;
mod body;
mod body_schema;
mod client_address;
mod config;
mod error;
mod events;
mod limits;
mod openapi;
mod proxy;
mod public_url;
mod query;
mod rate_limit;
mod request;
mod routes;
mod serve;
mod state;

pub use config::ServeConfig;
pub use limits::Limits;
pub use proxy::ProxyNetwork;
pub use public_url::{PublicUrl, http_url};
pub use routes::{openapi_json, routes};
pub use serve::{ServeError, router, serve};
