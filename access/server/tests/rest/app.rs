//! The router on its own façade, with a reachable platform that creates nothing.

use crate::schema_validator;
use async_trait::async_trait;
use axum::{Router, body::Body, response::Response};
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Error, Generation, ImageRef,
    ImageRequest, Incarnation, LogLine, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation,
    Platform, PlatformKind, Port, Power, Probe, Result, Scope, SwarmRole, Volumes, WakeStream,
};
use chainpool_api::{Host, Problem, ResetLink, Role, Session, TokenMade};
use chainpool_orchestrator::{Config, Orchestrator};
use chainpool_server::{ServeConfig, router};
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// A server with one administrator.
pub(crate) struct App {
    /// The administrator's token.
    pub(crate) admin: String,
    /// The orchestrator, for the watchdog's actions.
    pub(crate) orchestrator: Orchestrator,
    /// Calls recorded by the empty platform.
    pub(crate) calls: Arc<Mutex<Vec<&'static str>>>,
    router: Router,
    folder: TempDir,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl App {
    /// A server without limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(0).await
    }

    /// A server with a rate limit per second and token.
    pub(crate) async fn start_with(rate_limit_per_second: u32) -> Self {
        Self::start_as(ServeConfig {
            rate_limit_per_second,
            ..ServeConfig::new("127.0.0.1:0".parse().unwrap())
        })
        .await
    }

    /// A server with this configuration.
    pub(crate) async fn start_as(serve: ServeConfig) -> Self {
        Self::open(tempfile::tempdir().unwrap(), true, serve).await
    }

    /// A server on an existing data folder. With `runs_operations` false it only records accepted operations.
    pub(crate) async fn open(folder: TempDir, runs_operations: bool, serve: ServeConfig) -> Self {
        let calls = Arc::default();
        let platform = Arc::new(EmptyPlatform {
            calls: Arc::clone(&calls),
        });
        let config = Config {
            run_operations: runs_operations,
            ..Config::new(folder.path().to_owned(), vec![platform])
        };
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let (_, admin, _) = orchestrator.local_admin().await.unwrap();
        let router = router(orchestrator.clone(), &serve);
        Self {
            admin,
            orchestrator,
            calls,
            router,
            folder,
        }
    }

    /// Stops the server and returns its data folder.
    pub(crate) async fn end(self) -> TempDir {
        self.orchestrator.stop().await;
        self.folder
    }

    /// Sends a request; the response body may still stream.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request, reads the whole response and validates it against the OpenAPI document.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.send(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let reply = Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        };
        schema_validator::check(&method, &path, &reply);
        reply
    }

    /// Sends a request with a token.
    pub(crate) async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.ask(request(Some(token), method, path, body)).await
    }

    /// Sends a GET request with a token.
    pub(crate) async fn get(&self, token: &str, path: &str) -> Reply {
        self.call(token, Method::GET, path, None).await
    }

    /// Posts a document with a token.
    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Reply {
        self.call(token, Method::POST, path, Some(body)).await
    }

    /// Creates an account and a token for it.
    pub(crate) async fn account(&self, name: &str, role: Role) -> String {
        let made = self
            .post(
                &self.admin,
                "/api/v1/accounts",
                json!({ "name": name, "role": role }),
            )
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        self.token(name).await
    }

    /// Creates a token with the scope `lease:any` for an account.
    pub(crate) async fn program(&self, account: &str) -> String {
        let new = json!({ "name": "program", "account": account, "lease_any": true });
        self.post(&self.admin, "/api/v1/tokens", new)
            .await
            .read::<TokenMade>(StatusCode::CREATED)
            .secret
    }

    /// Creates a token for an account.
    pub(crate) async fn token(&self, account: &str) -> String {
        let made = self
            .post(
                &self.admin,
                "/api/v1/tokens",
                json!({ "name": "test", "account": account }),
            )
            .await;
        made.read::<TokenMade>(StatusCode::CREATED).secret
    }

    /// Sets a password of an account through a one-time link, and returns the session.
    pub(crate) async fn password(&self, account: &str, password: &str) -> Session {
        let link = self
            .post(
                &self.admin,
                &format!("/api/v1/accounts/{account}/reset-link"),
                json!({}),
            )
            .await;
        let ResetLink { link } = link.read(StatusCode::CREATED);
        let set = request(
            None,
            Method::POST,
            "/api/v1/password",
            Some(json!({ "link": link, "password": password })),
        );
        self.ask(set).await.read(StatusCode::OK)
    }

    /// The session cookie with this secret, for plain HTTP. Its name ends with the last 12 characters of the
    /// instance id.
    pub(crate) fn cookie(&self, secret: &str) -> String {
        let instance = self.orchestrator.instance().replace('-', "");
        format!("chainpool_session_{}={secret}", &instance[instance.len() - 12..])
    }

    /// Registers a host on the empty platform.
    pub(crate) async fn host(&self) -> Host {
        let made = self
            .post(
                &self.admin,
                "/api/v1/hosts",
                json!({ "name": "h1", "address": "unix:///empty.sock" }),
            )
            .await;
        made.read(StatusCode::CREATED)
    }
}

impl Reply {
    /// Parses the document and checks the status.
    pub(crate) fn read<T: DeserializeOwned>(&self, status: StatusCode) -> T {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Parses the problem and checks status, code and request id.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Problem {
        let problem: Problem = self.read(StatusCode::from_u16(status).unwrap());
        assert_eq!(problem.code, code, "{problem:?}");
        assert_eq!(
            problem.request_id.as_deref(),
            self.headers["x-request-id"].to_str().ok()
        );
        assert_eq!(self.headers["content-type"], "application/json");
        problem
    }
}

/// A request with an optional token and JSON body.
pub(crate) fn request(token: Option<&str>, method: Method, path: &str, body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
        None => request.body(Body::empty()).unwrap(),
    }
}

/// A platform that can be registered but has no images.
#[derive(Clone)]
struct EmptyPlatform {
    calls: Arc<Mutex<Vec<&'static str>>>,
}

/// Waits until the empty platform has recorded a call.
pub(crate) async fn first_call(calls: &Mutex<Vec<&'static str>>) {
    while calls.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl EmptyPlatform {
    fn record(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }
}

#[async_trait]
impl Platform for EmptyPlatform {
    fn accepts_address(&self, address: &str) -> bool {
        address.starts_with("unix://") || address.starts_with("tcp://")
    }

    fn kind(&self) -> PlatformKind {
        PlatformKind::new("docker")
    }

    fn connect(&self, _: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Agent for EmptyPlatform {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subnets: true,
            machines: false,
            ports: (20_000, 29_999),
            concurrency: 8,
            queues: false,
        }
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(Probe {
            kind: PlatformKind::new("docker"),
            engine_id: "empty".into(),
            name: "empty".into(),
            version: "1".into(),
            api_version: "1.41".into(),
            storage_driver: "overlay2".into(),
            architecture: "amd64".into(),
            swarm: SwarmRole::None,
            cpus: 2,
            memory_bytes: 64 << 30,
            disk: Some((800, 1000)),
            skew_ms: Some(0),
            machines: Vec::new(),
        })
    }

    async fn observe(&self, _: Scope) -> Result<Observation> {
        Ok(Observation::default())
    }

    fn watch(&self) -> WakeStream {
        Box::pin(futures::stream::pending())
    }

    /// Hangs for the image `hanging`, and until the first recorded call for the image `late`.
    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        match &request.candidates[..] {
            [only] if only == "hanging" => std::future::pending().await,
            [only] if only == "late" => first_call(&self.calls).await,
            _ => {}
        }
        Err(Error::Refused(format!(
            "no image of {}",
            request.candidates.join(", ")
        )))
    }

    /// Slower than the failure of an image.
    async fn ensure_network(&self, _: &ClusterKey, _: &NetworkSpec) -> Result<()> {
        self.record("network requested");
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.record("network created");
        Ok(())
    }

    async fn ensure_node(&self, _: &ClusterKey, _: &NodeSpec, _: &ImageRef, _: &Power) -> Result<()> {
        Err(Error::Refused("no nodes here".into()))
    }

    async fn ensure_job(&self, _: &ClusterKey, _: &NodeSpec, _: &ImageRef) -> Result<()> {
        Err(Error::Refused("no jobs here".into()))
    }

    async fn incarnation(&self, _: &ClusterKey, _: &NodeName) -> Result<Option<Incarnation>> {
        Ok(None)
    }

    async fn drop_node(&self, _: &ClusterKey, _: &NodeName, _: Volumes) -> Result<()> {
        Ok(())
    }

    async fn drop_cluster(&self, _: ClusterId, _: Generation) -> Result<()> {
        self.record("cluster deleted");
        Ok(())
    }

    /// One line; repeated endlessly with `follow`.
    async fn logs(&self, _: &ClusterKey, _: &NodeName, query: LogQuery) -> Result<LogStream> {
        let line = async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(LogLine {
                stderr: false,
                bytes: "a line\n".into(),
            })
        };
        let lines = futures::stream::unfold((), move |()| async move { Some((line().await, ())) });
        Ok(Box::pin(lines.take(if query.follow { usize::MAX } else { 1 })))
    }

    async fn dial(&self, _: &ClusterKey, _: &NodeName, _: &Port) -> Result<ByteStream> {
        Err(Error::Refused("no ports here".into()))
    }
}
