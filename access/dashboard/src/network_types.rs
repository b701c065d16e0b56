//! Network types: what can be made, and with which parameters.

use crate::{
    error::Outcome,
    page::{self, Frame},
    session::Visit,
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

/// All of them.
pub(crate) async fn list(State(app): State<App>, visit: Visit) -> Outcome {
    let frame = Frame::new(&app, &visit, "network-types", "Network types")
        .await
        .crumb("Network types", "/network-types");
    page::html(&TypesPage {
        frame,
        types: app.orchestrator.network_types(&visit.caller),
    })
}
