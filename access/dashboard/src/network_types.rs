//! Network types with their parameters and presets.

use crate::{
    error::PageResult,
    page::{self, Frame},
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::extract::State;
use chainpool_api as api;

#[derive(Template)]
#[template(path = "network_types.html")]
struct TypesPage {
    frame: Frame,
    types: Vec<api::NetworkType>,
}

/// The list.
pub(crate) async fn list(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let frame = Frame::new(&app, &request, "network-types", "Network types")
        .await
        .crumb("Network types", "/network-types");
    page::html(&TypesPage {
        frame,
        types: app.orchestrator.network_types(&request.caller),
    })
}
