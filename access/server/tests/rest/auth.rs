//! Authentication and roles of every route. The routes come from the OpenAPI document, so new ones are
//! included.

use crate::app::{App, request};
use axum::body::Body;
use chainpool_api::Role;
use http::{Method, Request};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// The public routes; their descriptions give the reasons.
const PUBLIC: [&str; 4] = [
    "POST /api/v1/session",
    "POST /api/v1/password",
    "GET /healthz",
    "GET /api/v1/openapi.json",
];

/// Every route: method, path, and `true` if it takes a body.
fn routes() -> Vec<(Method, String, bool)> {
    let document: Value = serde_json::from_str(&chainpool_server::openapi_json()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, route) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            routes.push((method, path.clone(), route.get("requestBody").is_some()));
        }
    }
    assert!(routes.len() > 40, "{}", routes.len());
    routes
}

/// The path of a route, filled with names and ids that do not exist.
fn concrete(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{lease}" | "{operation}" | "{token}" => "01890000-0000-7000-8000-000000000000",
        part if part.starts_with('{') => "nothing",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_except_the_public_ones_requires_credentials() {
    let app = App::start().await;
    let credentials = [
        None,
        Some(("authorization", "Bearer never-made".to_owned())),
        Some(("authorization", format!("Basic {}", app.admin))),
        Some((
            "cookie",
            format!(
                "session={0}; chainpool={0}; token={0}; chainpool_session={0}",
                app.admin
            ),
        )),
        Some(("x-api-key", app.admin.clone())),
    ];
    for (method, path, _) in routes() {
        let name = format!("{method} {path}");
        let public = PUBLIC.contains(&name.as_str());
        for credential in &credentials {
            let mut request = Request::builder().method(method.clone()).uri(concrete(&path));
            if let Some((header, value)) = credential {
                request = request.header(*header, value);
            }
            let reply = app.ask(request.body(Body::empty()).unwrap()).await;
            if public {
                assert_ne!(reply.status, 401, "{name} is public");
            } else {
                reply.problem(401, "unauthenticated");
                assert_eq!(reply.headers["www-authenticate"], "Bearer", "{name}");
            }
        }
    }
}

/// A minimal valid body of a route, which leaves the decision to the role.
fn body(path: &str) -> Value {
    match path {
        "/api/v1/accounts" => json!({ "name": "dora", "role": "user" }),
        "/api/v1/tokens" => json!({ "name": "test", "account": "eve" }),
        "/api/v1/hosts/{host}/adopt" => json!({ "clusters": [] }),
        _ => json!({}),
    }
}

/// Status by route and role on an empty pool: 403 denied; 404, 409 and 400 allowed but without a resource or
/// valid body; 2xx done.
#[tokio::test]
async fn each_role_has_its_permissions_and_no_more() {
    let app = App::start().await;
    let mut table = BTreeMap::new();
    for (name, role) in [
        ("ann", Role::User),
        ("otto", Role::Operator),
        ("eve", Role::Admin),
    ] {
        app.account(name, role).await;
        for (method, path, takes_body) in routes() {
            // A token for each request, because one of them signs out.
            let token = app.token(name).await;
            let body = takes_body.then(|| body(&path));
            let status = app
                .send(request(Some(&token), method.clone(), &concrete(&path), body))
                .await
                .status();
            table
                .entry((path, method.to_string()))
                .or_insert_with(Vec::new)
                .push(status.as_u16());
        }
    }
    let mut text = format!("{:<58} user operator admin\n", "route");
    for ((path, method), statuses) in table {
        assert!(
            statuses.iter().all(|status| *status < 500),
            "{method} {path}: {statuses:?}"
        );
        let [user, operator, admin] = statuses[..] else {
            panic!("expected three roles")
        };
        writeln!(text, "{method:<6} {path:<52} {user:<4} {operator:<8} {admin}").unwrap();
    }
    insta::assert_snapshot!("roles", text);
}

#[tokio::test]
async fn the_rate_limit_of_a_token_does_not_affect_others() {
    let app = App::start_with(20).await;
    let since = std::time::Instant::now();
    let replies = futures::future::join_all((0..100).map(|_| app.get("never-made", "/api/v1/session"))).await;
    let limited: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    let (passed, allowed) = (100 - limited.len(), 21 + since.elapsed().as_millis() / 50);
    assert!(
        !limited.is_empty() && passed as u128 <= allowed,
        "{passed} of 100 requests passed, {allowed} allowed"
    );
    for reply in limited {
        reply.problem(429, "too_many");
        assert_eq!(reply.headers["retry-after"], "1");
    }
    assert_eq!(app.get(&app.admin, "/api/v1/session").await.status, 200);
}
