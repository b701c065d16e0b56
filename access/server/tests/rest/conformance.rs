//! The OpenAPI document matches the server's behaviour. `schema_validator.rs` checks the responses of all
//! tests; this file covers the remaining responses, and the requests.

use crate::{
    app::{App, Reply, request},
    schema_validator::{self, document, event_faults, event_schema, faults},
};
use chainpool_api::{Operation, Page, Role};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;

/// The target of a schema reference.
fn resolved(schema: &'static Value) -> &'static Value {
    schema["$ref"].as_str().map_or(schema, |target| {
        document().pointer(target.trim_start_matches('#')).unwrap()
    })
}

#[tokio::test]
async fn responses_match_the_openapi_document() {
    let app = App::start().await;
    let host = app.host().await;
    let made = app
        .post(
            &app.admin,
            "/api/v1/clusters",
            json!({ "name": "c1", "host": "h1", "labels": { "team": "a" } }),
        )
        .await;
    let operation: Operation = made.read(StatusCode::ACCEPTED);
    // Every response is validated, including the complete stream of a failed operation.
    for path in [
        format!("/api/v1/operations/{}/events", operation.id),
        format!("/api/v1/operations/{}", operation.id),
        format!("/api/v1/hosts/{}", host.id),
        "/api/v1/operations".to_owned(),
        "/api/v1/hosts".to_owned(),
        "/api/v1/clusters".to_owned(),
        "/api/v1/clusters/c1".to_owned(),
        "/api/v1/clusters/c1/health".to_owned(),
        "/api/v1/leases".to_owned(),
        "/api/v1/status".to_owned(),
        "/api/v1/network-types".to_owned(),
        "/api/v1/accounts".to_owned(),
        "/api/v1/tokens".to_owned(),
        "/api/v1/session".to_owned(),
    ] {
        assert_eq!(app.get(&app.admin, &path).await.status, StatusCode::OK, "{path}");
    }
    for path in [
        "/api/v1/clusters?host=none",
        "/api/v1/operations?host=none",
        "/api/v1/operations?cluster=none",
    ] {
        assert_eq!(
            app.get(&app.admin, path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let mut keyed = request(Some(&app.admin), Method::DELETE, "/api/v1/accounts/none", None);
    keyed
        .headers_mut()
        .insert("idempotency-key", "a b".parse().unwrap());
    app.ask(keyed).await.problem(400, "invalid");
}

#[tokio::test]
async fn lists_accept_and_document_a_limit_of_at_most_500() {
    let app = App::start().await;
    for list in ["hosts", "clusters", "leases", "operations"] {
        let path = format!("/api/v1/{list}");
        for (limit, accepted) in [
            (0, false),
            (1, true),
            (500, true),
            (501, false),
            (u32::MAX, false),
        ] {
            let reply = app.get(&app.admin, &format!("{path}?limit={limit}")).await;
            if accepted {
                assert_eq!(reply.status, StatusCode::OK, "{list} {limit}");
            } else {
                let problem = reply.problem(400, "invalid");
                assert!(
                    problem.fields["limit"].contains("between 1 and 500"),
                    "{problem:?}"
                );
            }
        }
        let parameters = document()["paths"][&path]["get"]["parameters"]
            .as_array()
            .unwrap();
        let limit = parameters
            .iter()
            .find(|parameter| parameter["name"] == "limit")
            .unwrap();
        assert_eq!(
            (&limit["schema"]["minimum"], &limit["schema"]["maximum"]),
            (&json!(1), &json!(500)),
            "{list}"
        );
    }
}

#[tokio::test]
async fn every_documented_enum_value_is_accepted_in_a_query() {
    let app = App::start().await;
    let mut words = 0;
    for (path, item) in document()["paths"].as_object().unwrap() {
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            for word in resolved(&parameter["schema"])["enum"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let query = format!(
                    "{path}?{}={}",
                    parameter["name"].as_str().unwrap(),
                    word.as_str().unwrap()
                );
                assert_eq!(
                    app.get(&app.admin, &query).await.status,
                    StatusCode::OK,
                    "{query}"
                );
                words += 1;
            }
        }
    }
    assert!(words > 30, "only {words} enum values in queries");
}

#[tokio::test]
async fn every_documented_enum_value_is_accepted_in_a_body() {
    let app = App::start().await;
    app.host().await;
    let words = |name: &str| {
        document()["components"]["schemas"][name]["enum"]
            .as_array()
            .unwrap()
            .clone()
    };
    for word in words("Role") {
        let name = format!("a-{}", word.as_str().unwrap());
        assert_eq!(
            app.post(
                &app.admin,
                "/api/v1/accounts",
                json!({ "name": name, "role": word })
            )
            .await
            .status,
            201,
            "{word}"
        );
    }
    for kind in words("LogType") {
        for level in words("LogLevel") {
            let mut log = json!({ "type": kind, "level": level });
            if kind == "syslog" {
                log["server"] = "udp://127.0.0.1:514".into();
            }
            let changed = app
                .call(
                    &app.admin,
                    Method::PATCH,
                    "/api/v1/hosts/h1",
                    Some(json!({ "log": log })),
                )
                .await;
            assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
        }
    }
    // These tests have one platform: the other values parse, but are rejected as platforms.
    for word in ["docker", "swarm", "kubernetes"] {
        let body = json!({ "name": "h2", "address": "unix:///empty.sock", "type": word });
        let reply = app.post(&app.admin, "/api/v1/hosts", body).await;
        match word {
            "docker" => drop(reply.problem(409, "engine_exists")),
            _ => assert!(
                !reply.problem(400, "invalid").fields["type"].contains("expected one of"),
                "{reply:?}"
            ),
        }
    }
}

#[tokio::test]
async fn network_type_and_its_alias_are_accepted_everywhere() {
    let app = App::start().await;
    app.host().await;
    for (index, name) in ["network_type", "type"].into_iter().enumerate() {
        let body = json!({ "name": format!("c{index}"), "host": "h1", name: "fabric" });
        let schema = &document()["components"]["schemas"]["ClusterCreate"];
        assert_eq!(faults(schema, &body), [""; 0]);
        let _: Operation = app
            .post(&app.admin, "/api/v1/clusters", body)
            .await
            .read(StatusCode::ACCEPTED);
        let page: Page<chainpool_api::Cluster> = app
            .get(&app.admin, &format!("/api/v1/clusters?{name}=fabric"))
            .await
            .read(StatusCode::OK);
        assert_eq!(page.items.len(), index + 1);
    }
    let both = json!({ "host": "h1", "type": "fabric", "network_type": "fabric" });
    let problem = app
        .post(&app.admin, "/api/v1/clusters", both)
        .await
        .problem(400, "invalid");
    assert!(problem.fields["network_type"].contains("twice"), "{problem:?}");
}

#[tokio::test]
async fn optional_bodies_are_documented_as_optional() {
    let app = App::start().await;
    app.host().await;
    let body =
        |path: &str, method: &str| document()["paths"][path][method]["requestBody"]["required"] == true;
    assert!(
        !body("/api/v1/clusters", "post")
            && !body("/api/v1/leases", "post")
            && !body("/api/v1/hosts/{host}", "patch")
    );
    assert!(body("/api/v1/hosts", "post") && body("/api/v1/accounts", "post"));
    assert_eq!(
        app.call(&app.admin, Method::PATCH, "/api/v1/hosts/h1", None)
            .await
            .status,
        StatusCode::OK
    );
    app.call(&app.admin, Method::POST, "/api/v1/accounts", None)
        .await
        .problem(400, "invalid");
}

#[tokio::test]
async fn change_events_match_the_openapi_document() {
    let schema = event_schema("/api/v1/events");
    let event = |name: &str, data: Value| json!({ "event": name, "data": data.to_string() });
    let id = uuid::Uuid::nil();
    assert_eq!(
        event_faults(schema, &event("change", json!({ "noun": "host", "id": id }))),
        [""; 0]
    );
    assert_eq!(
        event_faults(schema, &event("lagged", json!({ "missed": 3 }))),
        [""; 0]
    );
    for wrong in [
        event("other", json!({})),
        event("change", json!({ "noun": "Host", "id": id })),
        event("lagged", json!({ "missed": 0 })),
    ] {
        assert!(!event_faults(schema, &wrong).is_empty(), "{wrong}");
    }
}

#[tokio::test]
async fn the_validator_detects_undocumented_responses() {
    let account = &document()["components"]["schemas"]["Account"];
    let good = json!({ "id": uuid::Uuid::nil(), "name": "ann", "role": Role::User, "has_password": false, "created_at": "2026-01-31T12:00:00Z" });
    assert_eq!(faults(account, &good), [""; 0]);
    for (field, wrong) in [
        ("role", json!("User")),
        ("id", json!("nope")),
        ("created_at", json!("yesterday")),
        ("has_password", Value::Null),
        ("colour", json!("red")),
    ] {
        let mut bad = good.clone();
        bad[field] = wrong;
        assert!(
            faults(account, &bad).iter().any(|fault| fault.contains(field)),
            "{bad}"
        );
    }
    assert!(!faults(account, &json!({ "name": "ann" })).is_empty());
    let reply = Reply {
        status: StatusCode::IM_A_TEAPOT,
        headers: http::HeaderMap::new(),
        body: Vec::new(),
    };
    assert!(
        std::panic::catch_unwind(AssertUnwindSafe(|| schema_validator::check(
            &Method::GET,
            "/api/v1/session",
            &reply
        )))
        .is_err()
    );
}
