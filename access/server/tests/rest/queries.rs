//! The number of database queries of lists: independent of the number of rows.

use crate::app::App;
use axum::body::Body;
use chainpool_api::{OperationKind, OperationState, Role, StepState, Timestamp};
use chainpool_orchestrator::Access;
use chainpool_server::ServeConfig;
use chainpool_store::{
    ApplyRequest, ClusterRow, EnumColumn, HostRow, Json, NewOperation, StepRow, Store, testing,
};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::json;
use std::{collections::BTreeMap, path::Path, sync::Mutex};
use tempfile::TempDir;
use uuid::Uuid;

/// Routes that have no list, or that a request with these ids cannot reach.
const OTHERS: [&str; 14] = [
    "/api/v1/clusters/{cluster}/nodes/{node}/logs",
    "/api/v1/leases/{lease}/bundle",
    "/api/v1/events",
    "/api/v1/operations/{operation}/events",
    "/events/stream",
    "/clusters/{cluster}/logs",
    "/clusters/{cluster}/logs/download",
    "/clusters/{cluster}/logs/stream",
    "/leases/{lease}",
    "/leases/{lease}/bundle",
    "/leases/{lease}/bundle.json",
    "/leases/{lease}/bundle.tar",
    "/leases/{lease}/files/{file}",
    "/hosts/{host}/adopt",
];

/// Lists with filters that are read in another way.
const FILTERED: [&str; 9] = [
    "/api/v1/hosts?search=h",
    "/api/v1/clusters?search=c",
    "/api/v1/clusters?offered=true",
    "/api/v1/clusters?holder=ann",
    "/api/v1/clusters?host=h0",
    "/api/v1/leases?state=active",
    "/api/v1/operations?state=running",
    "/api/v1/operations?host=h0",
    "/search?q=c",
];

/// The first of the rows of each resource.
struct First {
    cluster: Uuid,
    lease: Uuid,
    /// A fillup, the parent of operations.
    operation: Uuid,
}

/// Writes this number of hosts, each with a cluster and a host operation, and as many leases, operations on the
/// clusters of the first host, accounts and tokens.
async fn seed(folder: &Path, count: usize) -> First {
    let store = Store::open(folder, None).await.unwrap();
    let now = Timestamp::now();
    let mut tx = store.begin().await.unwrap();
    let mut clusters: Vec<ClusterRow> = Vec::new();
    let mut fillup = None;
    for index in 0..count {
        let host = HostRow {
            name: format!("h{index}"),
            engine_id: format!("e{index}"),
            ..testing::host(now)
        };
        let free = testing::free(&host, &format!("c{index}"), now);
        tx.cluster_insert(free.clone(), Vec::new()).await.unwrap();
        let first = clusters.first().map_or(free.id, |first| first.id);
        clusters.push(free);
        let fillup = *fillup.get_or_insert(operation(&mut tx, &host, None, None).await);
        // Every cluster, and the first cluster again.
        operation(&mut tx, &host, Some(clusters[index].id), Some(fillup)).await;
        if index > 0 {
            operation(&mut tx, &host, Some(first), None).await;
        }
        tx.host_insert(host).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    let mut lease = None;
    for _ in 0..count {
        let apply = ApplyRequest {
            holder: "ann".into(),
            author: "ann".into(),
            ..ApplyRequest::default()
        };
        lease = store.apply(apply).await.unwrap();
    }
    let mut tx = store.begin().await.unwrap();
    for mut row in tx.clusters().await.unwrap() {
        let mut running = tx
            .operation_newest(row.id, OperationKind::ClusterProve)
            .await
            .unwrap()
            .unwrap();
        (running.state, running.ended_at) = (EnumColumn(OperationState::Running), None);
        row.operation_id = Some(running.id);
        tx.operation_save(running).await.unwrap();
        tx.cluster_save(row).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    store.close().await.unwrap();
    First {
        cluster: clusters[0].id,
        lease: lease.unwrap().lease.id,
        operation: fillup.unwrap(),
    }
}

/// Writes an operation that succeeded, with two steps if it is of a cluster.
async fn operation(
    tx: &mut chainpool_store::Tx,
    host: &HostRow,
    cluster: Option<Uuid>,
    parent: Option<Uuid>,
) -> Uuid {
    let now = Timestamp::now();
    let new = NewOperation {
        kind: OperationKind::ClusterProve,
        host_id: host.id,
        cluster_id: cluster,
        generation: 1,
        parent_id: parent,
        author: "ann".into(),
        reason: String::new(),
        arguments: json!({}),
        deadline_at: None,
    };
    let mut row = tx.operation_insert(new, now).await.unwrap();
    (row.state, row.ended_at) = (EnumColumn(OperationState::Succeeded), Some(now.into()));
    tx.operation_save(row.clone()).await.unwrap();
    let step = |seq| StepRow {
        operation_id: row.id,
        seq,
        phase: seq,
        title: "a step".into(),
        action: Json(json!({})),
        state: EnumColumn(StepState::Done),
        memo: None,
        note: None,
        started_at: None,
        ended_at: None,
    };
    if cluster.is_some() {
        tx.steps_insert(vec![step(0), step(1)]).await.unwrap();
    }
    row.id
}

/// The queries of each list and page in a pool of this size, for an admin and for a user with leases: the fewest
/// of three requests, because one may also check the token again.
async fn queries(count: usize) -> BTreeMap<String, u64> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let first = seed(&path, count).await;
    let app = App::open(folder, false, ServeConfig::new("127.0.0.1:0".parse().unwrap())).await;
    for index in 0..count {
        app.account(&format!("user{index}"), Role::User).await;
    }
    let callers = [
        ("admin", app.admin.clone()),
        ("user", app.account("ann", Role::User).await),
    ];
    let rest = chainpool_server::routes().into_iter();
    let pages = chainpool_dashboard::routes().into_iter();
    let pages = pages.map(|(method, path, access)| (method, path.to_owned(), access));
    let routes = rest.chain(pages).filter(|(method, path, access)| {
        method == Method::GET && *access != Access::Anyone && !OTHERS.contains(&path.as_str())
    });
    let routes = routes.map(|(_, path, _)| path);
    let (mut counts, failed) = (BTreeMap::new(), Mutex::new(Vec::new()));
    for route in routes.chain(FILTERED.map(str::to_owned)) {
        let address = route
            .replace("{cluster}", &first.cluster.to_string())
            .replace("{lease}", &first.lease.to_string())
            .replace("{operation}", &first.operation.to_string())
            .replace("{account}", "user0")
            .replace("{host}", "h0")
            .replace("{action}", "reset");
        if address.contains('{') {
            continue;
        }
        for (caller, token) in &callers {
            let count = async || -> u64 {
                let before = testing::queries(&path);
                let request = Request::get(&address)
                    .header("authorization", format!("Bearer {token}"))
                    .header("cookie", app.cookie(token));
                let response = app.send(request.body(Body::empty()).unwrap()).await;
                let status = response.status();
                response.into_body().collect().await.unwrap();
                if status.is_server_error() || status.is_client_error() && *caller == "admin" {
                    failed.lock().unwrap().push(format!("{address}: {status}"));
                }
                testing::queries(&path) - before
            };
            counts.insert(
                format!("{route} ({caller})"),
                count().await.min(count().await).min(count().await),
            );
        }
    }
    app.end().await;
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
    counts
}

#[tokio::test]
async fn every_list_and_page_makes_the_same_number_of_queries_for_any_number_of_rows() {
    let (few, many) = (queries(3).await, queries(60).await);
    let differ: Vec<String> = few
        .iter()
        .filter(|(path, count)| many[*path] != **count)
        .map(|(path, count)| format!("{path}: {count:?} with 3 rows, {:?} with 60", many[path]))
        .collect();
    assert!(few.len() > 60, "{few:?}");
    assert!(few["/api/v1/hosts (admin)"] > 0, "queries are counted");
    assert!(differ.is_empty(), "{differ:#?}");
}
