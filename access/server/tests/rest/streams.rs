//! Content, visibility and end of streams.

use crate::{
    app::{App, request},
    fixture::Fixture,
    operations::soon,
};
use axum::body::Body;
use chainpool_api::{Lease, Operation};
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use serde_json::json;
use std::pin::Pin;

type Messages = Pin<Box<dyn Stream<Item = String>>>;

/// The messages of a stream: events as `name data`, log lines unchanged; without keep-alives.
fn messages(body: Body) -> Messages {
    let pieces = stream::unfold(body.into_data_stream(), async |mut body| {
        body.next().await.map(|piece| (piece.unwrap(), body))
    });
    let texts = pieces.map(|piece| {
        String::from_utf8(piece.to_vec())
            .unwrap()
            .replace("event: ", "")
            .replace("\ndata: ", " ")
            .trim()
            .to_owned()
    });
    Box::pin(texts.filter(|text| std::future::ready(!text.starts_with("beat") && !text.starts_with(':'))))
}

/// Opens a stream of the API.
async fn api(app: &App, token: &str, path: &str) -> Messages {
    let response = app.send(request(Some(token), Method::GET, path, None)).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    messages(response.into_body())
}

/// Opens a stream of the dashboard.
async fn page(app: &App, token: &str, path: &str) -> Messages {
    let request = Request::get(path).header(header::COOKIE, app.cookie(token));
    let response = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    messages(response.into_body())
}

/// Both log streams of the cluster beryl, which continuously write lines.
async fn logs(app: &App, token: &str) -> Vec<Messages> {
    let path = "/api/v1/clusters/beryl/nodes/v0/logs?follow=true";
    vec![
        api(app, token, path).await,
        page(app, token, "/clusters/beryl/logs/stream?node=v0").await,
    ]
}

/// All streams of a caller who holds the cluster beryl or sees all clusters; each has delivered messages.
async fn all(app: &App, fixture: &Fixture, token: &str) -> Vec<Messages> {
    let mut events = [
        api(app, token, "/api/v1/events").await,
        page(app, token, "/events/stream").await,
    ];
    let mut logs = logs(app, token).await;
    assert_continues(&mut logs).await;
    let proved = app
        .post(
            fixture.token("otto").unwrap(),
            "/api/v1/clusters/beryl/prove",
            json!({}),
        )
        .await;
    let operation: Operation = proved.read(StatusCode::ACCEPTED);
    for messages in &mut events {
        while !soon(messages.next())
            .await
            .unwrap()
            .contains(&operation.id.to_string())
        {}
    }
    logs.extend(events);
    logs
}

/// Reads logs for longer than the interval of the access check.
async fn assert_continues(logs: &mut [Messages]) {
    for log in logs {
        for _ in 0..10 {
            assert!(
                soon(log.next())
                    .await
                    .expect("the log continues")
                    .contains("a line")
            );
        }
    }
}

#[tokio::test]
async fn operation_events_reach_only_callers_with_access() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let [bob, annabel, otto] = ["bob", "annabel", "otto"].map(|caller| fixture.token(caller).unwrap());
    let mut foreign = [
        api(&app, bob, "/api/v1/events").await,
        page(&app, bob, "/events/stream").await,
    ];
    let mut holders = [
        api(&app, annabel, "/api/v1/events").await,
        page(&app, annabel, "/events/stream").await,
    ];
    let mut operators = [
        api(&app, otto, "/api/v1/events").await,
        page(&app, otto, "/events/stream").await,
    ];
    let restarted = app.post(otto, "/api/v1/clusters/beryl/restart", json!({})).await;
    let operation: Operation = restarted.read(StatusCode::ACCEPTED);
    let id = operation.id.to_string();
    for messages in holders.iter_mut().chain(&mut operators) {
        while !soon(messages.next()).await.unwrap().contains(&id) {}
    }
    let lease: Lease = app
        .post(bob, "/api/v1/leases", json!({}))
        .await
        .read(StatusCode::CREATED);
    for messages in &mut foreign {
        let first = soon(messages.next()).await.unwrap();
        assert!(
            first.contains("lease") && first.contains(&lease.id.to_string()),
            "bob received {first}"
        );
    }
    let path = format!("/api/v1/operations/{id}");
    app.get(annabel, &path).await.read::<Operation>(StatusCode::OK);
    for path in [path.clone(), format!("{path}/events")] {
        app.get(bob, &path).await.problem(404, "operation_not_found");
    }
}

#[tokio::test]
async fn a_holder_sees_only_operations_since_the_start_of_its_lease() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let [bob, annabel] = ["bob", "annabel"].map(|caller| fixture.token(caller).unwrap());
    let listed = async |token: &str, cluster: &str| {
        app.get(token, &format!("/api/v1/operations?cluster={cluster}"))
            .await
    };
    let page: chainpool_api::Page<Operation> = listed(annabel, "beryl").await.read(StatusCode::OK);
    assert!(
        page.items
            .iter()
            .all(|operation| operation.cluster.as_deref() == Some("beryl"))
            && page.items.len() == 2,
        "{page:?}"
    );
    assert!(
        !page.items.iter().any(|operation| operation.by == "admin"),
        "annabel sees an operation from before her lease: {page:?}"
    );
    listed(bob, "beryl").await.problem(404, "cluster_not_found");
    app.get(annabel, "/api/v1/operations")
        .await
        .problem(403, "forbidden");
}

#[tokio::test]
async fn streams_end_when_their_token_is_revoked() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let token = app.token("annabel").await;
    let streams = all(&app, &fixture, &token).await;
    let out = app.call(&token, Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for messages in streams {
        soon(messages.count()).await;
    }
}

#[tokio::test]
async fn streams_of_an_operator_end_when_its_account_is_deleted() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let streams = all(&app, &fixture, fixture.token("otto").unwrap()).await;
    let gone = app
        .call(
            fixture.token("eve").unwrap(),
            Method::DELETE,
            "/api/v1/accounts/otto",
            None,
        )
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    for messages in streams {
        soon(messages.count()).await;
    }
}

#[tokio::test]
async fn a_release_ends_log_streams_of_the_holder_but_not_of_operators() {
    let fixture = Fixture::new().await;
    let app = fixture.open().await;
    let [annabel, otto] = ["annabel", "otto"].map(|caller| fixture.token(caller).unwrap());
    let (mut holder_logs, mut operator_logs) = (logs(&app, annabel).await, logs(&app, otto).await);
    assert_continues(&mut holder_logs).await;
    let page: chainpool_api::Page<Lease> = app.get(annabel, "/api/v1/leases").await.read(StatusCode::OK);
    let released = app
        .call(
            annabel,
            Method::DELETE,
            &format!("/api/v1/leases/{}", page.items[0].id),
            None,
        )
        .await;
    assert_eq!(released.status, StatusCode::OK);
    for messages in holder_logs {
        soon(messages.count()).await;
    }
    assert_continues(&mut operator_logs).await;
}
