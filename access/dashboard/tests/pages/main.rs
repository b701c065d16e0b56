//! The pages with a real façade but no platform: sign-in, access by role, rejected forms.

#![allow(clippy::unwrap_used, reason = "test helpers panic like tests")]

mod app;
mod sign_in;

use app::App;
use axum::body::Body;
use chainpool_api::Role;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

#[tokio::test]
async fn the_theme_redirects_to_a_valid_address_or_the_status_page() {
    let app = App::start().await;
    for (back, location) in [
        ("/%0B/x", "/status"),
        ("/%7F", "/status"),
        ("/hosts?search=%C3%BC+b", "/hosts?search=%C3%BC%20b"),
    ] {
        let reply = app.post("/theme", "", &format!("theme=dark&back={back}")).await;
        assert_eq!(
            (reply.status, reply.location()),
            (StatusCode::SEE_OTHER, location),
            "{back}"
        );
    }
}

#[tokio::test]
async fn every_page_follows_the_content_policy() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let pages = [
        "/status",
        "/hosts",
        "/hosts/new",
        "/clusters",
        "/clusters/new",
        "/leases",
        "/operations",
        "/network-types",
        "/admin",
        "/account",
        "/search?q=nothing",
        "/sign-in",
        "/welcome",
        "/sign-out",
        "/hosts/none",
        "/clusters/none",
        "/no/such/page",
        "/operations/0199a3f2-7c41-7d10-9a55-000000000001",
    ];
    for path in pages {
        let page = app.get(path, &cookie).await;
        let expected = if path.contains("none") || path.contains("no/such") || path.contains("0199") {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        assert_eq!(page.status, expected, "{path}\n{}", page.body);
        assert_eq!(page.body.matches("<h1").count(), 1, "{path}");
        assert!(
            !page.body.contains(" style=") && !page.body.contains("<style"),
            "{path}"
        );
        assert_eq!(
            page.body.matches("<script").count(),
            page.body.matches("<script src=\"/static/").count(),
            "{path}"
        );
        let policy = page.header(header::CONTENT_SECURITY_POLICY);
        assert!(
            policy.contains("default-src 'self'")
                && policy.contains("frame-ancestors 'none'")
                && !policy.contains("unsafe"),
            "{path}"
        );
        assert_eq!(page.header(header::CACHE_CONTROL), "no-store", "{path}");
    }
}

#[tokio::test]
async fn a_rejected_form_keeps_its_input_and_shows_the_error_at_the_field() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let reply = app
        .post(
            "/hosts",
            &cookie,
            "name=my-host&address=nonsense&capacity=many&registry_password=hush",
        )
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    for text in [
        "value=\"my-host\"",
        "value=\"many\"",
        "id=\"capacity-wrong\"",
        "is not a number",
        "Nothing was changed",
        "request",
    ] {
        assert!(reply.body.contains(text), "{text} in\n{}", reply.body);
    }
    assert!(!reply.body.contains("hush"), "a password is never returned");
    assert!(app.get("/hosts", &cookie).await.body.contains("No hosts yet"));
    let reply = app.post("/leases", &cookie, "type=cometbft&size=4").await;
    assert!(
        reply.status == StatusCode::CONFLICT && reply.body.contains("role=\"alert\""),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn an_enum_parameter_is_a_select() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let form = app.get("/clusters/new?type=fabric", &cookie).await.body;
    for (parameter, words) in [("version", ["2.5", "3.1"]), ("consensus", ["raft", "bft"])] {
        let (_, rest) = form
            .split_once(&format!("<select id=\"parameters.{parameter}\""))
            .unwrap();
        let (choice, _) = rest.split_once("</select>").unwrap();
        assert!(
            choice.contains("preset value")
                && words
                    .iter()
                    .all(|word| choice.contains(&format!("<option>{word}</option>")))
        );
    }
    let reply = app
        .post(
            "/clusters",
            &cookie,
            "type=fabric&parameters.version=2.4&parameters.consensus=bft",
        )
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(
        reply.body.contains("must be 2.5 or 3.1, not")
            && reply.body.contains("<option selected>bft</option>"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn account_and_token_secrets_are_shown_once_and_deletion_requires_the_name() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let created = app
        .post("/admin/accounts", &cookie, "name=bob&role=operator")
        .await;
    assert!(
        created.status == StatusCode::OK
            && created.body.contains("One-time link for bob")
            && created.body.contains("/welcome#cpl_"),
        "{}",
        created.body
    );
    let listed = app.get("/admin", &cookie).await;
    assert!(listed.body.contains(">bob<") && !listed.body.contains("cpl_"));
    let token = app
        .post("/account/tokens", &cookie, "token_name=laptop&days=3")
        .await;
    assert!(
        token.body.contains("cpt_") && token.body.contains("laptop"),
        "{}",
        token.body
    );
    let empty = app.post("/account/tokens", &cookie, "token_name=").await;
    assert!(
        empty.status == StatusCode::BAD_REQUEST && empty.body.contains("id=\"token_name-wrong\""),
        "{}",
        empty.body
    );
    let mistyped = app.post("/admin/accounts/bob/delete", &cookie, "typed=bo").await;
    assert!(
        mistyped.status == StatusCode::BAD_REQUEST && mistyped.body.contains("type bob to confirm"),
        "{}",
        mistyped.body
    );
    assert_eq!(
        app.post("/admin/accounts/bob/delete", &cookie, "typed=bob")
            .await
            .location(),
        "/admin?done=account_deleted"
    );
    assert!(!app.get("/admin", &cookie).await.body.contains(">bob<"));
}

/// Days are stored as seconds. Values that overflow are rejected at the field, and the token lists still
/// work.
#[tokio::test]
async fn a_token_lifetime_out_of_range_is_rejected_at_the_field() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    for path in ["/account/tokens", "/admin/tokens"] {
        for days in [
            "0",
            "3000000",
            "18446744073709551615",
            "18446744073709551616",
            "-1",
        ] {
            let reply = app
                .post(path, &cookie, &format!("token_name=laptop&days={days}"))
                .await;
            assert_eq!(
                reply.status,
                StatusCode::BAD_REQUEST,
                "{path} {days}\n{}",
                reply.body
            );
            let wrong =
                reply.body.contains("id=\"days-wrong\"") && reply.body.contains(&format!("value=\"{days}\""));
            assert!(
                wrong && !reply.body.contains("cpt_"),
                "{path} {days}\n{}",
                reply.body
            );
        }
    }
    for path in ["/account", "/admin"] {
        let page = app.get(path, &cookie).await;
        assert!(
            page.status == StatusCode::OK && !page.body.contains("laptop"),
            "{path}\n{}",
            page.body
        );
    }
}

#[tokio::test]
async fn each_role_has_access_to_its_pages_only() {
    let app = App::start().await;
    let user = app.sign_in_as("carol", Role::User).await;
    for path in ["/status", "/clusters", "/leases", "/network-types", "/account"] {
        let page = app.get(path, &user).await;
        assert!(
            page.status == StatusCode::OK && !page.body.contains("href=\"/hosts\""),
            "{path}\n{}",
            page.body
        );
    }
    for path in [
        "/hosts",
        "/hosts/new",
        "/operations",
        "/clusters/new",
        "/admin",
        "/admin/resume",
    ] {
        assert_eq!(app.get(path, &user).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(
        app.post("/admin/accounts", &user, "name=eve&role=admin")
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    let operator = app.sign_in_as("dave", Role::Operator).await;
    assert_eq!(app.get("/hosts", &operator).await.status, StatusCode::OK);
    assert_eq!(app.get("/admin", &operator).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn embedded_files_are_cached_as_immutable() {
    let app = App::start().await;
    let page = app.get("/sign-in", "").await;
    for attribute in [
        "<link rel=\"stylesheet\" href=\"",
        "<script src=\"",
        "id=\"tab-icon\" href=\"",
    ] {
        let (_, rest) = page.body.split_once(attribute).unwrap();
        let address = rest.split('"').next().unwrap();
        let file = app.get(address, "").await;
        assert!(
            file.status == StatusCode::OK && file.header(header::CACHE_CONTROL).contains("immutable"),
            "{address}"
        );
    }
    assert_eq!(
        app.get("/static/chainpool.css", "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_theme_is_stored_and_fragments_omit_the_frame() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let reply = app.post("/theme", &cookie, "theme=dark&back=/hosts").await;
    assert_eq!(reply.location(), "/hosts");
    let page = app.get("/hosts", &format!("{cookie}; {}", reply.cookie())).await;
    assert!(page.body.contains("data-theme=\"dark\""));
    let request = Request::get("/hosts")
        .header(header::COOKIE, &cookie)
        .header("x-fragment", "1")
        .body(Body::empty())
        .unwrap();
    let bare = app.send(request).await;
    assert!(
        bare.body.contains("<main") && !bare.body.contains("class=\"rail\""),
        "{}",
        bare.body
    );
}

#[tokio::test]
async fn the_event_stream_sends_heartbeats_and_requires_sign_in() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let ask = |cookie: &str| {
        Request::builder()
            .method(Method::GET)
            .uri("/events/stream")
            .header(header::ACCEPT, "text/event-stream")
            .header(header::COOKIE, cookie)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(app.send(ask("")).await.status, StatusCode::UNAUTHORIZED);
    let mut stream = app
        .router
        .clone()
        .oneshot(ask(&cookie))
        .await
        .unwrap()
        .into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: beat"), "{first:?}");
}
