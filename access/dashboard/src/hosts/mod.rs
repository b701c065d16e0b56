//! Hosts: the list, and one host.

pub(crate) mod action;
pub(crate) mod form;

use crate::{
    action_preview::HostAction,
    error::PageResult,
    form::filter_word,
    listing::Listing,
    page::{self, Frame},
    request::AuthedRequest,
    state::App,
};
use askama::Template;
use axum::extract::{Path, State};
use chainpool_api as api;

#[derive(Template)]
#[template(path = "hosts/list.html")]
struct HostsPage {
    frame: Frame,
    listing: Listing,
    platforms: Vec<api::Platform>,
    hosts: Vec<api::Host>,
}

/// The list.
pub(crate) async fn list(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let filter = api::HostFilter {
        state: filter_word(&request, "state")?,
        platform: filter_word(&request, "type")?,
        search: request.query("search"),
        after: request.query("after"),
        limit: None,
    };
    let listing = Listing::new(&request, "/hosts", &["state", "type", "search"]);
    let found = app.orchestrator.host_list(&request.caller, &filter).await?;
    let mut hosts = found.items;
    listing.sort(&mut hosts, |host, column| match column {
        "name" => Some((0, host.name.clone())),
        "state" => Some((0, host.state.to_string())),
        "clusters" => Some((host.clusters, host.name.clone())),
        "free" => Some((host.offered, host.name.clone())),
        _ => None,
    });
    let frame = Frame::new(&app, &request, "hosts", "Hosts")
        .await
        .crumb("Hosts", "/hosts")
        .live("host cluster operation");
    page::html(&HostsPage {
        frame,
        listing: listing.with_next(found.next),
        platforms: app.orchestrator.platforms(&request.caller)?,
        hosts,
    })
}

#[derive(Template)]
#[template(path = "hosts/show.html")]
struct HostPage {
    frame: Frame,
    host: api::Host,
    problems: Vec<String>,
    counts: Option<api::Counts>,
    clusters: Vec<api::Cluster>,
    more_clusters: bool,
    operations: Vec<api::Operation>,
    unclaimed: Vec<api::Unclaimed>,
}

impl HostPage {
    /// The actions, each with the reason if it is blocked.
    fn actions(&self) -> Vec<(HostAction, String)> {
        use HostAction as A;
        let last = if self.host.state == api::HostState::Unreachable {
            A::Forget
        } else {
            A::Delete
        };
        [A::Fillup, A::Clean, A::Reset, last]
            .map(|action| (action, action.blocked(&self.host)))
            .into()
    }

    fn can_fill(&self) -> bool {
        HostAction::Fillup.blocked(&self.host).is_empty()
    }
}

/// One host.
pub(crate) async fn show(
    State(app): State<App>,
    request: AuthedRequest,
    Path(host): Path<String>,
) -> PageResult {
    let host = app.orchestrator.host_show(&request.caller, &host).await?;
    let status = app.orchestrator.status(&request.caller).await?;
    let of_host = api::ClusterFilter {
        host: Some(host.name.clone()),
        ..api::ClusterFilter::default()
    };
    let clusters = app.orchestrator.cluster_list(&request.caller, &of_host).await?;
    let recent = api::OperationFilter {
        host: Some(host.name.clone()),
        limit: Some(8),
        ..api::OperationFilter::default()
    };
    let operations = app
        .orchestrator
        .operation_list(&request.caller, &recent)
        .await?
        .items;
    let frame = Frame::of_status(&request, "hosts", &host.name, &status)
        .crumb("Hosts", "/hosts")
        .crumb(&host.name, format!("/hosts/{}", host.name))
        .live("host cluster operation");
    let host_status = status.hosts.into_iter().find(|each| each.name == host.name);
    let (mut problems, counts) =
        host_status.map_or((Vec::new(), None), |each| (each.problems, Some(each.counts)));
    problems.retain(|problem| host.reason.is_empty() || !problem.contains(&host.reason));
    let unclaimed = status
        .unclaimed
        .into_iter()
        .filter(|each| each.host == host.name)
        .collect();
    let more_clusters = clusters.next.is_some();
    page::html(&HostPage {
        frame,
        host,
        problems,
        counts,
        clusters: clusters.items,
        more_clusters,
        operations,
        unclaimed,
    })
}
