//! Search by name or id.

use crate::{
    error::Outcome,
    page::{self, Frame, see_other},
    session::Visit,
    state::App,
};
use askama::Template;
use axum::extract::State;
use chainpool_api as api;
use chainpool_orchestrator::Found;
use uuid::Uuid;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    wanted: String,
    hosts: Vec<api::Host>,
    clusters: Vec<api::Cluster>,
}

/// What was found; the one thing itself when there is one only.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Outcome {
    let wanted = visit
        .query("q")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default();
    if let Ok(id) = wanted.parse::<Uuid>()
        && let Some(noun) = app.orchestrator.search_id(&visit.caller, id).await?
    {
        return Ok(see_other(&format!("/{}/{id}", section(noun))));
    }
    let Found { hosts, clusters } = app.orchestrator.search(&visit.caller, &wanted).await?;
    match (hosts.as_slice(), clusters.as_slice()) {
        ([host], []) => return Ok(see_other(&format!("/hosts/{}", host.name))),
        ([], [cluster]) => return Ok(see_other(&format!("/clusters/{}", cluster.name))),
        _ => {}
    }
    let frame = Frame::new(&app, &visit, "", "Search").await.crumb("Search", "");
    page::html(&SearchPage {
        frame,
        wanted,
        hosts,
        clusters,
    })
}

/// Where the pages of a noun are.
fn section(noun: api::Noun) -> &'static str {
    match noun {
        api::Noun::Host => "hosts",
        api::Noun::Cluster => "clusters",
        api::Noun::Lease => "leases",
        api::Noun::Operation => "operations",
    }
}
