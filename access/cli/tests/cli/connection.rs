//! Connection to the server: addresses, tokens, error responses, unreachable servers.

use crate::server::{FakeServer, Home, host, json_response, problem_response, split_args};
use axum::{body::Body, response::Response};
use std::{fs, os::unix::fs::PermissionsExt};

fn context(home: &Home, server: &str, token: &str) {
    let file = home.folder.path().join("admin.context");
    fs::write(&file, format!("server = \"{server}\"\ntoken = \"{token}\"\n")).expect("it is writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("the mode can be set");
}

async fn token_seen(
    home: &Home,
    server: &FakeServer,
    environment: &[(&str, &str)],
    line: &str,
) -> Option<String> {
    let ran = home.run(environment, &split_args(line)).await;
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    server.requests().last().expect("a request").authorization.clone()
}

#[tokio::test]
async fn tokens_have_the_precedence_file_environment_context() {
    let server = FakeServer::start(|_| json_response(200, &host())).await;
    let home = Home::new();
    context(&home, &server.url(), "of-the-context");
    fs::write(home.folder.path().join("token"), "of-the-file\n").unwrap();
    let environment = [("CHAINPOOL_TOKEN", "of-the-environment")];
    assert_eq!(
        token_seen(&home, &server, &[], "host show h1").await.as_deref(),
        Some("Bearer of-the-context")
    );
    assert_eq!(
        token_seen(&home, &server, &environment, "host show h1")
            .await
            .as_deref(),
        Some("Bearer of-the-environment")
    );
    assert_eq!(
        token_seen(&home, &server, &environment, "host show h1 --token-file token")
            .await
            .as_deref(),
        Some("Bearer of-the-file")
    );
    let same = format!("host show h1 --server {}/", server.url());
    assert_eq!(
        token_seen(&home, &server, &[], &same).await.as_deref(),
        Some("Bearer of-the-context")
    );
}

#[tokio::test]
async fn the_local_administrators_token_is_sent_only_to_the_local_server() {
    let server = FakeServer::start(|_| json_response(200, &host())).await;
    let home = Home::new();
    context(&home, "http://127.0.0.1:1", "of-the-context");
    let line = format!("host show h1 --server {}", server.url());
    assert_eq!(token_seen(&home, &server, &[], &line).await, None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = FakeServer::start(|_| json_response(200, &host())).await;
    let to = other.url();
    let server = FakeServer::start(move |_| {
        Response::builder()
            .status(307)
            .header("location", &to)
            .body(Body::empty())
            .expect("a response")
    })
    .await;
    assert_eq!(server.run("host show h1").await.code, Some(6));
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn an_unreachable_server_exits_with_six_and_a_hint_to_start_one() {
    let gone = FakeServer::start(|_| json_response(200, &host())).await.url();
    let home = Home::new();
    let ran = home.run(&[("CHAINPOOL_SERVER", &gone)], &["host", "list"]).await;
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(
        ran.errors.contains("chainpool serve")
            && ran.errors.contains(&gone)
            && ran.errors.contains("refused"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn every_error_status_has_its_exit_status_and_message() {
    for (status, code) in [
        (400, 7),
        (401, 5),
        (403, 5),
        (404, 3),
        (409, 4),
        (413, 7),
        (422, 7),
        (429, 1),
        (500, 1),
        (503, 6),
    ] {
        let server = FakeServer::start(move |_| problem_response(status, "word", "the reason")).await;
        let ran = server.run("host show h1").await;
        assert_eq!(ran.code, Some(code), "{status}: {ran:?}");
        assert!(
            ran.errors.starts_with("chainpool: the reason") && ran.out.is_empty(),
            "{status}: {ran:?}"
        );
        assert_eq!(ran.errors.contains("CHAINPOOL_TOKEN"), status == 401, "{ran:?}");
        assert!(!ran.errors.contains("t0ken"), "{ran:?}");
    }
}

#[tokio::test]
async fn other_servers_are_not_mistaken_for_chainpool() {
    for response in [(404, "<html>"), (200, "<html>"), (200, "{}")] {
        let server = FakeServer::start(move |_| {
            Response::builder()
                .status(response.0)
                .body(Body::from(response.1))
                .expect("a response")
        })
        .await;
        let ran = server.run("host show h1").await;
        assert_eq!(ran.code, Some(6), "{response:?}: {ran:?}");
        assert!(
            ran.errors.contains("no Chainpool server"),
            "{response:?}: {ran:?}"
        );
    }
    let proxy = FakeServer::start(|_| {
        Response::builder()
            .status(502)
            .body(Body::empty())
            .expect("a response")
    })
    .await;
    assert_eq!(proxy.run("host show h1").await.code, Some(6));
}

#[tokio::test]
async fn invalid_addresses_tokens_and_names_are_rejected_without_a_request() {
    let home = Home::new();
    fs::write(home.folder.path().join("empty"), "\n").unwrap();
    for (line, code, message) in [
        ("host list --server pool.example.org", 2, "https://"),
        ("host list --server ftp://pool.example.org", 2, "https://"),
        (
            "host list --server http://u:s3cret@pool.example.org",
            2,
            "no password",
        ),
        (
            "host list --server http://127.0.0.1:1 --token-file absent",
            2,
            "absent",
        ),
        (
            "host list --server http://127.0.0.1:1 --token-file empty",
            2,
            "no token",
        ),
        (
            "host list --server https://127.0.0.1:1 --server-ca empty",
            2,
            "no certificate",
        ),
        ("host show .. --server http://127.0.0.1:1", 7, "not a valid name"),
    ] {
        let ran = home.run(&[], &split_args(line)).await;
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        assert!(
            ran.errors.contains(message) && !ran.errors.contains("s3cret"),
            "{line}: {ran:?}"
        );
    }
}

#[tokio::test]
async fn a_local_server_is_reached_without_a_proxy() {
    let proxy = FakeServer::start(|_| json_response(200, &host())).await;
    let server = FakeServer::start(|_| json_response(200, &host())).await;
    let (proxy_url, server_url) = (proxy.url(), server.url());
    let environment = [
        ("http_proxy", proxy_url.as_str()),
        ("CHAINPOOL_SERVER", &server_url),
        ("CHAINPOOL_TOKEN", "t0ken"),
    ];
    assert_eq!(
        Home::new().run(&environment, &["host", "show", "h1"]).await.code,
        Some(0)
    );
    assert_eq!((proxy.requests().len(), server.requests().len()), (0, 1));
}

#[tokio::test]
async fn a_one_time_link_uses_the_public_url() {
    let server = FakeServer::start(|_| json_response(201, &serde_json::json!({ "link": "s3cret" }))).await;
    let home = Home::new();
    let file = home.folder.path().join("admin.context");
    fs::write(
        file,
        format!(
            "server = \"{}\"\ntoken = \"t\"\npublic_url = \"https://pool.example.org\"\n",
            server.url()
        ),
    )
    .unwrap();
    assert_eq!(
        home.run(&[], &split_args("account reset-link ann")).await.out,
        "https://pool.example.org/welcome/s3cret\n"
    );
}
