//! Clusters: the list, and one cluster with its health evidence.

pub(crate) mod action;
pub(crate) mod amend;
pub(crate) mod form;
mod map;
mod timeline;

use crate::{
    action_preview::ClusterAction,
    error::PageResult,
    form::filter_word,
    listing::Listing,
    page::{self, Frame},
    request::AuthedRequest,
    state::App,
    status_badge,
};
use askama::Template;
use axum::extract::{Path, State};
use chainpool_api as api;
use map::Map;
use timeline::Timeline;

#[derive(Template)]
#[template(path = "clusters/list.html")]
struct ClustersPage {
    frame: Frame,
    listing: Listing,
    clusters: Vec<api::Cluster>,
    types: Vec<String>,
}

/// The list.
pub(crate) async fn list(State(app): State<App>, request: AuthedRequest) -> PageResult {
    let listing = Listing::new(
        &request,
        "/clusters",
        &["state", "health", "type", "host", "offered", "holder", "search"],
    );
    let filter = api::ClusterFilter {
        host: request.query("host"),
        state: filter_word(&request, "state")?,
        health: filter_word(&request, "health")?,
        network_type: request.query("type"),
        offered: request.query("offered").map(|word| word == "true"),
        holder: request.query("holder"),
        search: request.query("search"),
        after: request.query("after"),
        limit: None,
    };
    let found = app.orchestrator.cluster_list(&request.caller, &filter).await?;
    let mut clusters = found.items;
    listing.sort(&mut clusters, |cluster, column| match column {
        "state" => Some((0, status_badge::cluster(cluster).label)),
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
    let frame = Frame::new(&app, &request, "clusters", "Clusters")
        .await
        .crumb("Clusters", "/clusters")
        .live("cluster operation lease");
    let types = app
        .orchestrator
        .network_types(&request.caller)
        .into_iter()
        .map(|each| each.name)
        .collect();
    page::html(&ClustersPage {
        frame,
        listing: listing.with_next(found.next),
        clusters,
        types,
    })
}

/// The header shared by all pages of a cluster.
pub(crate) struct Head {
    /// The cluster.
    pub(crate) cluster: api::Cluster,
    /// The selected tab.
    pub(crate) tab: &'static str,
    operates: bool,
    amendable: bool,
}

impl Head {
    /// Reads the cluster; fails if the caller may not see it.
    pub(crate) async fn read(
        app: &App,
        request: &AuthedRequest,
        cluster: &str,
        tab: &'static str,
    ) -> Result<Self, chainpool_orchestrator::Error> {
        let cluster = app.orchestrator.cluster_show(&request.caller, cluster).await?;
        let types = app.orchestrator.network_types(&request.caller);
        let kind = types.iter().find(|kind| kind.name == cluster.network_type);
        let operates = request.caller.operates();
        let amendable =
            operates && kind.is_some_and(|kind| kind.certificates || !amend::amendable(kind).is_empty());
        Ok(Self {
            cluster,
            tab,
            operates,
            amendable,
        })
    }

    /// The frame of a page of this cluster.
    pub(crate) async fn frame(&self, app: &App, request: &AuthedRequest) -> Frame {
        let name = &self.cluster.name;
        Frame::new(app, request, "clusters", name)
            .await
            .crumb("Clusters", "/clusters")
            .crumb(name, format!("/clusters/{name}"))
    }

    /// The lease whose bundle the caller may read: access to a cluster includes access to its lease.
    pub(crate) fn bundle(&self) -> Option<uuid::Uuid> {
        self.cluster.lease_id
    }

    /// Why amending is blocked, empty if it is not; `None` if the network type or the caller's role does not
    /// allow it.
    pub(crate) fn amend(&self) -> Option<String> {
        // Amending has the same preconditions as a proof: ready, and no operation in progress.
        self.amendable
            .then(|| ClusterAction::Prove.blocked(&self.cluster))
    }

    /// The actions available to the caller's role, each with the reason if it is blocked.
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
    map: Option<Map>,
    timeline: Option<Timeline>,
    changes: Vec<api::HealthChange>,
    lease: Option<api::Lease>,
}

/// True if a node's process was running when last observed.
fn runs(node: &api::Node) -> bool {
    node.evidence
        .as_ref()
        .is_some_and(|evidence| evidence.process.has_started())
}

/// One cluster.
pub(crate) async fn show(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> PageResult {
    let head = Head::read(&app, &request, &cluster, "nodes").await?;
    let id = head.cluster.id.to_string();
    let operation = match head.cluster.operation_id {
        Some(operation) => Some(
            app.orchestrator
                .operation_show(&request.caller, operation)
                .await?,
        ),
        None => None,
    };
    let filter = api::OperationFilter {
        cluster: Some(id.clone()),
        limit: Some(5),
        ..api::OperationFilter::default()
    };
    let recent = app
        .orchestrator
        .operation_list(&request.caller, &filter)
        .await?
        .items;
    let mut changes = app.orchestrator.cluster_health(&request.caller, &id).await?;
    let timeline = Timeline::of(&changes, api::Timestamp::now());
    changes.truncate(5);
    let lease = match head.bundle() {
        Some(lease) => app.orchestrator.lease_show(&request.caller, lease).await.ok(),
        None => None,
    };
    let frame = head.frame(&app, &request).await.live("cluster operation lease");
    let map = Map::of(&head.cluster);
    page::html(&ClusterPage {
        frame,
        head,
        operation,
        recent,
        map,
        timeline,
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

/// The operations of one cluster.
pub(crate) async fn operations(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> PageResult {
    let head = Head::read(&app, &request, &cluster, "operations").await?;
    let filter = api::OperationFilter {
        cluster: Some(head.cluster.id.to_string()),
        ..api::OperationFilter::default()
    };
    let found = app.orchestrator.operation_list(&request.caller, &filter).await?;
    let frame = head
        .frame(&app, &request)
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
    timeline: Option<Timeline>,
    changes: Vec<api::HealthChange>,
}

/// The health history of one cluster.
pub(crate) async fn health(
    State(app): State<App>,
    request: AuthedRequest,
    Path(cluster): Path<String>,
) -> PageResult {
    let head = Head::read(&app, &request, &cluster, "health").await?;
    let changes = app
        .orchestrator
        .cluster_health(&request.caller, &head.cluster.id.to_string())
        .await?;
    let frame = head
        .frame(&app, &request)
        .await
        .crumb("Health history", "")
        .live("cluster");
    let timeline = Timeline::of(&changes, api::Timestamp::now());
    page::html(&ClusterHealthPage {
        frame,
        head,
        timeline,
        changes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template_tests::{assert_page_policy, frame, request};

    fn page(cluster: api::Cluster) -> String {
        let head = Head {
            cluster,
            tab: "nodes",
            operates: true,
            amendable: true,
        };
        let map = Map::of(&head.cluster);
        let frame = frame(api::Role::Operator);
        ClusterPage {
            frame,
            head,
            operation: None,
            recent: Vec::new(),
            map,
            timeline: None,
            changes: Vec::new(),
            lease: None,
        }
        .render()
        .unwrap()
    }

    #[test]
    fn a_cluster_shows_the_evidence_of_each_node() {
        let html = page(crate::samples::cluster("amber", api::HealthState::Degraded));
        assert_page_policy(&html);
        for text in [
            "degraded",
            "3 of 4 validators respond",
            "exited 137",
            "no: connection refused",
            "AB12CD34EF56AB78CD90",
            "127.0.0.1:20001",
        ] {
            assert!(html.contains(text), "{text} in\n{html}");
        }
    }

    #[test]
    fn a_cluster_shows_the_sections_and_the_drawing_of_its_network_type() {
        let html = page(crate::samples::fabric_cluster());
        assert_page_policy(&html);
        for text in [
            "<h2>Topology</h2>",
            "channel ch1, orderer0 leads",
            "<s>peer0-org2</s>",
            "peer, exited 137",
            "peer0-org1 has joined channel ch2, attention",
            "calls basic (problem)",
            "<h2>Channels</h2>",
            "<th scope=\"col\">leader</th>",
            "<th scope=\"row\">ch2</th><td>9</td><td>none</td>",
        ] {
            assert!(html.contains(text), "{text} in\n{html}");
        }
        let other = page(crate::samples::cluster("amber", api::HealthState::Healthy));
        assert!(!other.contains("Topology"), "{other}");
    }

    #[test]
    fn a_node_with_an_unreachable_public_endpoint_is_reported() {
        let mut cluster = crate::samples::cluster("amber", api::HealthState::Degraded);
        let before = page(cluster.clone());
        assert!(!before.contains("not on the client port"), "{before}");
        cluster.nodes[0].evidence.as_mut().unwrap().closed_to_users = Some("no answer within 2 s".into());
        let html = page(cluster);
        assert!(
            html.contains(
                "yes, <span class=\"wrong\">but not on the client port: no answer within 2 s</span>"
            ),
            "{html}"
        );
        let healthy = |html: &str| html.matches("<span class=\"state is-healthy\">").count();
        assert_eq!(
            healthy(&html) + 1,
            healthy(&before),
            "its badge is not healthy\n{html}"
        );
    }

    #[test]
    fn a_stale_height_shows_its_age() {
        let list = |checked_at: api::Timestamp| {
            let mut cluster = crate::samples::cluster("amber", api::HealthState::Healthy);
            cluster.health.checked_at = Some(checked_at);
            let listing = Listing::new(&request(api::Role::Operator, "/clusters"), "/clusters", &[]);
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
    fn the_proof_names_the_node_it_was_read_from() {
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
