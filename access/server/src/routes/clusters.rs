//! Clusters.

use super::accepted;
use crate::{
    auth::{Auth, Bearer, stream_end},
    body::Asked,
    error::{Answer, Refusal, chain},
    query::{Path, Query},
    state::Server,
};
use axum::{Json, body::Body, extract::State, response::Response};
use chainpool_api::{
    Cluster, ClusterAmend, ClusterCreate, ClusterFilter, ClusterUpdate, HealthChange, Operation, Page,
    Problem, Timestamp,
};
use chainpool_orchestrator::{ClusterLog, LogQuery, StreamOf};
use futures::StreamExt;
use http::{HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which node is meant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NodeQuery {
    /// This node alone; the whole cluster when absent.
    node: Option<String>,
}

/// Whether an applied cluster may be taken from its holder.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForceQuery {
    /// Also when the cluster is applied; ends its lease.
    #[serde(default)]
    force: bool,
}

/// Which lines of a log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// At most this many of the newest lines; all when absent.
    #[param(format = Int64, maximum = 4_294_967_295_u32)]
    tail: Option<u32>,
    /// Not before this moment: RFC 3339, or seconds since 1970.
    #[param(pattern = "^([0-9]{1,18}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$")]
    since: Option<String>,
    /// Go on as lines are written.
    #[serde(default)]
    follow: bool,
}

/// Lists clusters.
///
/// Users see those that they hold; a token with the scope `lease:any` those that its account applied for.
#[utoipa::path(
    get, path = "/api/v1/clusters", tag = "clusters", params(ClusterFilter),
    responses(
        (status = 200, description = "The clusters, without nodes and evidence.", body = Page<Cluster>),
        (status = 404, description = "There is no host of the name in `host`.", body = Problem),
    )
)]
pub(crate) async fn cluster_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<ClusterFilter>,
) -> Answer<Json<Page<Cluster>>> {
    Ok(Json(server.orchestrator.cluster_list(&caller, &filter).await?))
}

/// Makes a cluster.
///
/// A host is found for it when none is named.
#[utoipa::path(
    post, path = "/api/v1/clusters", tag = "clusters", request_body = ClusterCreate,
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins make clusters.", body = Problem),
        (status = 409, description = "The name is taken, or no host has room.", body = Problem),
    )
)]
pub(crate) async fn cluster_create(
    State(server): State<Server>,
    Asked { caller, body }: Asked<ClusterCreate>,
) -> Answer<Response> {
    Ok(accepted(
        &server.orchestrator.cluster_create(&caller, body).await?,
    ))
}

/// Shows a cluster.
///
/// With its nodes and the evidence of its health.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}", tag = "clusters", params(("cluster" = String, Path, description = "Its name or id.")),
    responses((status = 200, description = "The cluster.", body = Cluster))
)]
pub(crate) async fn cluster_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
) -> Answer<Json<Cluster>> {
    Ok(Json(server.orchestrator.cluster_show(&caller, &cluster).await?))
}

/// Changes a cluster's settings.
#[utoipa::path(
    patch, path = "/api/v1/clusters/{cluster}", tag = "clusters", request_body = ClusterUpdate,
    params(("cluster" = String, Path, description = "Its name or id.")),
    responses(
        (status = 200, description = "The cluster as it is now.", body = Cluster),
        (status = 403, description = "Only operators and admins change clusters.", body = Problem),
    )
)]
pub(crate) async fn cluster_update(
    State(server): State<Server>,
    Path(cluster): Path<String>,
    Asked { caller, body }: Asked<ClusterUpdate>,
) -> Answer<Json<Cluster>> {
    Ok(Json(
        server
            .orchestrator
            .cluster_update(&caller, &cluster, body)
            .await?,
    ))
}

/// Removes a cluster.
///
/// With everything that it has. An applied one only with `force`, which ends its lease.
#[utoipa::path(
    delete, path = "/api/v1/clusters/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "Its name or id."), ForceQuery),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins remove clusters.", body = Problem),
        (status = 409, description = "It is applied and `force` was not given.", body = Problem),
    )
)]
pub(crate) async fn cluster_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<ForceQuery>,
) -> Answer<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_delete(&caller, &cluster, query.force)
            .await?,
    ))
}

/// Starts a cluster.
///
/// Or one node of it.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/start", tag = "clusters",
    params(("cluster" = String, Path, description = "Its name or id."), NodeQuery),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 409, description = "Another operation is under way, or its state does not allow it.", body = Problem),
    )
)]
pub(crate) async fn cluster_start(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<NodeQuery>,
) -> Answer<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_start(&caller, &cluster, query.node.as_deref())
            .await?,
    ))
}

/// Stops a cluster.
///
/// Or one node of it. Its data stays.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/stop", tag = "clusters",
    params(("cluster" = String, Path, description = "Its name or id."), NodeQuery),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 409, description = "Another operation is under way, or its state does not allow it.", body = Problem),
    )
)]
pub(crate) async fn cluster_stop(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<NodeQuery>,
) -> Answer<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_stop(&caller, &cluster, query.node.as_deref())
            .await?,
    ))
}

/// Restarts a cluster.
///
/// Or one node of it.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/restart", tag = "clusters",
    params(("cluster" = String, Path, description = "Its name or id."), NodeQuery),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 409, description = "Another operation is under way, or its state does not allow it.", body = Problem),
    )
)]
pub(crate) async fn cluster_restart(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<NodeQuery>,
) -> Answer<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_restart(&caller, &cluster, query.node.as_deref())
            .await?,
    ))
}

/// Makes a cluster again.
///
/// Wipes it and boots it with new keys. An applied one only with `force`, which ends its lease.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/reset", tag = "clusters",
    params(("cluster" = String, Path, description = "Its name or id."), ForceQuery),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 403, description = "Only operators and admins reset clusters.", body = Problem),
        (status = 409, description = "It is applied and `force` was not given, or it is being removed.", body = Problem),
    )
)]
pub(crate) async fn cluster_reset(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<ForceQuery>,
) -> Answer<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_reset(&caller, &cluster, query.force)
            .await?,
    ))
}

/// Amends a cluster.
///
/// Changes it while it runs and commits: what its network type lets grow, or all certificates. Asked for again, it goes on with what
/// an earlier try did not bring to its end.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/amend", tag = "clusters", request_body = ClusterAmend,
    params(("cluster" = String, Path, description = "Its name or id.")),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 400, description = "Its type does not let these parameters change while it runs.", body = Problem),
        (status = 403, description = "Only operators and admins amend clusters.", body = Problem),
        (status = 409, description = "Another operation is under way, its state does not allow it, or the host has no room.", body = Problem),
    )
)]
pub(crate) async fn cluster_amend(
    State(server): State<Server>,
    Path(cluster): Path<String>,
    Asked { caller, body }: Asked<ClusterAmend>,
) -> Answer<Response> {
    Ok(accepted(
        &server.orchestrator.cluster_amend(&caller, &cluster, body).await?,
    ))
}

/// Proves a cluster.
///
/// Commits a transaction and reads it back elsewhere; the operation's result holds the proof.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/prove", tag = "clusters", params(("cluster" = String, Path, description = "Its name or id.")),
    responses(
        (status = 202, description = "The operation. `Location` names it.", body = Operation),
        (status = 409, description = "Another operation is under way, or its state does not allow it.", body = Problem),
    )
)]
pub(crate) async fn cluster_prove(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
) -> Answer<Response> {
    Ok(accepted(
        &server.orchestrator.cluster_prove(&caller, &cluster).await?,
    ))
}

/// Shows the history of a cluster's health.
///
/// Newest first; to its holder since it was last made anew.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/health", tag = "clusters", params(("cluster" = String, Path, description = "Its name or id.")),
    responses((status = 200, description = "The verdicts with their evidence.", body = Page<HealthChange>))
)]
pub(crate) async fn cluster_health(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
) -> Answer<Json<Page<HealthChange>>> {
    let items = server.orchestrator.cluster_health(&caller, &cluster).await?;
    Ok(Json(Page { items, next: None }))
}

/// Shows a node's log.
///
/// As a stream of text; both of its outputs as they were written.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes/{node}/logs", tag = "clusters",
    params(("cluster" = String, Path, description = "Its name or id."), ("node" = String, Path, description = "The node's name."), LogsQuery),
    responses(
        (status = 200, description = "The lines.", content_type = "text/plain", body = String),
        (status = 409, description = "The platform has no log of it.", body = Problem),
    )
)]
pub(crate) async fn cluster_logs(
    State(server): State<Server>,
    Auth(caller): Auth,
    Bearer(secret): Bearer,
    Path((cluster, node)): Path<(String, String)>,
    Query(query): Query<LogsQuery>,
) -> Answer<Response> {
    let since = query.since.as_deref().map_or(Ok(0), since)?;
    let query = LogQuery {
        tail: query.tail,
        since,
        follow: query.follow,
    };
    let ClusterLog { cluster: id, lines } = server
        .orchestrator
        .cluster_logs(&caller, &cluster, &node, query)
        .await?;
    let bytes = lines.map(move |line| {
        line.map(|line| line.bytes).inspect_err(|error| {
            tracing::warn!(cluster, node, cause = chain(error), "a log broke off");
        })
    });
    let end = stream_end(server, caller, secret, StreamOf::Cluster(id));
    let mut response = Response::new(Body::from_stream(bytes.take_until(Box::pin(end))));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// A moment as RFC 3339 or as seconds since 1970, in seconds.
fn since(text: &str) -> Answer<i64> {
    if let Ok(seconds) = text.parse::<i64>()
        && seconds >= 0
    {
        return Ok(seconds);
    }
    match text.parse::<Timestamp>() {
        Ok(moment) if moment.0 >= 0 => Ok(moment.0 / 1000),
        _ => Err(Refusal::field(
            "since",
            "must be a moment such as 2026-01-31T12:00:00Z, or seconds since 1970",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_begins_at_a_moment_or_a_second() {
        assert_eq!(since("1700000000").unwrap(), 1_700_000_000);
        assert_eq!(since("2023-11-14T22:13:20.900Z").unwrap(), 1_700_000_000);
        for bad in ["", "-5", "yesterday", "10m"] {
            assert!(
                since(bad).unwrap_err().problem("r").fields.contains_key("since"),
                "{bad:?}"
            );
        }
    }
}
