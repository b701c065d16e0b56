//! The status page: problems, operations in progress, pool.

use crate::{
    error::PageResult,
    page::{self, Frame},
    request::AuthedRequest,
    state::App,
    status_badge::{self, StatusBadge},
};
use askama::Template;
use axum::extract::State;
use chainpool_api as api;

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    frame: Frame,
    status: api::Status,
    /// Unhealthy clusters, the worst first.
    unhealthy: Vec<api::Cluster>,
    /// Problems not shown with a host or cluster.
    problems: Vec<String>,
    /// The caller's leases.
    leases: Vec<api::Lease>,
}

impl StatusPage {
    /// True if the operation is already shown with its unhealthy cluster.
    fn is_listed(&self, operation: &api::Operation) -> bool {
        operation
            .cluster_id
            .is_some_and(|id| self.unhealthy.iter().any(|each| each.id == id))
    }

    /// The non-zero health counts as badges, each with the address of the filtered cluster list.
    fn health_counts(&self) -> Vec<(StatusBadge, &'static str)> {
        let pool = &self.status.pool;
        let all = [
            (
                pool.broken,
                status_badge::Indicator::Broken,
                "broken",
                "/clusters?health=broken",
            ),
            (
                pool.failed,
                status_badge::Indicator::Broken,
                "failed",
                "/clusters?state=failed",
            ),
            (
                pool.degraded,
                status_badge::Indicator::Degraded,
                "degraded",
                "/clusters?health=degraded",
            ),
            (
                pool.unknown,
                status_badge::Indicator::Unknown,
                "unknown",
                "/clusters?health=unknown",
            ),
            (
                pool.stopped,
                status_badge::Indicator::Stopped,
                "stopped",
                "/clusters?state=stopped",
            ),
            (
                pool.healthy,
                status_badge::Indicator::Healthy,
                "healthy",
                "/clusters?health=healthy",
            ),
        ];
        let some = all.into_iter().filter(|(count, ..)| *count > 0);
        some.map(|(count, indicator, label, link)| {
            (
                StatusBadge {
                    indicator,
                    label: format!("{count} {label}"),
                },
                link,
            )
        })
        .collect()
    }
}

/// True if the operation targets this cluster.
fn targets(operation: &api::Operation, cluster: &api::Cluster) -> bool {
    operation.cluster_id == Some(cluster.id)
}

/// The status page.
pub(crate) async fn show(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let status = app.orchestrator.overview(&request.caller).await?;
    let mut unhealthy = Vec::new();
    for (health, state) in [
        (Some(api::HealthState::Broken), None),
        (None, Some(api::ClusterState::Failed)),
        (Some(api::HealthState::Degraded), None),
        (Some(api::HealthState::Unknown), None),
    ] {
        let filter = api::ClusterFilter {
            health,
            state,
            limit: Some(10),
            ..api::ClusterFilter::default()
        };
        for cluster in app
            .orchestrator
            .cluster_list(&request.caller, &filter)
            .await?
            .items
        {
            if !unhealthy
                .iter()
                .any(|known: &api::Cluster| known.id == cluster.id)
                && status_badge::cluster(&cluster).indicator != status_badge::Indicator::Working
            {
                unhealthy.push(cluster);
            }
        }
    }
    let mine = api::LeaseFilter {
        state: Some(api::LeaseState::Active),
        holder: Some(request.caller.account.clone()),
        limit: Some(20),
        ..api::LeaseFilter::default()
    };
    let leases = app.orchestrator.lease_list(&request.caller, &mine).await?.items;
    let frame = if request.caller.operates() {
        Frame::of_status(&request, "status", "Status", &status)
    } else {
        Frame::new(&app, &request, "status", "Status").await
    };
    let problems = other_problems(&status, &unhealthy);
    let frame = frame
        .crumb("Status", "/status")
        .live("host cluster lease operation");
    page::html(&StatusPage {
        frame,
        status,
        unhealthy,
        problems,
        leases,
    })
}

/// Problems that are not already shown with a host or an unhealthy cluster.
fn other_problems(status: &api::Status, unhealthy: &[api::Cluster]) -> Vec<String> {
    let is_shown = |problem: &&String| {
        status
            .hosts
            .iter()
            .any(|host| host.problems.iter().any(|each| problem.contains(each.as_str())))
            || unhealthy.iter().any(|cluster| problem.contains(&cluster.name))
            || status
                .unclaimed
                .iter()
                .any(|each| problem.contains(&each.cluster_id.to_string()))
            || (status.paused && problem.starts_with("paused"))
    };
    status
        .problems
        .iter()
        .filter(|problem| !is_shown(problem))
        .cloned()
        .collect()
}
