//! The pages with a real façade but no platform: sign-in, access by role, rejected forms.

#![allow(clippy::unwrap_used, reason = "test helpers panic like tests")]

use axum::{Router, body::Body};
use chainpool_api::{AccountCreate, PasswordSet, Role};
use chainpool_dashboard::{ANONYMOUS_BODY_LIMIT, PerAddressLimit, Site, router};
use chainpool_orchestrator::{Config, Orchestrator};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt as _;

struct App {
    router: Router,
    orchestrator: Orchestrator,
    link: String,
    _folder: TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn location(&self) -> &str {
        self.header(header::LOCATION)
    }

    fn cookie(&self) -> String {
        self.header(header::SET_COOKIE)
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    }
}

const PASSWORD: &str = "a long enough password";

impl App {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(folder.path().to_owned(), Vec::new());
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let (_, _, link) = orchestrator.local_admin().await.unwrap();
        Self {
            router: router(orchestrator.clone()),
            orchestrator,
            link: link.unwrap(),
            _folder: folder,
        }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str, cookie: &str) -> Reply {
        self.send(
            Request::get(path)
                .header(header::COOKIE, cookie)
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    async fn post(&self, path: &str, cookie: &str, form: &str) -> Reply {
        self.send(post(path, cookie, form)).await
    }

    async fn sign_in_admin(&self) -> String {
        let form =
            format!("link={}&password={PASSWORD}&password_again={PASSWORD}", self.link).replace(' ', "+");
        let reply = self.post("/welcome", "", &form).await;
        assert_eq!(
            (reply.status, reply.location()),
            (StatusCode::SEE_OTHER, "/status"),
            "{}",
            reply.body
        );
        reply.cookie()
    }

    async fn sign_in_as(&self, name: &str, role: Role) -> String {
        let (admin, ..) = self.orchestrator.local_admin().await.unwrap();
        self.orchestrator
            .account_create(
                &admin,
                AccountCreate {
                    name: name.into(),
                    role,
                },
            )
            .await
            .unwrap();
        let link = self.orchestrator.account_reset_link(&admin, name).await.unwrap();
        let session = self
            .orchestrator
            .password_set(
                PasswordSet {
                    link,
                    password: PASSWORD.into(),
                },
                "127.0.0.1",
            )
            .await
            .unwrap();
        format!("chainpool_session={}", session.token)
    }
}

fn post(path: &str, cookie: &str, form: &str) -> Request<Body> {
    Request::post(path)
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Body::from(form.to_owned()))
        .unwrap()
}

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
