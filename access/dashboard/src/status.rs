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
use std::collections::HashSet;

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

/// The maximum number of hosts in the table; the list of hosts has pages.
const HOSTS: usize = 100;

impl StatusPage {
    /// The hosts in the table. If there are too many, those with problems come first.
    fn shown_hosts(&self) -> Vec<&api::HostStatus> {
        let mut hosts: Vec<_> = self.status.hosts.iter().collect();
        if hosts.len() > HOSTS {
            hosts.sort_by_key(|host| host.problems.is_empty());
            hosts.truncate(HOSTS);
        }
        hosts
    }

    /// True if there are hosts that the table does not contain.
    fn has_more_hosts(&self) -> bool {
        self.status.hosts.len() > HOSTS
    }

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
    let of_hosts: HashSet<&str> = status
        .hosts
        .iter()
        .flat_map(|host| host.problems.iter().map(String::as_str))
        .collect();
    let is_shown = |problem: &&String| {
        of_hosts.contains(problem.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template_tests::{assert_page_policy, frame};
    use std::collections::BTreeMap;

    fn page(hosts: usize) -> String {
        let host = |index: usize| api::HostStatus {
            name: format!("h{index}"),
            state: api::HostState::Active,
            problems: (index == hosts - 1)
                .then(|| "its disk is full".to_owned())
                .into_iter()
                .collect(),
            counts: api::Counts::default(),
            checked_at: None,
        };
        let status = api::Status {
            ok: false,
            problems: vec!["its disk is full".to_owned(), "database: damaged".to_owned()],
            version: "1".to_owned(),
            instance: "i".to_owned(),
            paused: false,
            started_at: api::Timestamp::now(),
            pool: api::Counts::default(),
            by_type: BTreeMap::new(),
            hosts: (0..hosts).map(host).collect(),
            database: api::DatabaseStatus {
                ok: true,
                message: "ok".to_owned(),
                size_bytes: 0,
                disk_free_bytes: None,
                checked_at: None,
            },
            watchdog: api::WatchdogStatus {
                last_pass_at: None,
                last_pass_ms: 0,
                lag_ms: 0,
            },
            unclaimed: Vec::new(),
            running: Vec::new(),
        };
        let page = StatusPage {
            frame: frame(api::Role::Operator),
            problems: other_problems(&status, &[]),
            status,
            unhealthy: Vec::new(),
            leases: Vec::new(),
        };
        page.render().unwrap()
    }

    #[test]
    fn a_long_table_of_hosts_begins_with_those_with_problems_and_links_to_all() {
        let (all, some) = (page(HOSTS), page(HOSTS + 1));
        let rows = |html: &str| html.matches("<tr data-key=").count();
        assert_page_policy(&some);
        assert_eq!((rows(&all), rows(&some)), (HOSTS, HOSTS));
        assert!(
            some.contains("All 101 hosts") && !all.contains("All 100 hosts"),
            "{some}"
        );
        let last = format!("<tr data-key=\"h{HOSTS}\">");
        let (before, _) = some.split_once(&last).expect("the host with a problem");
        assert_eq!(rows(before), 0, "it is the first row");
    }

    #[test]
    fn the_problem_of_a_host_is_shown_once() {
        let html = page(2);
        assert_eq!(html.matches("its disk is full").count(), 1, "{html}");
        assert_eq!(html.matches("database: damaged").count(), 1, "{html}");
    }
}
