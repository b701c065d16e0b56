//! The dashboard inside the server: base path, https, rate limit.

use crate::app::{App, Reply, request};
use axum::body::Body;
use chainpool_server::ServeConfig;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;

const PASSWORD: &str = "a long enough password";

async fn start(public_url: &str, rate_limit_per_second: u32) -> App {
    let config = ServeConfig::new("127.0.0.1:0".parse().unwrap());
    App::start_as(ServeConfig {
        public_url: Some(public_url.parse().unwrap()),
        rate_limit_per_second,
        ..config
    })
    .await
}

/// Signs the administrator in through a one-time link and returns the response and the cookie.
async fn sign_in(app: &App, base: &str) -> (Reply, String) {
    let (admin, ..) = app.orchestrator.local_admin().await.unwrap();
    let link = app
        .orchestrator
        .account_reset_link(&admin, "admin")
        .await
        .unwrap();
    let form = format!("link={link}&password={PASSWORD}&password_again={PASSWORD}").replace(' ', "+");
    let request =
        Request::post(format!("{base}/welcome")).header("content-type", "application/x-www-form-urlencoded");
    let reply = app.ask(request.body(Body::from(form)).unwrap()).await;
    assert_eq!(
        reply.status,
        StatusCode::SEE_OTHER,
        "{}",
        String::from_utf8_lossy(&reply.body)
    );
    let cookie = reply.headers["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    (reply, cookie)
}

async fn page(app: &App, path: &str, cookie: &str) -> Reply {
    app.ask(
        Request::get(path)
            .header("cookie", cookie)
            .body(Body::empty())
            .unwrap(),
    )
    .await
}

/// The local addresses in a page's attributes, except form values and texts to copy.
fn addresses(html: &str) -> Vec<String> {
    let attributes = html.match_indices("=\"/").map(|(at, _)| {
        let name = html[..at].rsplit(char::is_whitespace).next().unwrap();
        let value = html[at + 2..].split('"').next().unwrap();
        (name, value.replace("&#38;", "&").replace("&amp;", "&"))
    });
    attributes
        .filter(|(name, _)| !["value", "data-copy"].contains(name))
        .map(|(_, value)| value)
        .collect()
}

#[tokio::test]
async fn every_page_below_a_base_path_links_only_below_it() {
    let app = start("https://tools.example/pool/", 0).await;
    app.host().await;
    let (reply, cookie) = sign_in(&app, "/pool").await;
    assert_eq!(reply.headers["location"], "/pool/status");
    let cookies = reply.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookies.contains("Path=/pool;") && cookies.starts_with("__Secure-"),
        "{cookies}"
    );

    let mut open: Vec<String> = [
        "/pool",
        "/pool/",
        "/pool/sign-in",
        "/pool/welcome",
        "/pool/no/such/page",
    ]
    .map(Into::into)
    .into();
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        let plain = path.split('#').next().unwrap().to_owned();
        if !seen.insert(plain.clone()) || plain.ends_with("/stream") {
            continue;
        }
        assert!(seen.len() < 500, "endless links: {seen:?}");
        let reply = page(&app, &plain, &cookie).await;
        assert!(!reply.status.is_server_error(), "{plain}: {}", reply.status);
        let location = reply
            .headers
            .get("location")
            .map(|location| location.to_str().unwrap().to_owned());
        // A proxy may strip the base path; the request at the root is equivalent.
        let root = plain
            .strip_prefix("/pool")
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or("/");
        let same = page(&app, root, &cookie).await;
        assert_eq!(
            (same.status, same.headers.get("location")),
            (reply.status, reply.headers.get("location")),
            "{root}"
        );
        let html = reply
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"));
        let found = if html {
            addresses(&String::from_utf8(reply.body).unwrap())
        } else {
            Vec::new()
        };
        for address in found.into_iter().chain(location) {
            assert!(
                address == "/pool" || address.starts_with("/pool/"),
                "{plain} leads to {address}"
            );
            open.push(address);
        }
    }
    for part in [
        "/pool/status",
        "/pool/hosts/h1",
        "/pool/hosts/h1/edit",
        "/pool/clusters/new",
        "/pool/leases",
        "/pool/account",
    ] {
        assert!(seen.contains(part), "{part} is not linked: {seen:?}");
    }
    assert!(
        seen.iter().any(|path| path.starts_with("/pool/static/")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn the_api_below_a_base_path_returns_its_address() {
    let app = start("https://tools.example/pool", 0).await;
    for path in ["/pool/api/v1/openapi.json", "/api/v1/openapi.json"] {
        let about: Value = app.get("", path).await.read(StatusCode::OK);
        assert_eq!(about["servers"][0]["url"], "/pool", "{path}");
    }
    let made = app
        .post(
            &app.admin,
            "/pool/api/v1/hosts",
            serde_json::json!({ "name": "h1", "address": "unix:///empty.sock" }),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let location = made.headers["location"].to_str().unwrap();
    assert!(location.starts_with("/pool/api/v1/hosts/"), "{location}");
    assert_eq!(app.get(&app.admin, location).await.status, StatusCode::OK);
    assert_eq!(app.get("", "/pool/healthz").await.status, StatusCode::OK);
    app.get(&app.admin, "/poolside/api/v1/hosts")
        .await
        .headers
        .get("location")
        .unwrap();
    app.get(&app.admin, "/pool/api/v1/none")
        .await
        .problem(404, "route_not_found");
}

#[tokio::test]
async fn hsts_is_sent_only_with_https() {
    for (public_url, https) in [
        ("https://pool.example.org", true),
        ("http://pool.example.org", false),
    ] {
        let app = start(public_url, 0).await;
        for path in ["/healthz", "/sign-in"] {
            let reply = app.ask(request(None, Method::GET, path, None)).await;
            assert_eq!(
                reply.headers.contains_key("strict-transport-security"),
                https,
                "{public_url}{path}"
            );
        }
        let (_, cookie) = sign_in(&app, "").await;
        assert_eq!(cookie.starts_with("__Host-"), https, "{cookie}");
    }
}

#[tokio::test]
async fn sessions_have_the_same_rate_limit_as_tokens() {
    let app = start("http://pool.example.org", 1).await;
    let (_, cookie) = sign_in(&app, "").await;
    let mut rejected = None;
    // A bucket holds one request, so a burst must exceed it.
    for _ in 0..100 {
        let reply = page(&app, "/account", &cookie).await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            rejected = Some(reply);
            break;
        }
    }
    assert_eq!(
        rejected.expect("no request was rejected").headers["retry-after"],
        "1"
    );
    let style = page(&app, "/sign-in", "").await;
    let style = addresses(std::str::from_utf8(&style.body).unwrap())
        .into_iter()
        .find(|path| path.starts_with("/static/"))
        .unwrap();
    assert_eq!(
        page(&app, &style, &cookie).await.status,
        StatusCode::OK,
        "static files are not counted"
    );
}
