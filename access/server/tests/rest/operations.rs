//! Operations: acceptance, event streams, idempotency.

use crate::app::{App, first_call, request};
use axum::body::Body;
use chainpool_api::{Cluster, Operation, OperationState, Page, StepState};
use futures::{Stream, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::{pin::Pin, time::Duration};

/// The events of a stream as name and data.
fn events(body: Body) -> Pin<Box<dyn Stream<Item = (String, Value)>>> {
    let lines = futures::stream::unfold(
        (body.into_data_stream(), String::new()),
        |(mut stream, mut rest)| async move {
            loop {
                if let Some((event, tail)) = rest.split_once("\n\n") {
                    let (event, tail) = (event.to_owned(), tail.to_owned());
                    return Some((event, (stream, tail)));
                }
                rest.push_str(std::str::from_utf8(&stream.next().await?.unwrap()).unwrap());
            }
        },
    );
    Box::pin(lines.filter_map(async |event| {
        let field = |name: &str| {
            event
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
        };
        Some((field("event:")?, serde_json::from_str(&field("data:")?).unwrap()))
    }))
}

/// Awaits a future with a generous time limit.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("timed out after 30 s")
}

/// Follows an operation to its end.
async fn ended(app: &App, operation: &Operation) -> Operation {
    let path = format!("/api/v1/operations/{}", operation.id);
    let response = app
        .send(request(
            Some(&app.admin),
            Method::GET,
            &format!("{path}/events"),
            None,
        ))
        .await;
    assert!(soon(events(response.into_body()).count()).await > 0);
    app.get(&app.admin, &path).await.read(StatusCode::OK)
}

/// A request for a cluster on the empty platform.
fn create(app: &App, key: &str, name: &str) -> http::Request<Body> {
    let mut request = request(
        Some(&app.admin),
        Method::POST,
        "/api/v1/clusters",
        Some(json!({ "name": name, "host": "h1" })),
    );
    request
        .headers_mut()
        .insert("idempotency-key", key.parse().unwrap());
    request
}

/// Sets the only image of new clusters.
async fn images(app: &App, only: &str) {
    let patched = app
        .call(
            &app.admin,
            Method::PATCH,
            "/api/v1/hosts/h1",
            Some(json!({ "images": { "cometbft": [only] } })),
        )
        .await;
    assert_eq!(patched.status, StatusCode::OK, "{patched:?}");
}

#[tokio::test]
async fn an_operation_is_followed_to_its_end() {
    let app = App::start().await;
    app.host().await;
    let accepted = app.ask(create(&app, "k1", "c1")).await;
    let operation: Operation = accepted.read(StatusCode::ACCEPTED);
    let path = format!("/api/v1/operations/{}", operation.id);
    assert_eq!(accepted.headers["location"].to_str().unwrap(), path);
    let response = app
        .send(request(
            Some(&app.admin),
            Method::GET,
            &format!("{path}/events"),
            None,
        ))
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let seen: Vec<_> = soon(events(response.into_body()).collect()).await;
    assert!(seen.iter().all(|(name, _)| name == "operation"));
    let seen: Vec<Operation> = seen
        .into_iter()
        .map(|(_, data)| serde_json::from_value(data).unwrap())
        .collect();
    let (last, earlier) = seen.split_last().unwrap();
    assert_eq!((last.id, last.state), (operation.id, OperationState::Failed));
    assert!(
        last.error.as_deref().unwrap_or_default().contains("no image of"),
        "{:?}",
        last.error
    );
    assert!(earlier.iter().all(|operation| !operation.state.is_over()));
    let response = app
        .send(request(
            Some(&app.admin),
            Method::GET,
            &format!("{path}/events"),
            None,
        ))
        .await;
    assert_eq!(
        soon(events(response.into_body()).count()).await,
        1,
        "an ended operation sends one event"
    );
}

#[tokio::test]
async fn a_failed_operation_ends_after_its_pending_platform_calls() {
    let app = App::start().await;
    app.host().await;
    images(&app, "late").await;
    let accepted: Operation = app.ask(create(&app, "k1", "c1")).await.read(StatusCode::ACCEPTED);
    let ended = ended(&app, &accepted).await;
    let network = ended
        .steps
        .iter()
        .find(|step| step.title == "create the network")
        .unwrap();
    assert_eq!(
        (ended.state, network.state),
        (OperationState::Failed, StepState::Done),
        "the network was created after the end: {ended:?}"
    );
}

#[tokio::test]
async fn a_delete_starts_after_pending_platform_calls() {
    let app = App::start().await;
    app.host().await;
    images(&app, "hanging").await;
    app.ask(create(&app, "k1", "c1"))
        .await
        .read::<Operation>(StatusCode::ACCEPTED);
    soon(first_call(&app.calls)).await;
    let accepted: Operation = app
        .call(&app.admin, Method::DELETE, "/api/v1/clusters/c1", None)
        .await
        .read(StatusCode::ACCEPTED);
    let ended = ended(&app, &accepted).await;
    assert_eq!(ended.state, OperationState::Succeeded, "{ended:?}");
    assert_eq!(
        *app.calls.lock().unwrap(),
        ["network requested", "network created", "cluster deleted"]
    );
}

#[tokio::test]
async fn a_repeated_request_is_the_same_operation() {
    let app = App::start().await;
    app.host().await;
    let first: Operation = app.ask(create(&app, "k1", "c1")).await.read(StatusCode::ACCEPTED);
    let again: Operation = app.ask(create(&app, "k1", "c1")).await.read(StatusCode::ACCEPTED);
    assert_eq!(first.id, again.id);
    app.ask(create(&app, "k1", "c2"))
        .await
        .problem(422, "idempotency_key_reused");
    let other: Operation = app.ask(create(&app, "k2", "c2")).await.read(StatusCode::ACCEPTED);
    assert_ne!(first.id, other.id);
    let page: Page<Operation> = app
        .get(&app.admin, "/api/v1/operations?kind=cluster_create")
        .await
        .read(StatusCode::OK);
    assert_eq!(page.items.len(), 2);
}

#[tokio::test]
async fn changes_are_streamed_as_they_happen() {
    let app = App::start().await;
    let mut all = events(
        app.send(request(Some(&app.admin), Method::GET, "/api/v1/events", None))
            .await
            .into_body(),
    );
    let host = app.host().await;
    let event = soon(all.next()).await.unwrap();
    assert_eq!(
        event,
        ("change".to_owned(), json!({ "noun": "host", "id": host.id }))
    );
    let first: Operation = app.ask(create(&app, "k1", "c1")).await.read(StatusCode::ACCEPTED);
    while soon(all.next()).await.unwrap()
        != (
            "change".to_owned(),
            json!({ "noun": "operation", "id": first.id }),
        )
    {}
}

#[tokio::test]
async fn a_host_is_created_shown_updated_and_deleted() {
    let app = App::start().await;
    let made = app
        .post(
            &app.admin,
            "/api/v1/hosts",
            json!({ "name": "h1", "address": "unix:///empty.sock" }),
        )
        .await;
    let host: chainpool_api::Host = made.read(StatusCode::CREATED);
    let path = made.headers["location"].to_str().unwrap();
    let shown: chainpool_api::Host = app.get(&app.admin, path).await.read(StatusCode::OK);
    assert_eq!((shown.id, shown.name.as_str()), (host.id, "h1"));
    app.post(
        &app.admin,
        "/api/v1/hosts",
        json!({ "name": "h2", "address": "unix:///other.sock" }),
    )
    .await
    .problem(409, "engine_exists");
    let changed = app
        .call(
            &app.admin,
            Method::PATCH,
            "/api/v1/hosts/h1",
            Some(json!({ "capacity": 7 })),
        )
        .await;
    assert_eq!(
        changed
            .read::<chainpool_api::Host>(StatusCode::OK)
            .settings
            .capacity,
        7
    );
    assert_eq!(
        app.call(&app.admin, Method::DELETE, "/api/v1/hosts/h1", None)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    app.get(&app.admin, "/api/v1/hosts/h1")
        .await
        .problem(404, "host_not_found");
}

#[tokio::test]
async fn a_cluster_has_the_version_line_of_its_preset() {
    let app = App::start().await;
    app.host().await;
    for (name, preset, version, consensus) in [("b", "bft", "3.1", "bft"), ("r", "raft", "2.5", "raft")] {
        let body = json!({"name": name, "network_type": "fabric", "preset": preset});
        let path = "/api/v1/clusters";
        app.call(&app.admin, Method::POST, path, Some(body))
            .await
            .read::<Operation>(StatusCode::ACCEPTED);
        let made: Cluster = app
            .get(&app.admin, &format!("{path}/{name}"))
            .await
            .read(StatusCode::OK);
        assert_eq!(
            (made.version.as_str(), made.consensus.as_str()),
            (version, consensus)
        );
    }
}
