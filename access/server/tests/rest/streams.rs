//! What streams tell to whom, and when they end.

use crate::{
    app::{App, request},
    operations::soon,
    world::World,
};
use axum::body::Body;
use chainpool_api::{Lease, Operation};
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, StatusCode, header};
use serde_json::json;
use std::pin::Pin;

type Told = Pin<Box<dyn Stream<Item = String>>>;

/// A stream's pieces: events as `name data`, lines of a log as they are; what only says that the stream lives is left out.
fn told(body: Body) -> Told {
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
async fn api(app: &App, token: &str, path: &str) -> Told {
    let response = app.send(request(Some(token), Method::GET, path, None)).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    told(response.into_body())
}

/// Opens a stream of the dashboard.
async fn page(app: &App, token: &str, path: &str) -> Told {
    let request = Request::get(path).header(header::COOKIE, app.cookie(token));
    let response = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    told(response.into_body())
}

/// Both logs of the cluster beryl, which write a line every moment.
async fn logs(app: &App, token: &str) -> Vec<Told> {
    let path = "/api/v1/clusters/beryl/nodes/v0/logs?follow=true";
    vec![
        api(app, token, path).await,
        page(app, token, "/clusters/beryl/logs/stream?node=v0").await,
    ]
}

/// All streams that somebody may open who holds the cluster beryl, or sees all; each has been seen to go on.
async fn all(app: &App, world: &World, token: &str) -> Vec<Told> {
    let mut events = [
        api(app, token, "/api/v1/events").await,
        page(app, token, "/events/stream").await,
    ];
    let mut logs = logs(app, token).await;
    go_on(&mut logs).await;
    let proved = app
        .post(
            world.token("otto").unwrap(),
            "/api/v1/clusters/beryl/prove",
            json!({}),
        )
        .await;
    let operation: Operation = proved.read(StatusCode::ACCEPTED);
    for told in &mut events {
        while !soon(told.next())
            .await
            .unwrap()
            .contains(&operation.id.to_string())
        {}
    }
    logs.extend(events);
    logs
}

/// Reads logs for longer than it takes to ask whether they may go on.
async fn go_on(logs: &mut [Told]) {
    for log in logs {
        for _ in 0..10 {
            assert!(
                soon(log.next())
                    .await
                    .expect("the log goes on")
                    .contains("a line")
            );
        }
    }
}

#[tokio::test]
async fn an_operation_is_told_to_those_who_may_read_it_and_to_nobody_else() {
    let world = World::new().await;
    let app = world.open().await;
    let [bob, annabel, otto] = ["bob", "annabel", "otto"].map(|who| world.token(who).unwrap());
    let mut strangers = [
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
    for told in holders.iter_mut().chain(&mut operators) {
        while !soon(told.next()).await.unwrap().contains(&id) {}
    }
    let lease: Lease = app
        .post(bob, "/api/v1/leases", json!({}))
        .await
        .read(StatusCode::CREATED);
    for told in &mut strangers {
        let first = soon(told.next()).await.unwrap();
        assert!(
            first.contains("lease") && first.contains(&lease.id.to_string()),
            "bob was told of {first}"
        );
    }
    let place = format!("/api/v1/operations/{id}");
    app.get(annabel, &place).await.read::<Operation>(StatusCode::OK);
    for path in [place.clone(), format!("{place}/events")] {
        app.get(bob, &path).await.problem(404, "operation_not_found");
    }
}

#[tokio::test]
async fn a_holder_reads_what_was_done_since_it_holds_and_not_what_was_done_for_others() {
    let world = World::new().await;
    let app = world.open().await;
    let [bob, annabel] = ["bob", "annabel"].map(|who| world.token(who).unwrap());
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
        "she did not hold it when it was created: {page:?}"
    );
    listed(bob, "beryl").await.problem(404, "cluster_not_found");
    app.get(annabel, "/api/v1/operations")
        .await
        .problem(403, "forbidden");
}

#[tokio::test]
async fn all_streams_end_with_their_token() {
    let world = World::new().await;
    let app = world.open().await;
    let token = app.token("annabel").await;
    let streams = all(&app, &world, &token).await;
    let out = app.call(&token, Method::DELETE, "/api/v1/session", None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for told in streams {
        soon(told.count()).await;
    }
}

#[tokio::test]
async fn all_streams_of_an_operator_end_with_its_account() {
    let world = World::new().await;
    let app = world.open().await;
    let streams = all(&app, &world, world.token("otto").unwrap()).await;
    let gone = app
        .call(
            world.token("eve").unwrap(),
            Method::DELETE,
            "/api/v1/accounts/otto",
            None,
        )
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    for told in streams {
        soon(told.count()).await;
    }
}

#[tokio::test]
async fn a_log_ends_for_its_holder_when_the_cluster_is_released_and_goes_on_for_operators() {
    let world = World::new().await;
    let app = world.open().await;
    let [annabel, otto] = ["annabel", "otto"].map(|who| world.token(who).unwrap());
    let (mut held, mut seen) = (logs(&app, annabel).await, logs(&app, otto).await);
    go_on(&mut held).await;
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
    for told in held {
        soon(told.count()).await;
    }
    go_on(&mut seen).await;
}
