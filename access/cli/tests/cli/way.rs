//! The way to the server: addresses, tokens, refusals, and servers that are not there.

use crate::server::{Fake, Home, answer_json, host, refusal, words};
use axum::{body::Body, response::Response};
use std::{fs, os::unix::fs::PermissionsExt};

fn context(home: &Home, server: &str, token: &str) {
    let file = home.folder.path().join("admin.context");
    fs::write(&file, format!("server = \"{server}\"\ntoken = \"{token}\"\n")).expect("it can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it can be set");
}

async fn token_seen(home: &Home, server: &Fake, environment: &[(&str, &str)], line: &str) -> Option<String> {
    let ran = home.run(environment, &words(line)).await;
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    server.seen().last().expect("it was asked").authorization.clone()
}

#[tokio::test]
async fn the_nearest_token_is_taken() {
    let server = Fake::start(|_| answer_json(200, &host())).await;
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
async fn the_local_administrators_token_goes_to_no_other_server() {
    let server = Fake::start(|_| answer_json(200, &host())).await;
    let home = Home::new();
    context(&home, "http://127.0.0.1:1", "of-the-context");
    let line = format!("host show h1 --server {}", server.url());
    assert_eq!(token_seen(&home, &server, &[], &line).await, None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Fake::start(|_| answer_json(200, &host())).await;
    let to = other.url();
    let server = Fake::start(move |_| {
        Response::builder()
            .status(307)
            .header("location", &to)
            .body(Body::empty())
            .expect("a response")
    })
    .await;
    assert_eq!(server.run("host show h1").await.code, Some(6));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_with_six_and_says_how_to_start_one() {
    let gone = Fake::start(|_| answer_json(200, &host())).await.url();
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
async fn every_refusal_ends_with_its_number_and_says_why() {
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
        let server = Fake::start(move |_| refusal(status, "word", "this is why")).await;
        let ran = server.run("host show h1").await;
        assert_eq!(ran.code, Some(code), "{status}: {ran:?}");
        assert!(
            ran.errors.starts_with("chainpool: this is why") && ran.out.is_empty(),
            "{status}: {ran:?}"
        );
        assert_eq!(ran.errors.contains("CHAINPOOL_TOKEN"), status == 401, "{ran:?}");
        assert!(!ran.errors.contains("t0ken"), "{ran:?}");
    }
}

#[tokio::test]
async fn what_is_no_chainpool_is_told_from_one() {
    for response in [(404, "<html>"), (200, "<html>"), (200, "{}")] {
        let server = Fake::start(move |_| {
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
    let proxy = Fake::start(|_| {
        Response::builder()
            .status(502)
            .body(Body::empty())
            .expect("a response")
    })
    .await;
    assert_eq!(proxy.run("host show h1").await.code, Some(6));
}

#[tokio::test]
async fn odd_addresses_tokens_and_names_are_refused_before_anything_is_sent() {
    let home = Home::new();
    fs::write(home.folder.path().join("empty"), "\n").unwrap();
    for (line, code, says) in [
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
        ("host show .. --server http://127.0.0.1:1", 7, "not a name"),
    ] {
        let ran = home.run(&[], &words(line)).await;
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        assert!(
            ran.errors.contains(says) && !ran.errors.contains("s3cret"),
            "{line}: {ran:?}"
        );
    }
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_this_machine() {
    let proxy = Fake::start(|_| answer_json(200, &host())).await;
    let server = Fake::start(|_| answer_json(200, &host())).await;
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
    assert_eq!((proxy.seen().len(), server.seen().len()), (0, 1));
}

#[tokio::test]
async fn the_link_of_a_server_behind_a_proxy_is_the_one_that_people_open() {
    let server = Fake::start(|_| answer_json(201, &serde_json::json!({ "link": "s3cret" }))).await;
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
        home.run(&[], &words("account reset-link ann")).await.out,
        "https://pool.example.org/welcome/s3cret\n"
    );
}
