//! Who may open which page and send which form of the dashboard on whose things. The routes are the table that the
//! dashboard's router is made of, so a new one without a rule here fails.

use crate::{
    app::App,
    world::{Actor, Held, Rule, SECRETS, Tie, World},
};
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use std::collections::BTreeSet;

/// Every route with its rule. A part of the path that names an action stands here for each action.
const RULES: &[(&str, Rule)] = &[
    ("GET /sign-in", Rule::Everybody),
    ("POST /sign-in", Rule::Everybody),
    ("GET /welcome", Rule::Everybody),
    ("POST /welcome", Rule::Everybody),
    ("GET /welcome/{link}", Rule::Everybody),
    ("POST /theme", Rule::Everybody),
    ("GET /static/{file}", Rule::Everybody),
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

/// The addresses that a route is asked at: more than one where a part of the path is an action.
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

/// The rule at an address: to wipe or delete a cluster is its holder's page, and an operator's deed.
fn rule(method: &Method, path: &str, address: &str) -> Rule {
    let name = format!("{method} {path}");
    let found = RULES.iter().find(|(known, _)| *known == name);
    let rule = found
        .unwrap_or_else(|| {
            panic!("{name} stands in the table of routes and has no rule in this matrix: say who may call it")
        })
        .1;
    let wipes = path == "/clusters/{cluster}/{action}"
        && (address.ends_with("/reset") || address.ends_with("/delete"));
    if wipes && method == Method::POST {
        Rule::OperatorOfVisible
    } else {
        rule
    }
}

/// What is filled into every form: all names that are to be typed, so that it is not the form that refuses.
fn form(held: &Held, address: &str) -> String {
    let typed = match address {
        _ if address.starts_with("/hosts/") => "h1",
        _ if address.starts_with("/admin/accounts/") => "zoe",
        _ if address.starts_with("/account/tokens/") => "test",
        _ => held.name(),
    };
    format!("typed={typed}&minutes=1&name=dora&role=user&token_name=another&renew_certificates=yes")
}

/// Asks, and says how it was refused; `None`: it was let through. What a stranger is shown holds no secret.
async fn ask(
    app: &App,
    world: &World,
    held: &Held,
    (who, tie): Actor,
    (method, address): (&Method, &str),
) -> Option<u16> {
    let cookie = world
        .token(who)
        .map_or_else(String::new, |token| app.cookie(token));
    let request = Request::builder()
        .method(method)
        .uri(held.path(address))
        .header(header::COOKIE, cookie);
    let body = if method == Method::POST {
        form(held, address)
    } else {
        String::new()
    };
    let request = request
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let (parts, body) = app.send(request).await.into_parts();
    let name = format!("{method} {address}");
    assert!(parts.status.as_u16() < 500, "{name} by {who}: {}", parts.status);
    let location = parts
        .headers
        .get(header::LOCATION)
        .map_or("", |location| location.to_str().unwrap());
    let streams = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let fixed = address.starts_with("/static/");
    if tie == Tie::Foreign && !streams && !fixed && !["annabel", "portal"].contains(&who) {
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        for secret in SECRETS {
            assert!(!text.contains(secret), "{name} shows {who} of {secret}: {text}");
        }
        let leads = ["/clusters/", "/operations/", "/hosts/"]
            .iter()
            .any(|section| location.starts_with(section));
        assert!(!leads, "{name} leads {who} to {location}");
    }
    if location == "/sign-in" || location.starts_with("/sign-in?next=") {
        return Some(401);
    }
    Some(parts.status.as_u16()).filter(|status| [401, 403, 404].contains(status))
}

/// The address of the stylesheet, which the sign-in page names.
async fn style(app: &App) -> String {
    let page = app
        .ask(Request::get("/sign-in").body(Body::empty()).unwrap())
        .await;
    let page = String::from_utf8(page.body).unwrap();
    let (_, rest) = page.split_once("<link rel=\"stylesheet\" href=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn each_page_is_for_those_whom_the_matrix_names_and_for_nobody_else() {
    let world = World::new().await;
    let shared = world.open().await;
    let style = style(&shared).await;
    let (mut wrong, mut known) = (Vec::new(), BTreeSet::new());
    for (method, path, access) in chainpool_dashboard::routes() {
        known.insert(format!("{method} {path}"));
        for address in addresses(path, &style) {
            let rule = rule(&method, path, &address);
            assert_eq!(
                rule.access(),
                access,
                "the table of routes says otherwise of {method} {path}"
            );
            for (held, actors) in world.subjects(rule) {
                for actor in actors {
                    let refuses = rule.refuses(actor.1);
                    // Whoever is let through changes things: in a pool of its own.
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
                        (&method, &address),
                    )
                    .await;
                    if answer != refuses {
                        wrong.push(format!(
                            "{method} {address} of {} by {}: {answer:?}, not {refuses:?}",
                            held.name(),
                            actor.0
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, _) in RULES {
        assert!(known.contains(*name), "there is no route {name} any more");
    }
}
