//! Who may call which route of the API on whose things: method × route × caller × own or another's. The routes are the
//! table that the router is made of, so a new route without a rule here fails.

use crate::{
    app::{App, request},
    world::{Actor, Held, Rule, SECRETS, Tie, World},
};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every route with its rule. What a route takes beside its path is in [`asked`].
const RULES: &[(&str, Rule)] = &[
    ("GET /healthz", Rule::Everybody),
    ("GET /api/v1/openapi.json", Rule::Everybody),
    ("POST /api/v1/session", Rule::Everybody),
    ("POST /api/v1/password", Rule::Everybody),
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

/// What is asked on a route beside its path: a query, and a body where it takes one. So little that it is the caller that
/// decides.
fn asked(name: &str) -> (&'static str, Option<Value>) {
    match name {
        // All operations are operators' alone; those of a cluster are its holder's, too.
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

/// Asks, and says how it was refused; `None`: it was let through. What a stranger is told holds no secret.
async fn ask(
    app: &App,
    world: &World,
    held: &Held,
    (who, tie): Actor,
    (method, path): (&Method, &str),
) -> Option<u16> {
    let name = format!("{method} {path}");
    let (query, body) = asked(&name);
    let request = request(
        world.token(who),
        method.clone(),
        &held.path(&format!("{path}{query}")),
        body,
    );
    let (parts, body) = app.send(request).await.into_parts();
    assert!(parts.status.as_u16() < 500, "{name} by {who}: {}", parts.status);
    // A stream has no end; what it tells has tests of its own.
    let streams = parts.headers.get("x-accel-buffering").is_some();
    if tie == Tie::Foreign && !streams && !["annabel", "portal"].contains(&who) {
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        for secret in SECRETS {
            assert!(!text.contains(secret), "{name} tells {who} of {secret}: {text}");
        }
    }
    Some(parts.status.as_u16()).filter(|status| [401, 403, 404].contains(status))
}

/// The rule of a route.
fn rule(name: &str) -> Rule {
    let found = RULES.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| {
            panic!("{name} stands in the table of routes and has no rule in this matrix: say who may call it")
        })
        .1
}

#[tokio::test]
async fn each_route_is_for_those_whom_the_matrix_names_and_for_nobody_else() {
    let world = World::new().await;
    let shared = world.open().await;
    let mut wrong = Vec::new();
    for (method, path, access) in chainpool_server::routes() {
        let name = format!("{method} {path}");
        let rule = rule(&name);
        assert_eq!(
            rule.access(),
            access,
            "the table of routes says otherwise of {name}"
        );
        for (held, actors) in world.subjects(rule) {
            for actor in actors {
                let refuses = rule.refuses(actor.1);
                // Whoever is let through changes things: on a pool of its own.
                let fresh = if refuses.is_none() && method != Method::GET {
                    Some(world.open().await)
                } else {
                    None
                };
                let answer = ask(
                    fresh.as_ref().unwrap_or(&shared),
                    &world,
                    held,
                    *actor,
                    (&method, &path),
                )
                .await;
                if answer != refuses {
                    wrong.push(format!(
                        "{name} of {} by {}: {answer:?}, not {refuses:?}",
                        held.name(),
                        actor.0
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_is_the_router_and_the_matrix_has_no_rule_too_many() {
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
    assert_eq!(routes, served, "the description is made of the same table");
    let rules: BTreeMap<&str, Rule> = RULES.iter().copied().collect();
    assert_eq!(rules.len(), RULES.len(), "a route has two rules");
    for name in rules.keys() {
        assert!(routes.contains(*name), "there is no route {name} any more");
    }
}
