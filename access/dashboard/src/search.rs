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
    let wanted = visit.query("q").map(|text| text.trim().to_owned()).unwrap_or_default();
    if let Ok(id) = wanted.parse::<Uuid>()
        && let Some(address) = by_id(&app, &visit, id).await
    {
        return Ok(see_other(&address));
    }
    let (mut hosts, mut clusters) = (Vec::new(), Vec::new());
    if !wanted.is_empty() {
        let own = (!visit.operates()).then(|| visit.caller.account.clone());
        let filter = api::ClusterFilter { search: Some(wanted.clone()), holder: own, limit: Some(50), ..api::ClusterFilter::default() };
        clusters = app.orchestrator.cluster_list(&filter).await?.items;
        if visit.operates() {
            let filter = api::HostFilter { search: Some(wanted.clone()), limit: Some(50), ..api::HostFilter::default() };
            hosts = app.orchestrator.host_list(&filter).await?.items;
        }
    }
    match (hosts.as_slice(), clusters.as_slice()) {
        ([host], []) => return Ok(see_other(&format!("/hosts/{}", host.name))),
        ([], [cluster]) => return Ok(see_other(&format!("/clusters/{}", cluster.name))),
        _ => {}
    }
    let frame = Frame::new(&app, &visit, "", "Search").await.crumb("Search", "");
    page::html(&SearchPage { frame, wanted, hosts, clusters })
}

async fn by_id(app: &App, visit: &Visit, id: Uuid) -> Option<String> {
    let text = id.to_string();
    if app.orchestrator.cluster_show(&visit.caller, &text).await.is_ok() {
        return Some(format!("/clusters/{id}"));
    }
    if app.orchestrator.lease_show(&visit.caller, id).await.is_ok() {
        return Some(format!("/leases/{id}"));
    }
    if app.orchestrator.operation_show(id).await.is_ok() {
        return Some(format!("/operations/{id}"));
    }
    if visit.operates() && app.orchestrator.host_show(&text).await.is_ok() {
        return Some(format!("/hosts/{id}"));
    }
    None
}
