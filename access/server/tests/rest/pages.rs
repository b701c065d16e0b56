//! Access matrix of the dashboard's pages and forms. The routes come from the dashboard router's table, so a
//! new route without a rule fails.

use crate::{
    app::App,
    fixture::{Actor, Fixture, LeasedCluster, Relation, Rule, SECRETS},
};
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use std::collections::BTreeSet;

/// Every route with its rule. `{action}` stands for all actions.
const RULES: &[(&str, Rule)] = &[
    ("GET /sign-in", Rule::Public),
    ("POST /sign-in", Rule::Public),
    ("GET /welcome", Rule::Public),
    ("POST /welcome", Rule::Public),
    ("GET /welcome/{link}", Rule::Public),
    ("POST /theme", Rule::Public),
    ("GET /static/{file}", Rule::Public),
    ("GET /", Rule::SignedIn),
    ("GET /status", Rule::SignedIn),
    ("GET /search", Rule::SignedIn),
    ("GET /network-types", Rule::SignedIn),
    ("GET /events/stream", Rule::SignedIn),
    ("GET /account", Rule::SignedIn),
    ("POST /account/tokens", Rule::SignedIn),
    ("GET /account/tokens/{token}/delete", Rule::OwnerOrAdmin),
    ("POST /account/tokens/{token}/delete", Rule::OwnerOrAdmin),
    ("GET /sign-out", Rule::SignedIn),
    ("POST /sign-out", Rule::SignedIn),
    ("GET /admin", Rule::Admins),
    ("POST /admin/accounts", Rule::Admins),
    ("POST /admin/accounts/{account}/reset-link", Rule::Admins),
    ("GET /admin/accounts/{account}/delete", Rule::Admins),
    ("POST /admin/accounts/{account}/delete", Rule::Admins),
    ("POST /admin/tokens", Rule::Admins),
    ("POST /admin/backup", Rule::Admins),
    ("GET /admin/resume", Rule::Admins),
    ("POST /admin/resume", Rule::Admins),
    ("GET /hosts", Rule::Operators),
    ("POST /hosts", Rule::Operators),
    ("GET /hosts/new", Rule::Operators),
    ("GET /hosts/{host}", Rule::Operators),
    ("GET /hosts/{host}/edit", Rule::Operators),
    ("POST /hosts/{host}/edit", Rule::Operators),
    ("POST /hosts/{host}/maintenance", Rule::Operators),
    ("POST /hosts/{host}/resume", Rule::Operators),
    ("GET /hosts/{host}/adopt", Rule::Operators),
    ("POST /hosts/{host}/adopt", Rule::Operators),
    ("GET /hosts/{host}/{action}", Rule::Operators),
    ("POST /hosts/{host}/{action}", Rule::Operators),
    ("GET /clusters", Rule::SignedIn),
    ("POST /clusters", Rule::Operators),
    ("GET /clusters/new", Rule::Operators),
    ("GET /clusters/{cluster}", Rule::HolderOrOperator),
    ("GET /clusters/{cluster}/operations", Rule::HolderOrOperator),
    ("GET /clusters/{cluster}/health", Rule::HolderOrOperator),
    ("GET /clusters/{cluster}/logs", Rule::HolderOrOperator),
    ("GET /clusters/{cluster}/logs/download", Rule::HolderOrOperator),
    ("GET /clusters/{cluster}/logs/stream", Rule::HolderOrOperator),
    ("GET /clusters/{cluster}/amend", Rule::Operators),
    ("POST /clusters/{cluster}/amend", Rule::Operators),
    ("POST /clusters/{cluster}/maintenance", Rule::Operators),
    ("GET /clusters/{cluster}/{action}", Rule::HolderOrOperator),
    ("POST /clusters/{cluster}/{action}", Rule::HolderOrOperator),
    ("GET /leases", Rule::SignedIn),
    ("POST /leases", Rule::SignedIn),
    ("GET /leases/{lease}", Rule::HolderOrOperator),
    ("GET /leases/{lease}/bundle", Rule::HolderOrOperator),
    ("GET /leases/{lease}/bundle.json", Rule::HolderOrOperator),
    ("GET /leases/{lease}/bundle.tar", Rule::HolderOrOperator),
    ("GET /leases/{lease}/files/{file}", Rule::HolderOrOperator),
    ("POST /leases/{lease}/renew", Rule::HolderOrOperator),
    ("GET /leases/{lease}/release", Rule::HolderOrOperator),
    ("POST /leases/{lease}/release", Rule::HolderOrOperator),
    ("GET /operations", Rule::Operators),
    ("GET /operations/{operation}", Rule::HolderOrOperator),
];

/// The addresses to test of a route: several if the path contains an action.
fn addresses(path: &str, style: &str) -> Vec<String> {
    let path = path
        .replace("/static/{file}", style)
        .replace("{file}", "genesis.json")
        .replace("{link}", "none");
    match path.as_str() {
        "/hosts/{host}/{action}" => ["fillup", "clean", "reset", "delete", "forget"]
            .map(|action| path.replace("{action}", action))
            .into(),
        "/clusters/{cluster}/{action}" => ["start", "stop", "restart", "prove", "reset", "delete"]
            .map(|action| path.replace("{action}", action))
            .into(),
        "/search" => [
            "/search?q=%CLUSTER%",
            "/search?q=%LEASE%",
            "/search?q=%OPERATION%",
            "/search?q=bery",
        ]
        .map(str::to_owned)
        .into(),
        _ => vec![path],
    }
}

/// The rule of an address. Holders see the pages to reset or delete a cluster, but only operators can submit
/// them.
fn rule(method: &Method, path: &str, address: &str) -> Rule {
    let name = format!("{method} {path}");
    let found = RULES.iter().find(|(known, _)| *known == name);
    let rule = found
        .unwrap_or_else(|| panic!("{name} is in the table of routes but has no rule in this matrix; add one"))
        .1;
    let wipes = path == "/clusters/{cluster}/{action}"
        && (address.ends_with("/reset") || address.ends_with("/delete"));
    if wipes && method == Method::POST {
        Rule::OperatorOfVisible
    } else {
        rule
    }
}

/// Form fields for all routes, including typed confirmations, which leave the decision to the caller's
/// permissions.
fn form(cluster: &LeasedCluster, address: &str) -> String {
    let typed = match address {
        _ if address.starts_with("/hosts/") => "h1",
        _ if address.starts_with("/admin/accounts/") => "zoe",
        _ if address.starts_with("/account/tokens/") => "test",
        _ => cluster.name(),
    };
    format!("typed={typed}&minutes=1&name=dora&role=user&token_name=another&renew_certificates=yes")
}

/// Sends a request and returns the status of a rejection; `None`: allowed. Pages for foreign callers must not
/// contain a secret.
async fn ask(
    app: &App,
    fixture: &Fixture,
    cluster: &LeasedCluster,
    (caller, relation): Actor,
    (method, address): (&Method, &str),
) -> Option<u16> {
    let cookie = fixture
        .token(caller)
        .map_or_else(String::new, |token| app.cookie(token));
    let request = Request::builder()
        .method(method)
        .uri(cluster.path(address))
        .header(header::COOKIE, cookie);
    let body = if method == Method::POST {
        form(cluster, address)
    } else {
        String::new()
    };
    let request = request
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let (parts, body) = app.send(request).await.into_parts();
    let name = format!("{method} {address}");
    assert!(
        parts.status.as_u16() < 500,
        "{name} by {caller}: {}",
        parts.status
    );
    let location = parts
        .headers
        .get(header::LOCATION)
        .map_or("", |location| location.to_str().unwrap());
    let streams = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let fixed = address.starts_with("/static/");
    if relation == Relation::Foreign && !streams && !fixed && !["annabel", "portal"].contains(&caller) {
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        for secret in SECRETS {
            assert!(
                !text.contains(secret),
                "{name} reveals {secret} to {caller}: {text}"
            );
        }
        let leads = ["/clusters/", "/operations/", "/hosts/"]
            .iter()
            .any(|section| location.starts_with(section));
        assert!(!leads, "{name} redirects {caller} to {location}");
    }
    if location == "/sign-in" || location.starts_with("/sign-in?next=") {
        return Some(401);
    }
    Some(parts.status.as_u16()).filter(|status| [401, 403, 404].contains(status))
}

/// The address of the stylesheet, from the sign-in page.
async fn style(app: &App) -> String {
    let page = app
        .ask(Request::get("/sign-in").body(Body::empty()).unwrap())
        .await;
    let page = String::from_utf8(page.body).unwrap();
    let (_, rest) = page.split_once("<link rel=\"stylesheet\" href=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn each_page_allows_exactly_the_callers_of_its_rule() {
    let fixture = Fixture::new().await;
    let shared = fixture.open().await;
    let style = style(&shared).await;
    let (mut wrong, mut known) = (Vec::new(), BTreeSet::new());
    for (method, path, access) in chainpool_dashboard::routes() {
        known.insert(format!("{method} {path}"));
        for address in addresses(path, &style) {
            let rule = rule(&method, path, &address);
            assert_eq!(
                rule.access(),
                access,
                "the table of routes differs for {method} {path}"
            );
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
                        (&method, &address),
                    )
                    .await;
                    if rejection != expected {
                        wrong.push(format!(
                            "{method} {address} of {} by {}: {rejection:?}, not {expected:?}",
                            cluster.name(),
                            actor.0
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, _) in RULES {
        assert!(known.contains(*name), "route {name} no longer exists");
    }
}
