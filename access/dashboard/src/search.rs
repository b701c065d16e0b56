//! Search by name or ID.

use crate::{
    error::PageResult,
    page::{self, Frame},
    redirect::see_other,
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::extract::State;
use chainpool_api as api;
use chainpool_orchestrator::SearchResults;
use uuid::Uuid;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    query: String,
    hosts: Vec<api::Host>,
    clusters: Vec<api::Cluster>,
}

/// The results; redirects if there is exactly one.
pub(crate) async fn show(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let query = request
        .query("q")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default();
    if let Ok(id) = query.parse::<Uuid>()
        && let Some(noun) = app.orchestrator.search_id(&request.caller, id).await?
    {
        return Ok(see_other(&format!("/{}/{id}", section(noun))));
    }
    let SearchResults { hosts, clusters } = app.orchestrator.search(&request.caller, &query).await?;
    match (hosts.as_slice(), clusters.as_slice()) {
        ([host], []) => return Ok(see_other(&format!("/hosts/{}", host.name))),
        ([], [cluster]) => return Ok(see_other(&format!("/clusters/{}", cluster.name))),
        _ => {}
    }
    let frame = Frame::new(&app, &request, "", "Search").await.crumb("Search", "");
    page::html(&SearchPage {
        frame,
        query,
        hosts,
        clusters,
    })
}

/// The path of a noun's pages.
fn section(noun: api::Noun) -> &'static str {
    match noun {
        api::Noun::Host => "hosts",
        api::Noun::Cluster => "clusters",
        api::Noun::Lease => "leases",
        api::Noun::Operation => "operations",
    }
}
