//! Access matrix of the API: method × route × caller × own or foreign resource. The routes come from the
//! router's table, so a new route without a rule fails.

use crate::{
    app::{App, request},
    fixture::{Actor, Fixture, LeasedCluster, Relation, Rule, SECRETS},
};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every route with its rule. Query and body of a route are in [`input`].
const RULES: &[(&str, Rule)] = &[
    ("GET /healthz", Rule::Public),
    ("GET /api/v1/openapi.json", Rule::Public),
    ("POST /api/v1/session", Rule::Public),
    ("POST /api/v1/password", Rule::Public),
    ("GET /api/v1/session", Rule::SignedIn),
    ("DELETE /api/v1/session", Rule::SignedIn),
    ("GET /api/v1/events", Rule::SignedIn),
    ("GET /api/v1/network-types", Rule::SignedIn),
    ("GET /api/v1/clusters", Rule::SignedIn),
    ("GET /api/v1/leases", Rule::SignedIn),
    ("POST /api/v1/leases", Rule::SignedIn),
    ("GET /api/v1/tokens", Rule::SignedIn),
    ("POST /api/v1/tokens", Rule::SignedIn),
    ("DELETE /api/v1/tokens/{token}", Rule::OwnerOrAdmin),
    ("GET /api/v1/clusters/{cluster}", Rule::HolderOrOperator),
    ("POST /api/v1/clusters/{cluster}/start", Rule::HolderOrOperator),
    ("POST /api/v1/clusters/{cluster}/stop", Rule::HolderOrOperator),
    ("POST /api/v1/clusters/{cluster}/restart", Rule::HolderOrOperator),
    ("POST /api/v1/clusters/{cluster}/prove", Rule::HolderOrOperator),
    ("GET /api/v1/clusters/{cluster}/health", Rule::HolderOrOperator),
    (
        "GET /api/v1/clusters/{cluster}/nodes/{node}/logs",
        Rule::HolderOrOperator,
    ),
    ("GET /api/v1/leases/{lease}", Rule::HolderOrOperator),
    ("DELETE /api/v1/leases/{lease}", Rule::HolderOrOperator),
    ("POST /api/v1/leases/{lease}/renew", Rule::HolderOrOperator),
    ("GET /api/v1/leases/{lease}/bundle", Rule::HolderOrOperator),
    ("GET /api/v1/operations", Rule::HolderOrOperator),
    ("GET /api/v1/operations/{operation}", Rule::HolderOrOperator),
    (
        "GET /api/v1/operations/{operation}/events",
        Rule::HolderOrOperator,
    ),
    ("GET /api/v1/hosts", Rule::Operators),
    ("POST /api/v1/hosts", Rule::Operators),
    ("GET /api/v1/hosts/{host}", Rule::Operators),
    ("PATCH /api/v1/hosts/{host}", Rule::Operators),
    ("DELETE /api/v1/hosts/{host}", Rule::Operators),
    ("POST /api/v1/hosts/{host}/fillup", Rule::Operators),
    ("POST /api/v1/hosts/{host}/clean", Rule::Operators),
    ("POST /api/v1/hosts/{host}/reset", Rule::Operators),
    ("POST /api/v1/hosts/{host}/adopt", Rule::Operators),
    ("POST /api/v1/clusters", Rule::Operators),
    ("PATCH /api/v1/clusters/{cluster}", Rule::Operators),
    ("DELETE /api/v1/clusters/{cluster}", Rule::Operators),
    ("POST /api/v1/clusters/{cluster}/reset", Rule::Operators),
    ("POST /api/v1/clusters/{cluster}/amend", Rule::Operators),
    ("GET /api/v1/status", Rule::Operators),
    ("GET /api/v1/accounts", Rule::Admins),
    ("POST /api/v1/accounts", Rule::Admins),
    ("DELETE /api/v1/accounts/{account}", Rule::Admins),
    ("POST /api/v1/accounts/{account}/reset-link", Rule::Admins),
    ("POST /api/v1/resume", Rule::Admins),
    ("POST /api/v1/backup", Rule::Admins),
];

/// Minimal query and body of a route, which leave the decision to the caller's permissions.
fn input(name: &str) -> (&'static str, Option<Value>) {
    match name {
        // Only operators see all operations; holders see those of their cluster.
        "GET /api/v1/operations" => ("?cluster=%CLUSTER%", None),
        "POST /api/v1/accounts" => ("", Some(json!({ "name": "dora", "role": "user" }))),
        "POST /api/v1/tokens" => ("", Some(json!({ "name": "another" }))),
        "POST /api/v1/hosts/{host}/adopt" => ("", Some(json!({ "clusters": [] }))),
        "POST /api/v1/hosts" | "POST /api/v1/clusters" | "POST /api/v1/leases" => ("", Some(json!({}))),
        _ if name.starts_with("PATCH ") || name.ends_with("/renew") || name.ends_with("/amend") => {
            ("", Some(json!({})))
        }
        _ if name.ends_with("/session") || name.ends_with("/password") => {
            ("", name.starts_with("POST").then(|| json!({})))
        }
        _ => ("", None),
    }
}

/// Sends a request and returns the status of a rejection; `None`: allowed. Responses to foreign callers must
/// not contain a secret.
async fn ask(
    app: &App,
    fixture: &Fixture,
    cluster: &LeasedCluster,
    (caller, relation): Actor,
    (method, path): (&Method, &str),
) -> Option<u16> {
    let name = format!("{method} {path}");
    let (query, body) = input(&name);
    let request = request(
        fixture.token(caller),
        method.clone(),
        &cluster.path(&format!("{path}{query}")),
        body,
    );
    let (parts, body) = app.send(request).await.into_parts();
    assert!(
        parts.status.as_u16() < 500,
        "{name} by {caller}: {}",
        parts.status
    );
    // Streams do not end; `streams.rs` tests their content.
    let streams = parts.headers.get("x-accel-buffering").is_some();
    if relation == Relation::Foreign && !streams && !["annabel", "portal"].contains(&caller) {
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        for secret in SECRETS {
            assert!(
                !text.contains(secret),
                "{name} reveals {secret} to {caller}: {text}"
            );
        }
    }
    Some(parts.status.as_u16()).filter(|status| [401, 403, 404].contains(status))
}

/// The rule of a route.
fn rule(name: &str) -> Rule {
    let found = RULES.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("{name} is in the table of routes but has no rule in this matrix; add one"))
        .1
}

#[tokio::test]
async fn each_route_allows_exactly_the_callers_of_its_rule() {
    let fixture = Fixture::new().await;
    let shared = fixture.open().await;
    let mut wrong = Vec::new();
    for (method, path, access) in chainpool_server::routes() {
        let name = format!("{method} {path}");
        let rule = rule(&name);
        assert_eq!(rule.access(), access, "the table of routes differs for {name}");
        for (cluster, actors) in fixture.subjects(rule) {
            for actor in actors {
                let expected = rule.rejection(actor.1);
                // Allowed requests change the pool, so they get a fresh one.
                let fresh = if expected.is_none() && method != Method::GET {
                    Some(fixture.open().await)
                } else {
                    None
                };
                let rejection = ask(
                    fresh.as_ref().unwrap_or(&shared),
                    &fixture,
                    cluster,
                    *actor,
                    (&method, &path),
                )
                .await;
                if rejection != expected {
                    wrong.push(format!(
                        "{name} of {} by {}: {rejection:?}, not {expected:?}",
                        cluster.name(),
                        actor.0
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn routes_openapi_paths_and_rules_are_the_same_set() {
    let routes: BTreeSet<String> = chainpool_server::routes()
        .into_iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let document: Value = serde_json::from_str(&chainpool_server::openapi_json()).unwrap();
    let mut served = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        served.extend(
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    assert_eq!(
        routes, served,
        "the OpenAPI document differs from the table of routes"
    );
    let rules: BTreeMap<&str, Rule> = RULES.iter().copied().collect();
    assert_eq!(rules.len(), RULES.len(), "a route has two rules");
    for name in rules.keys() {
        assert!(routes.contains(*name), "route {name} no longer exists");
    }
}
