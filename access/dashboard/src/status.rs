//! The first page: what is wrong, what is being done, what the pool has.

use crate::{
    error::Outcome,
    marks::{self, Marked},
    page::{self, Frame},
    session::Visit,
    state::App,
};
use askama::Template;
use axum::extract::State;
use chainpool_api as api;

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    frame: Frame,
    status: api::Status,
    /// Clusters that are not well, the worst first.
    ill: Vec<api::Cluster>,
    /// What is wrong beside the clusters.
    problems: Vec<String>,
    /// What the caller holds.
    leases: Vec<api::Lease>,
}

impl StatusPage {
    /// Whether an operation's cluster has a row of its own, which shows the operation too.
    fn is_said(&self, operation: &api::Operation) -> bool {
        operation
            .cluster_id
            .is_some_and(|id| self.ill.iter().any(|each| each.id == id))
    }

    /// The verdicts that are not nought: mark, count, word, and the list that it counts.
    fn verdicts(&self) -> Vec<(Marked, &'static str)> {
        let pool = &self.status.pool;
        let all = [
            (
                pool.broken,
                marks::Mark::Broken,
                "broken",
                "/clusters?health=broken",
            ),
            (
                pool.failed,
                marks::Mark::Broken,
                "failed",
                "/clusters?state=failed",
            ),
            (
                pool.degraded,
                marks::Mark::Degraded,
                "degraded",
                "/clusters?health=degraded",
            ),
            (
                pool.unknown,
                marks::Mark::Unknown,
                "unknown",
                "/clusters?health=unknown",
            ),
            (
                pool.stopped,
                marks::Mark::Stopped,
                "stopped",
                "/clusters?state=stopped",
            ),
            (
                pool.healthy,
                marks::Mark::Healthy,
                "healthy",
                "/clusters?health=healthy",
            ),
        ];
        let some = all.into_iter().filter(|(count, ..)| *count > 0);
        some.map(|(count, mark, word, link)| {
            (
                Marked {
                    mark,
                    word: format!("{count} {word}"),
                },
                link,
            )
        })
        .collect()
    }
}

/// Whether an operation is this cluster's.
fn works_on(operation: &api::Operation, cluster: &api::Cluster) -> bool {
    operation.cluster_id == Some(cluster.id)
}

/// The first page.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Outcome {
    let status = app.orchestrator.overview(&visit.caller).await?;
    let mut ill = Vec::new();
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
        for cluster in app.orchestrator.cluster_list(&visit.caller, &filter).await?.items {
            if !ill.iter().any(|known: &api::Cluster| known.id == cluster.id)
                && marks::cluster(&cluster).mark != marks::Mark::Working
            {
                ill.push(cluster);
            }
        }
    }
    let mine = api::LeaseFilter {
        state: Some(api::LeaseState::Active),
        holder: Some(visit.caller.account.clone()),
        limit: Some(20),
        ..api::LeaseFilter::default()
    };
    let leases = app.orchestrator.lease_list(&visit.caller, &mine).await?.items;
    let frame = if visit.caller.operates() {
        Frame::of_status(&visit, "status", "Status", &status)
    } else {
        Frame::new(&app, &visit, "status", "Status").await
    };
    let problems = beside(&status, &ill);
    let frame = frame
        .crumb("Status", "/status")
        .live("host cluster lease operation");
    page::html(&StatusPage {
        frame,
        status,
        ill,
        problems,
        leases,
    })
}

/// Problems that no host's and no ill cluster's row says already.
fn beside(status: &api::Status, ill: &[api::Cluster]) -> Vec<String> {
    let said = |problem: &&String| {
        status
            .hosts
            .iter()
            .any(|host| host.problems.iter().any(|each| problem.contains(each.as_str())))
            || ill.iter().any(|cluster| problem.contains(&cluster.name))
            || status
                .unclaimed
                .iter()
                .any(|each| problem.contains(&each.cluster_id.to_string()))
            || (status.paused && problem.starts_with("paused"))
    };
    status
        .problems
        .iter()
        .filter(|problem| !said(problem))
        .cloned()
        .collect()
}
