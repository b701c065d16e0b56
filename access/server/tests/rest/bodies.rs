//! Invalid input returns a problem that names the field and the remedy, and changes nothing.

use crate::app::{App, request};
use axum::body::Body;
use chainpool_api::{Account, Page, Problem};
use chainpool_server::{Limits, ServeConfig};
use http::{Method, Request, StatusCode};
use serde_json::json;

fn raw(app: &App, path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("content-type", kind);
    request
        .header("authorization", format!("Bearer {}", app.admin))
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn an_invalid_body_names_the_field_and_changes_nothing() {
    let app = App::start().await;
    let before: Page<Account> = app.get(&app.admin, "/api/v1/accounts").await.read(StatusCode::OK);
    for (body, field) in [
        (
            json!({ "name": "ann", "role": "user", "colour": "red" }),
            "colour",
        ),
        (json!({ "name": "ann" }), "role"),
        (json!({ "name": 7, "role": "user" }), "name"),
        (json!({ "name": "ann", "role": "king" }), "role"),
        (json!({ "name": "../ann", "role": "user" }), "name"),
    ] {
        let problem = app
            .post(&app.admin, "/api/v1/accounts", body.clone())
            .await
            .problem(400, "invalid");
        assert_eq!(problem.fields.keys().collect::<Vec<_>>(), [field], "{body}");
    }
    let form = app
        .ask(raw(
            &app,
            "/api/v1/accounts",
            "application/x-www-form-urlencoded",
            "name=ann&role=user",
        ))
        .await;
    assert!(form.problem(400, "invalid").fields["Content-Type"].contains("application/json"));
    for body in ["{\"name\":", "[]", "\"ann\"", "name=ann"] {
        app.ask(raw(&app, "/api/v1/accounts", "application/json", body))
            .await
            .problem(400, "not_json");
    }
    let after: Page<Account> = app.get(&app.admin, "/api/v1/accounts").await.read(StatusCode::OK);
    assert_eq!(after.items.len(), before.items.len());
}

#[tokio::test]
async fn a_large_body_is_rejected() {
    let app = App::start().await;
    let problem = app
        .ask(raw(
            &app,
            "/api/v1/leases",
            "application/json",
            vec![b' '; 2 << 20],
        ))
        .await
        .problem(413, "body_too_large");
    assert!(problem.message.contains("1048576"), "{}", problem.message);
    let stream = Body::from_stream(futures::stream::repeat_with(|| {
        Ok::<_, std::io::Error>(vec![b' '; 64 << 10])
    }));
    let reply = app
        .ask(raw(&app, "/api/v1/leases", "application/json", stream))
        .await;
    // The rest of the body is not read, so the connection cannot be reused.
    assert_eq!(reply.headers["connection"], "close");
    reply.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_connection_stays_open_only_after_a_completely_read_body() {
    let app = App::start().await;
    let reply = app
        .ask(raw(&app, "/api/v1/accounts", "application/json", "{}"))
        .await;
    assert_eq!(
        (reply.status, reply.headers.get("connection")),
        (StatusCode::BAD_REQUEST, None)
    );
    assert_eq!(
        app.get(&app.admin, "/api/v1/accounts")
            .await
            .headers
            .get("connection"),
        None
    );
    let anonymous = Request::post("/api/v1/accounts")
        .header("content-type", "application/json")
        .body("{}".into())
        .unwrap();
    let reply = app.ask(anonymous).await;
    assert_eq!(
        (reply.status, &reply.headers["connection"]),
        (StatusCode::UNAUTHORIZED, &"close".parse().unwrap())
    );
}

#[tokio::test]
async fn anonymous_bodies_are_small_and_limited_per_address() {
    let limits = Limits {
        anonymous_bodies_per_address: 1,
        ..Limits::default()
    };
    let app = App::start_as(ServeConfig {
        limits,
        ..ServeConfig::new("127.0.0.1:0".parse().unwrap())
    })
    .await;
    let anonymous = |path: &str, body: Body| {
        Request::post(path)
            .header("content-type", "application/json")
            .body(body)
            .unwrap()
    };
    for path in ["/api/v1/session", "/api/v1/password"] {
        let problem = app
            .ask(anonymous(path, vec![b' '; 9000].into()))
            .await
            .problem(413, "body_too_large");
        assert!(problem.message.contains("8192"), "{}", problem.message);
        // The first request keeps its permit until its body is complete or aborted.
        let pending = app.send(anonymous(
            path,
            Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>()),
        ));
        tokio::pin!(pending);
        let short = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(short, &mut pending).await.is_err());
        let rejected = app.ask(anonymous(path, "{}".into())).await;
        rejected.problem(429, "too_many");
        assert!(rejected.headers.contains_key("retry-after"));
    }
    app.ask(anonymous("/api/v1/session", "{}".into()))
        .await
        .problem(400, "invalid");
    assert_eq!(
        app.get(&app.admin, "/api/v1/session").await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_invalid_query_is_rejected_by_name() {
    let app = App::start().await;
    for (path, field) in [
        ("/api/v1/clusters?state=fine", "state"),
        ("/api/v1/leases?colour=red", "colour"),
        ("/api/v1/operations?limit=many", "limit"),
        ("/api/v1/clusters/c1/nodes/n1/logs?since=yesterday", "since"),
    ] {
        let problem = app.get(&app.admin, path).await.problem(400, "invalid");
        assert!(problem.fields.contains_key(field), "{path}: {problem:?}");
    }
    let reset = app
        .call(
            &app.admin,
            Method::POST,
            "/api/v1/clusters/c1/reset?force=maybe",
            None,
        )
        .await;
    assert!(reset.problem(400, "invalid").fields.contains_key("force"));
}

#[tokio::test]
async fn an_invalid_idempotency_key_is_rejected_by_name() {
    let app = App::start().await;
    let mut request = request(Some(&app.admin), Method::POST, "/api/v1/leases", Some(json!({})));
    request
        .headers_mut()
        .insert("idempotency-key", "a b".parse().unwrap());
    assert!(
        app.ask(request)
            .await
            .problem(400, "invalid")
            .fields
            .contains_key("Idempotency-Key")
    );
}

#[tokio::test]
async fn unknown_routes_return_a_problem() {
    let app = App::start().await;
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/hosts/",
        "/api/v1/nothing",
        "/api/v2/hosts",
        "/api/v1/hosts/a/b/c",
    ] {
        app.get(&app.admin, path).await.problem(404, "route_not_found");
    }
    let reply = app.call(&app.admin, Method::PUT, "/api/v1/hosts", None).await;
    reply.problem(405, "method_not_allowed");
    let mut allowed: Vec<_> = reply.headers["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let options = app.call(&app.admin, Method::OPTIONS, "/api/v1/hosts", None).await;
    options.problem(405, "method_not_allowed");
    assert!(!options.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn an_invalid_id_is_not_found() {
    let app = App::start().await;
    for (path, code) in [
        ("/api/v1/leases/nope", "lease_not_found"),
        ("/api/v1/operations/nope/events", "operation_not_found"),
    ] {
        let problem: Problem = app.get(&app.admin, path).await.problem(404, code);
        assert!(problem.message.contains("nope"));
    }
}

#[tokio::test]
async fn a_lease_request_without_a_free_cluster_lists_what_is_available() {
    let app = App::start().await;
    let reply = app
        .ask(request(Some(&app.admin), Method::POST, "/api/v1/leases", None))
        .await;
    assert!(
        reply
            .problem(409, "nothing_matches")
            .message
            .contains("the pool is empty")
    );
}
