//! Routes of clusters.

use super::response::accepted;
use crate::{
    auth::{Auth, Bearer, stream_end},
    body::AuthedJson,
    error::{ApiError, ApiResult},
    query::{Path, Query},
    state::Server,
};
use axum::{Json, body::Body, extract::State, response::Response};
use chainpool_api::{
    Cluster, ClusterAmend, ClusterCreate, ClusterFilter, ClusterUpdate, HealthChange, Operation, Page,
    Problem, Timestamp,
};
use chainpool_orchestrator::{ClusterLog, LogQuery, StreamScope, error_chain};
use futures::StreamExt;
use http::{HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;

/// Selection of a node.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NodeQuery {
    /// Node name; default: all nodes.
    node: Option<String>,
}

/// Permission to end the lease of a cluster.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForceQuery {
    /// `true` to proceed even if the cluster is leased; ends the lease.
    #[serde(default)]
    force: bool,
}

/// Selection of log lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// Number of most recent lines; default: all.
    #[param(format = Int64, maximum = 4_294_967_295_u32)]
    tail: Option<u32>,
    /// Earliest time: RFC 3339, or seconds since 1970.
    #[param(pattern = "^([0-9]{1,18}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$")]
    since: Option<String>,
    /// `true` to stream new lines as they are written.
    #[serde(default)]
    follow: bool,
}

/// List clusters.
///
/// Users see the clusters they hold; a token with the scope `lease:any` sees the clusters leased by its
/// account.
#[utoipa::path(
    get, path = "/api/v1/clusters", tag = "clusters", params(ClusterFilter),
    responses(
        (status = 200, description = "Page of clusters, without nodes and evidence.", body = Page<Cluster>),
        (status = 404, description = "Unknown host in `host`.", body = Problem),
    )
)]
pub(crate) async fn cluster_list(
    State(server): State<Server>,
    Auth(caller): Auth,
    Query(filter): Query<ClusterFilter>,
) -> ApiResult<Json<Page<Cluster>>> {
    Ok(Json(server.orchestrator.cluster_list(&caller, &filter).await?))
}

/// Create a cluster.
///
/// Placement chooses the host if `host` is absent.
#[utoipa::path(
    post, path = "/api/v1/clusters", tag = "clusters", request_body = ClusterCreate,
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Name already in use, or no host with free capacity.", body = Problem),
    )
)]
pub(crate) async fn cluster_create(
    State(server): State<Server>,
    AuthedJson { caller, body }: AuthedJson<ClusterCreate>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server.orchestrator.cluster_create(&caller, body).await?,
    ))
}

/// Show a cluster.
///
/// Includes its nodes and the evidence of its health.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}", tag = "clusters", params(("cluster" = String, Path, description = "Cluster name or id.")),
    responses((status = 200, description = "Cluster.", body = Cluster))
)]
pub(crate) async fn cluster_show(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
) -> ApiResult<Json<Cluster>> {
    Ok(Json(server.orchestrator.cluster_show(&caller, &cluster).await?))
}

/// Update a cluster's settings.
#[utoipa::path(
    patch, path = "/api/v1/clusters/{cluster}", tag = "clusters", request_body = ClusterUpdate,
    params(("cluster" = String, Path, description = "Cluster name or id.")),
    responses(
        (status = 200, description = "Updated cluster.", body = Cluster),
        (status = 403, description = "Role operator or admin required.", body = Problem),
    )
)]
pub(crate) async fn cluster_update(
    State(server): State<Server>,
    Path(cluster): Path<String>,
    AuthedJson { caller, body }: AuthedJson<ClusterUpdate>,
) -> ApiResult<Json<Cluster>> {
    Ok(Json(
        server
            .orchestrator
            .cluster_update(&caller, &cluster, body)
            .await?,
    ))
}

/// Delete a cluster.
///
/// Deletes the cluster with all its data. A leased cluster requires `force`, which ends the lease.
#[utoipa::path(
    delete, path = "/api/v1/clusters/{cluster}", tag = "clusters",
    params(("cluster" = String, Path, description = "Cluster name or id."), ForceQuery),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Cluster is leased, and `force` is not set.", body = Problem),
    )
)]
pub(crate) async fn cluster_delete(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<ForceQuery>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_delete(&caller, &cluster, query.force)
            .await?,
    ))
}

/// Start a cluster.
///
/// Starts all nodes, or one with `node`.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/start", tag = "clusters",
    params(("cluster" = String, Path, description = "Cluster name or id."), NodeQuery),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 409, description = "Another operation in progress, or not allowed in the cluster's state.", body = Problem),
    )
)]
pub(crate) async fn cluster_start(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<NodeQuery>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_start(&caller, &cluster, query.node.as_deref())
            .await?,
    ))
}

/// Stop a cluster.
///
/// Stops all nodes, or one with `node`. Keeps the data.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/stop", tag = "clusters",
    params(("cluster" = String, Path, description = "Cluster name or id."), NodeQuery),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 409, description = "Another operation in progress, or not allowed in the cluster's state.", body = Problem),
    )
)]
pub(crate) async fn cluster_stop(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<NodeQuery>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_stop(&caller, &cluster, query.node.as_deref())
            .await?,
    ))
}

/// Restart a cluster.
///
/// Restarts all nodes, or one with `node`.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/restart", tag = "clusters",
    params(("cluster" = String, Path, description = "Cluster name or id."), NodeQuery),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 409, description = "Another operation in progress, or not allowed in the cluster's state.", body = Problem),
    )
)]
pub(crate) async fn cluster_restart(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<NodeQuery>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_restart(&caller, &cluster, query.node.as_deref())
            .await?,
    ))
}

/// Reset a cluster.
///
/// Wipes the cluster and recreates it with new keys. A leased cluster requires `force`, which ends the lease.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/reset", tag = "clusters",
    params(("cluster" = String, Path, description = "Cluster name or id."), ForceQuery),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Cluster is leased and `force` is not set, or deletion in progress.", body = Problem),
    )
)]
pub(crate) async fn cluster_reset(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
    Query(query): Query<ForceQuery>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server
            .orchestrator
            .cluster_reset(&caller, &cluster, query.force)
            .await?,
    ))
}

/// Amend a cluster.
///
/// Changes a running cluster: parameters that its network type allows to grow, or all certificates. A
/// repeated request completes a previous incomplete change.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/amend", tag = "clusters", request_body = ClusterAmend,
    params(("cluster" = String, Path, description = "Cluster name or id.")),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 400, description = "Parameters that a running cluster of this type cannot change.", body = Problem),
        (status = 403, description = "Role operator or admin required.", body = Problem),
        (status = 409, description = "Another operation in progress, not allowed in the cluster's state, or no free capacity on the host.", body = Problem),
    )
)]
pub(crate) async fn cluster_amend(
    State(server): State<Server>,
    Path(cluster): Path<String>,
    AuthedJson { caller, body }: AuthedJson<ClusterAmend>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server.orchestrator.cluster_amend(&caller, &cluster, body).await?,
    ))
}

/// Prove a cluster.
///
/// Commits a transaction and reads it back from another node. The operation's result contains the proof.
#[utoipa::path(
    post, path = "/api/v1/clusters/{cluster}/prove", tag = "clusters", params(("cluster" = String, Path, description = "Cluster name or id.")),
    responses(
        (status = 202, description = "Accepted operation, with its `Location`.", body = Operation),
        (status = 409, description = "Another operation in progress, or not allowed in the cluster's state.", body = Problem),
    )
)]
pub(crate) async fn cluster_prove(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
) -> ApiResult<Response> {
    Ok(accepted(
        &server.orchestrator.cluster_prove(&caller, &cluster).await?,
    ))
}

/// Show the health history of a cluster.
///
/// Newest first. Holders see the history since the last reset.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/health", tag = "clusters", params(("cluster" = String, Path, description = "Cluster name or id.")),
    responses((status = 200, description = "Health changes, with their evidence.", body = Page<HealthChange>))
)]
pub(crate) async fn cluster_health(
    State(server): State<Server>,
    Auth(caller): Auth,
    Path(cluster): Path<String>,
) -> ApiResult<Json<Page<HealthChange>>> {
    let items = server.orchestrator.cluster_health(&caller, &cluster).await?;
    Ok(Json(Page { items, next: None }))
}

/// Stream a node's log.
///
/// Standard output and standard error of the node, as text.
#[utoipa::path(
    get, path = "/api/v1/clusters/{cluster}/nodes/{node}/logs", tag = "clusters",
    params(("cluster" = String, Path, description = "Cluster name or id."), ("node" = String, Path, description = "Node name."), LogsQuery),
    responses(
        (status = 200, description = "Log lines.", content_type = "text/plain", body = String),
        (status = 409, description = "The platform has no log of the node.", body = Problem),
    )
)]
pub(crate) async fn cluster_logs(
    State(server): State<Server>,
    Auth(caller): Auth,
    Bearer(secret): Bearer,
    Path((cluster, node)): Path<(String, String)>,
    Query(query): Query<LogsQuery>,
) -> ApiResult<Response> {
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
            tracing::warn!(
                cluster,
                node,
                cause = error_chain(error),
                "log stream interrupted"
            );
        })
    });
    let end = stream_end(server, caller, secret, StreamScope::Cluster(id));
    let mut response = Response::new(Body::from_stream(bytes.take_until(Box::pin(end))));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Parses RFC 3339 or seconds since 1970, as seconds.
fn since(text: &str) -> ApiResult<i64> {
    if let Ok(seconds) = text.parse::<i64>()
        && seconds >= 0
    {
        return Ok(seconds);
    }
    match text.parse::<Timestamp>() {
        Ok(moment) if moment.0 >= 0 => Ok(moment.0 / 1000),
        _ => Err(ApiError::field(
            "since",
            "must be a time such as 2026-01-31T12:00:00Z, or seconds since 1970",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_accepts_rfc_3339_and_unix_seconds() {
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
