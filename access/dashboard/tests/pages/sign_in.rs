//! Sign-in, sessions and their cookies, forms without a session.

use crate::app::{App, PASSWORD, post};
use axum::body::Body;
use chainpool_dashboard::{ANONYMOUS_BODY_LIMIT, PerAddressLimit, Site};
use http::{Request, StatusCode, header};
use std::sync::Arc;

#[tokio::test]
async fn the_one_time_link_sets_the_password_and_signs_in_once() {
    let app = App::start().await;
    let page = app.get(&format!("/welcome?link={}", app.link), "").await;
    assert!(
        page.status == StatusCode::OK && page.body.contains("Set a password for admin"),
        "{}",
        page.body
    );
    let page = app.get(&format!("/welcome/{}", app.link), "").await;
    assert!(page.body.contains("Set a password for admin"));
    let short = app
        .post(
            "/welcome",
            "",
            &format!("link={}&password=short&password_again=short", app.link),
        )
        .await;
    assert!(
        short.status == StatusCode::BAD_REQUEST && short.body.contains("use at least 12 characters"),
        "{}",
        short.body
    );
    let cookie = app.sign_in_admin().await;
    assert_eq!(app.get("/status", &cookie).await.status, StatusCode::OK);
    let again = app.get(&format!("/welcome/{}", app.link), "").await;
    assert!(
        again.status == StatusCode::BAD_REQUEST && again.body.contains("create another one"),
        "{}",
        again.body
    );
}

#[tokio::test]
async fn sign_in_redirects_to_the_requested_page_and_never_to_another_site() {
    let app = App::start().await;
    app.sign_in_admin().await;
    assert_eq!(app.get("/", "").await.location(), "/sign-in");
    assert_eq!(
        app.get("/hosts?state=active", "").await.location(),
        "/sign-in?next=/hosts%3Fstate%3Dactive"
    );
    let form = format!("account=admin&password={PASSWORD}").replace(' ', "+");
    let reply = app
        .post("/sign-in", "", &format!("{form}&next=/hosts%3Fstate%3Dactive"))
        .await;
    assert_eq!(
        (reply.status, reply.location()),
        (StatusCode::SEE_OTHER, "/hosts?state=active")
    );
    assert_eq!(
        app.post("/sign-in", "", &format!("{form}&next=//evil.example/"))
            .await
            .location(),
        "/status"
    );
    let wrong = app.post("/sign-in", "", "account=admin&password=wrong").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(
        wrong.body.contains("incorrect account or password") && wrong.body.contains("value=\"admin\""),
        "the account is kept\n{}",
        wrong.body
    );
    let cookie = reply.cookie();
    assert_eq!(app.get("/sign-out", &cookie).await.status, StatusCode::OK);
    assert_eq!(
        app.get("/status", &cookie).await.status,
        StatusCode::OK,
        "GET changes nothing"
    );
    assert!(
        app.post("/sign-out", &cookie, "")
            .await
            .header(header::SET_COOKIE)
            .contains("Max-Age=0")
    );
    assert_eq!(app.get("/status", &cookie).await.status, StatusCode::SEE_OTHER);
}

/// The request with this site in its extensions.
fn at(mut request: Request<Body>, site: &Arc<Site>) -> Request<Body> {
    request.extensions_mut().insert(Arc::clone(site));
    request
}

fn site(https: bool, base: &str, instance: &str) -> Arc<Site> {
    Arc::new(Site {
        https,
        base: base.into(),
        instance: instance.into(),
        anonymous: PerAddressLimit::default(),
    })
}

#[tokio::test]
async fn the_cookie_is_strict_and_secure_behind_https() {
    for (base, name, path) in [
        ("", "__Host-chainpool_session_1", "Path=/;"),
        ("/pool", "__Secure-chainpool_session_1", "Path=/pool;"),
    ] {
        let app = App::start().await;
        let form =
            format!("link={}&password={PASSWORD}&password_again={PASSWORD}", app.link).replace(' ', "+");
        let reply = app
            .send(at(post("/welcome", "", &form), &site(true, base, "1")))
            .await;
        let cookie = reply.header(header::SET_COOKIE);
        assert!(
            cookie.starts_with(&format!("{name}=")) && cookie.contains(path),
            "{cookie}"
        );
        assert!(cookie.contains("HttpOnly; SameSite=Strict; Secure"), "{cookie}");
    }
}

#[tokio::test]
async fn two_installations_on_one_host_name_have_separate_sessions() {
    let (one, other) = (App::start().await, App::start().await);
    let (site_of_one, site_of_other) = (site(false, "", "one"), site(false, "", "other"));
    let mut cookies = Vec::new();
    for (app, site) in [(&one, &site_of_one), (&other, &site_of_other)] {
        let form =
            format!("link={}&password={PASSWORD}&password_again={PASSWORD}", app.link).replace(' ', "+");
        cookies.push(app.send(at(post("/welcome", "", &form), site)).await.cookie());
    }
    // A browser sends both cookies to both, because cookies are not separated by port.
    let jar = cookies.join("; ");
    for (app, site) in [(&one, &site_of_one), (&other, &site_of_other)] {
        let request = Request::get("/account")
            .header(header::COOKIE, &jar)
            .body(Body::empty())
            .unwrap();
        assert_eq!(app.send(at(request, site)).await.status, StatusCode::OK);
        let request = Request::get("/account")
            .header(header::COOKIE, jar.replace("session_", "session"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(app.send(at(request, site)).await.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn anonymous_forms_are_small_and_limited() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let large = format!("theme=dark&account={}", "x".repeat(ANONYMOUS_BODY_LIMIT));
    for path in ["/sign-in", "/welcome", "/theme"] {
        let reply = app.post(path, "", &large).await;
        assert!(
            reply.status.is_client_error() && reply.status != StatusCode::NOT_FOUND,
            "{path}: {}",
            reply.status
        );
    }
    let reply = app
        .post(
            "/account/tokens",
            &cookie,
            &format!("token_name={}", "x".repeat(ANONYMOUS_BODY_LIMIT)),
        )
        .await;
    assert!(
        reply.body.contains("token_name-wrong"),
        "signed-in callers may send more: {}",
        reply.body
    );
    let full = Arc::new(Site {
        anonymous: PerAddressLimit::new(1, 1),
        ..Site::default()
    });
    let permit = full.anonymous.acquire(None);
    assert_eq!(
        app.send(at(post("/theme", "", "theme=dark"), &full)).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(
        app.send(at(Request::get("/sign-in").body(Body::empty()).unwrap(), &full))
            .await
            .status,
        StatusCode::OK
    );
    drop(permit);
    assert_eq!(
        app.send(at(post("/theme", "", "theme=dark"), &full)).await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn forms_from_other_sites_are_rejected() {
    let app = App::start().await;
    let cookie = app.sign_in_admin().await;
    let mut request = post("/admin/accounts", &cookie, "name=mallory&role=admin");
    request
        .headers_mut()
        .insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(app.send(request).await.status, StatusCode::FORBIDDEN);
    assert!(!app.get("/admin", &cookie).await.body.contains("mallory"));
}
