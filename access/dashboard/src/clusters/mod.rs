//! Clusters: the list, and one cluster with its evidence.

pub(crate) mod action;
pub(crate) mod amend;
pub(crate) mod form;
mod graph;

use crate::{
    error::Outcome,
    form::filter_word,
    listing::Listing,
    marks,
    page::{self, Frame},
    plan::ClusterAction,
    session::Visit,
    state::App,
};
use askama::Template;
use axum::extract::{Path, State};
use chainpool_api as api;
use graph::{Graph, Strip};

#[derive(Template)]
#[template(path = "clusters/list.html")]
struct ClustersPage {
    frame: Frame,
    listing: Listing,
    clusters: Vec<api::Cluster>,
    types: Vec<String>,
}

/// The list.
pub(crate) async fn list(State(app): State<App>, visit: Visit) -> Outcome {
    let listing = Listing::new(
        &visit,
        "/clusters",
        &["state", "health", "type", "host", "offered", "holder", "search"],
    );
    let filter = api::ClusterFilter {
        host: visit.query("host"),
        state: filter_word(&visit, "state")?,
        health: filter_word(&visit, "health")?,
        network_type: visit.query("type"),
        offered: visit.query("offered").map(|word| word == "true"),
        holder: visit.query("holder"),
        search: visit.query("search"),
        after: visit.query("after"),
        limit: None,
    };
    let found = app.orchestrator.cluster_list(&visit.caller, &filter).await?;
    let mut clusters = found.items;
    listing.sort(&mut clusters, |cluster, column| match column {
        "state" => Some((0, marks::cluster(cluster).word)),
        "name" => Some((0, cluster.name.clone())),
        "type" => Some((
            0,
            format!(
                "{} {}",
                cluster.network_type,
                cluster.preset.as_deref().unwrap_or_default()
            ),
        )),
        "host" => Some((0, cluster.host.clone())),
        "holder" => Some((0, cluster.holder.clone().unwrap_or_default())),
        "height" => Some((cluster.height.unwrap_or_default(), cluster.name.clone())),
        _ => None,
    });
    let frame = Frame::new(&app, &visit, "clusters", "Clusters")
        .await
        .crumb("Clusters", "/clusters")
        .live("cluster operation lease");
    let types = app
        .orchestrator
        .network_types(&visit.caller)
        .into_iter()
        .map(|each| each.name)
        .collect();
    page::html(&ClustersPage {
        frame,
        listing: listing.going_on(found.next),
        clusters,
        types,
    })
}

/// What every page of one cluster shows above its own part.
pub(crate) struct Head {
    /// The cluster.
    pub(crate) cluster: api::Cluster,
    /// Which part is shown.
    pub(crate) part: &'static str,
    operates: bool,
    amendable: bool,
}

impl Head {
    /// Reads the cluster; refused when it is not the caller's.
    pub(crate) async fn read(
        app: &App,
        visit: &Visit,
        cluster: &str,
        part: &'static str,
    ) -> Result<Self, chainpool_orchestrator::Error> {
        let cluster = app.orchestrator.cluster_show(&visit.caller, cluster).await?;
        let types = app.orchestrator.network_types(&visit.caller);
        let kind = types.iter().find(|kind| kind.name == cluster.network_type);
        let operates = visit.caller.operates();
        let amendable =
            operates && kind.is_some_and(|kind| kind.certificates || !amend::amendable(kind).is_empty());
        Ok(Self {
            cluster,
            part,
            operates,
            amendable,
        })
    }

    /// The frame of a page of this cluster.
    pub(crate) async fn frame(&self, app: &App, visit: &Visit) -> Frame {
        let name = &self.cluster.name;
        Frame::new(app, visit, "clusters", name)
            .await
            .crumb("Clusters", "/clusters")
            .crumb(name, format!("/clusters/{name}"))
    }

    /// The lease whose bundle the caller may take: who may read a cluster may use the lease on it.
    pub(crate) fn bundle(&self) -> Option<uuid::Uuid> {
        self.cluster.lease_id
    }

    /// Why it cannot be amended now, empty when it can; absent where its type or the caller's role does not allow it at all.
    pub(crate) fn amend(&self) -> Option<String> {
        // It needs what a proof needs: a network that is ready and left alone.
        self.amendable
            .then(|| ClusterAction::Prove.blocked(&self.cluster))
    }

    /// The buttons that the caller's role has: action and why it cannot be used now.
    pub(crate) fn actions(&self) -> Vec<(ClusterAction, String)> {
        use ClusterAction as A;
        let all: &[A] = if self.operates {
            &[A::Start, A::Stop, A::Restart, A::Prove, A::Reset, A::Delete]
        } else {
            &[A::Start, A::Stop, A::Restart, A::Prove]
        };
        let stopped = self.cluster.state == api::ClusterState::Stopped;
        let shown = all.iter().filter(|action| {
            if stopped {
                **action != A::Stop
            } else {
                **action != A::Start
            }
        });
        shown
            .map(|action| (*action, action.blocked(&self.cluster)))
            .collect()
    }
}

#[derive(Template)]
#[template(path = "clusters/show.html")]
struct ClusterPage {
    frame: Frame,
    head: Head,
    operation: Option<api::Operation>,
    recent: Vec<api::Operation>,
    graph: Option<Graph>,
    strip: Option<Strip>,
    changes: Vec<api::HealthChange>,
    lease: Option<api::Lease>,
}

/// Whether a node's process runs, as far as was seen.
fn runs(node: &api::Node) -> bool {
    node.evidence
        .as_ref()
        .is_some_and(|seen| matches!(seen.process.as_str(), "running" | "restarting" | "paused"))
}

/// One cluster.
pub(crate) async fn show(State(app): State<App>, visit: Visit, Path(cluster): Path<String>) -> Outcome {
    let head = Head::read(&app, &visit, &cluster, "nodes").await?;
    let id = head.cluster.id.to_string();
    let operation = match head.cluster.operation_id {
        Some(operation) => Some(app.orchestrator.operation_show(&visit.caller, operation).await?),
        None => None,
    };
    let filter = api::OperationFilter {
        cluster: Some(id.clone()),
        limit: Some(5),
        ..api::OperationFilter::default()
    };
    let recent = app
        .orchestrator
        .operation_list(&visit.caller, &filter)
        .await?
        .items;
    let mut changes = app.orchestrator.cluster_health(&visit.caller, &id).await?;
    let strip = Strip::of(&changes, api::Timestamp::now());
    changes.truncate(5);
    let lease = match head.bundle() {
        Some(lease) => app.orchestrator.lease_show(&visit.caller, lease).await.ok(),
        None => None,
    };
    let frame = head.frame(&app, &visit).await.live("cluster operation lease");
    let graph = Graph::of(&head.cluster);
    page::html(&ClusterPage {
        frame,
        head,
        operation,
        recent,
        graph,
        strip,
        changes,
        lease,
    })
}

#[derive(Template)]
#[template(path = "clusters/operations.html")]
struct ClusterOperationsPage {
    frame: Frame,
    head: Head,
    operations: Vec<api::Operation>,
    more: bool,
}

/// What was done with one cluster.
pub(crate) async fn operations(State(app): State<App>, visit: Visit, Path(cluster): Path<String>) -> Outcome {
    let head = Head::read(&app, &visit, &cluster, "operations").await?;
    let filter = api::OperationFilter {
        cluster: Some(head.cluster.id.to_string()),
        ..api::OperationFilter::default()
    };
    let found = app.orchestrator.operation_list(&visit.caller, &filter).await?;
    let frame = head
        .frame(&app, &visit)
        .await
        .crumb("Operations", "")
        .live("cluster operation");
    page::html(&ClusterOperationsPage {
        frame,
        head,
        operations: found.items,
        more: found.next.is_some(),
    })
}

#[derive(Template)]
#[template(path = "clusters/health.html")]
struct ClusterHealthPage {
    frame: Frame,
    head: Head,
    strip: Option<Strip>,
    changes: Vec<api::HealthChange>,
}

/// The history of one cluster's health.
pub(crate) async fn health(State(app): State<App>, visit: Visit, Path(cluster): Path<String>) -> Outcome {
    let head = Head::read(&app, &visit, &cluster, "health").await?;
    let changes = app
        .orchestrator
        .cluster_health(&visit.caller, &head.cluster.id.to_string())
        .await?;
    let frame = head
        .frame(&app, &visit)
        .await
        .crumb("Health history", "")
        .live("cluster");
    let strip = Strip::of(&changes, api::Timestamp::now());
    page::html(&ClusterHealthPage {
        frame,
        head,
        strip,
        changes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendered::{frame, keeps_the_rules, visit};

    fn page(cluster: api::Cluster) -> String {
        let head = Head {
            cluster,
            part: "nodes",
            operates: true,
            amendable: true,
        };
        let graph = Graph::of(&head.cluster);
        let frame = frame(api::Role::Operator);
        ClusterPage {
            frame,
            head,
            operation: None,
            recent: Vec::new(),
            graph,
            strip: None,
            changes: Vec::new(),
            lease: None,
        }
        .render()
        .unwrap()
    }

    #[test]
    fn a_cluster_shows_its_evidence_node_by_node() {
        let html = page(crate::samples::cluster("amber", api::HealthState::Degraded));
        keeps_the_rules(&html);
        for said in [
            "degraded",
            "3 of 4 validators answer",
            "exited 137",
            "no: connection refused",
            "AB12CD34EF56AB78CD90",
            "127.0.0.1:20001",
        ] {
            assert!(html.contains(said), "{said} in\n{html}");
        }
        assert_eq!(
            html.matches("<line ").count(),
            3,
            "the three that answer are joined"
        );
    }

    #[test]
    fn a_node_that_answers_and_not_its_users_says_so() {
        let mut cluster = crate::samples::cluster("amber", api::HealthState::Degraded);
        let before = page(cluster.clone());
        assert!(!before.contains("not on the port for users"), "{before}");
        cluster.nodes[0].evidence.as_mut().unwrap().closed_to_users = Some("no answer within 2 s".into());
        let html = page(cluster);
        assert!(
            html.contains(
                "yes, <span class=\"wrong\">but not on the port for users: no answer within 2 s</span>"
            ),
            "{html}"
        );
        let healthy = |html: &str| html.matches("<span class=\"state is-healthy\">").count();
        assert_eq!(
            healthy(&html) + 1,
            healthy(&before),
            "its mark is no healthy one\n{html}"
        );
    }

    #[test]
    fn a_height_that_was_seen_long_ago_has_its_age_beside_it() {
        let list = |checked_at: api::Timestamp| {
            let mut cluster = crate::samples::cluster("amber", api::HealthState::Healthy);
            cluster.health.checked_at = Some(checked_at);
            let listing = Listing::new(&visit(api::Role::Operator, "/clusters"), "/clusters", &[]);
            ClustersPage {
                frame: frame(api::Role::Operator),
                listing,
                clusters: vec![cluster],
                types: Vec::new(),
            }
            .render()
            .unwrap()
        };
        let (now, before) = (api::Timestamp::now(), api::Timestamp::now().plus_seconds(-7200));
        assert!(
            list(before).contains("2 h ago") && !list(before).contains(">1200</td>"),
            "{}",
            list(before)
        );
        assert!(list(now).contains(">1200</td>"), "{}", list(now));
    }

    #[test]
    fn the_proof_says_through_which_node_it_was_read() {
        let mut cluster = crate::samples::cluster("amber", api::HealthState::Healthy);
        assert!(page(cluster.clone()).contains("<b>the same node</b>"));
        let proof = cluster.proof.as_mut().unwrap();
        proof.read_from = "node1".into();
        let html = page(cluster.clone());
        assert!(
            html.contains("through <b>node1</b>") && !html.contains("the same node"),
            "{html}"
        );
        cluster.proof = None;
        assert!(page(cluster).contains("Not proven yet"));
    }
}
