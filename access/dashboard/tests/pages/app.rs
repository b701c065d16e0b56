//! The dashboard on its own façade.

use axum::{Router, body::Body};
use chainpool_api::{AccountCreate, PasswordSet, Role};
use chainpool_dashboard::router;
use chainpool_orchestrator::{Config, Orchestrator};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) struct App {
    pub(crate) router: Router,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) link: String,
    _folder: TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> &str {
        self.header(header::LOCATION)
    }

    pub(crate) fn cookie(&self) -> String {
        self.header(header::SET_COOKIE)
            .split(';')
            .next()
            .unwrap()
            .to_owned()
    }
}

pub(crate) const PASSWORD: &str = "a long enough password";

impl App {
    pub(crate) async fn start() -> Self {
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

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Reply {
        self.send(
            Request::get(path)
                .header(header::COOKIE, cookie)
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn post(&self, path: &str, cookie: &str, form: &str) -> Reply {
        self.send(post(path, cookie, form)).await
    }

    pub(crate) async fn sign_in_admin(&self) -> String {
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

    pub(crate) async fn sign_in_as(&self, name: &str, role: Role) -> String {
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

pub(crate) fn post(path: &str, cookie: &str, form: &str) -> Request<Body> {
    Request::post(path)
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Body::from(form.to_owned()))
        .unwrap()
}
