//! A scripted fake server that records requests; and the binary, run with a clean environment.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, StatusCode, Uri, header},
    response::Response,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    runtime::{Builder, Runtime},
};

/// A recorded request.
#[derive(Debug, Clone)]
pub(crate) struct RecordedRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl RecordedRequest {
    /// The request in one line: method, path, query, body.
    pub(crate) fn line(&self) -> String {
        let query = self
            .query
            .as_ref()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {}{query} {body}", self.method, self.path)
            .trim_end()
            .to_owned()
    }
}

type Script = Arc<dyn Fn(&RecordedRequest) -> Response + Send + Sync>;

/// A fake server on its own port.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<RecordedRequest>>>,
    /// Its own runtime, whose shutdown closes all connections.
    runtime: Option<Runtime>,
}

impl FakeServer {
    /// Starts a server that responds by a script.
    pub(crate) async fn start(script: impl Fn(&RecordedRequest) -> Response + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), script).await
    }

    /// The same at a given address.
    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(&RecordedRequest) -> Response + Send + Sync + 'static,
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .spawn(TcpListener::bind(address))
            .await
            .expect("it runs")
            .expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(script);
        let app = Router::new()
            .fallback(answer)
            .with_state((Arc::clone(&seen), script));
        runtime.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self {
            address,
            seen,
            runtime: Some(runtime),
        }
    }

    /// The recorded requests.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.seen.lock().expect("nobody panicked").clone()
    }

    /// Its URL for `--server`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it like `kill -9`: closes the listener and all connections.
    pub(crate) async fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            tokio::task::spawn_blocking(move || drop(runtime))
                .await
                .expect("the runtime ends");
        }
    }

    /// Runs the binary against it with the token `t0ken`.
    pub(crate) async fn run(&self, line: &str) -> RunOutput {
        let home = Home::new();
        home.run(
            &[("CHAINPOOL_SERVER", &self.url()), ("CHAINPOOL_TOKEN", "t0ken")],
            &split_args(line),
        )
        .await
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(
    State((seen, script)): State<(Arc<Mutex<Vec<RecordedRequest>>>, Script)>,
    method: Method,
    uri: Uri,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned)
    };
    let request = RecordedRequest {
        method,
        path: uri.path().to_owned(),
        query: uri.query().map(ToOwned::to_owned),
        authorization: text("authorization"),
        key: text("idempotency-key"),
        body: body.to_vec(),
    };
    let response = script(&request);
    seen.lock().expect("nobody panicked").push(request);
    response
}

/// A JSON response.
pub(crate) fn json_response(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).expect("a status"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .expect("a response")
}

/// An error response.
pub(crate) fn problem_response(status: u16, code: &str, message: &str) -> Response {
    json_response(status, &json!({ "code": code, "message": message, "fields": {} }))
}

/// Splits a command line into arguments; none of them has spaces.
pub(crate) fn split_args(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// An empty home folder for the binary.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The binary with this folder as home, data and working folder, without a terminal.
    pub(crate) fn command(&self, environment: &[(&str, &str)], words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainpool"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("CHAINPOOL_DATA", self.folder.path())
            .envs(environment.iter().copied())
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, environment: &[(&str, &str)], words: &[&str]) -> RunOutput {
        RunOutput::of(
            self.command(environment, words)
                .output()
                .await
                .expect("the binary runs"),
        )
    }

    /// Starts the binary.
    pub(crate) fn spawn(&self, environment: &[(&str, &str)], words: &[&str]) -> Child {
        self.command(environment, words).spawn().expect("the binary runs")
    }
}

/// Exit status and output of a run.
#[derive(Debug)]
pub(crate) struct RunOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl RunOutput {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            errors: text(output.stderr),
        }
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("it prints one JSON document")
    }
}

/// An operation of the API.
pub(crate) fn operation(state: &str, steps: &[(&str, &str)]) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .enumerate()
        .map(|(seq, (title, state))| json!({ "seq": seq, "title": title, "state": state }))
        .collect();
    json!({
        "id": OPERATION, "kind": "cluster_create", "state": state, "host_id": ID, "host": "h1", "cluster_id": ID, "cluster": "alpha",
        "by": "admin", "reason": "asked for", "created_at": "2026-01-01T00:00:00.000Z", "done": 0, "total": steps.len(), "steps": steps,
    })
}

pub(crate) const ID: &str = "01990000-0000-7000-8000-000000000001";
pub(crate) const OPERATION: &str = "01990000-0000-7000-8000-000000000002";

/// A host of the API.
pub(crate) fn host() -> Value {
    json!({
        "id": ID, "name": "h1", "type": "docker", "address": "unix:///run/docker.sock", "engine_id": "E", "state": "active", "reason": "",
        "since": "2026-01-01T00:00:00.000Z", "schedulable": true, "autofill": false, "capacity": 3, "memory_factor": 1.0, "disk_floor": 10,
        "fill": [{ "type": "cometbft", "preset": "default", "share": 1 }], "fill_paused": {}, "public_address": "127.0.0.1", "bind": "127.0.0.1",
        "ports": [20000, 29999], "subnets": "10.213.0.0/16", "log": { "type": "local", "level": "info" }, "images": {}, "insecure": false,
        "clusters": 2, "offered": 1, "leased": 1, "created_at": "2026-01-01T00:00:00.000Z", "of_a_newer_server": { "z": 1, "a": 2 },
    })
}

/// A cluster of the API.
pub(crate) fn cluster() -> Value {
    json!({
        "id": ID, "name": "alpha", "host_id": ID, "host": "h1", "network_type": "cometbft", "preset": "default", "version": "0.38",
        "consensus": "bft", "size": 4, "parameters": { "validators": 4 }, "labels": {}, "state": "ready", "generation": 1, "chain_id": "cp-1",
        "health": { "state": "healthy", "reason": "all nodes take part", "since": "2026-01-01T00:00:00.000Z" }, "offered": true,
        "created_at": "2026-01-01T00:00:00.000Z", "nodes": [{ "name": "node0", "endpoints": [{ "name": "rpc", "address": "127.0.0.1:20000" }] }],
    })
}

/// A lease of the API.
pub(crate) fn lease(state: &str) -> Value {
    json!({
        "id": ID, "cluster_id": ID, "cluster": "alpha", "host": "h1", "network_type": "cometbft", "holder": "ann", "state": state,
        "created_at": "2026-01-01T00:00:00.000Z", "operation_id": OPERATION,
    })
}

/// A bundle of the API.
pub(crate) fn bundle() -> Value {
    json!({
        "lease_id": ID, "cluster": "alpha", "network_type": "cometbft", "chain_id": "cp-1", "nodes": [], "write": "curl write", "read": "curl read",
        "files": { "genesis.json": "{}" }, "notes": ["this machine only"],
    })
}

/// The overall status of the API.
pub(crate) fn status(ok: bool) -> Value {
    let problems = if ok {
        vec![]
    } else {
        vec!["host h1 does not answer"]
    };
    let counts = json!({
        "capacity": 3, "clusters": 2, "offered": 1, "leased": 1, "making": 0, "failed": 0, "healthy": 2, "degraded": 0, "broken": 0,
        "unknown": 0, "stopped": 0,
    });
    json!({
        "ok": ok, "problems": problems, "version": "0.1.0", "instance": "i", "paused": false, "started_at": "2026-01-01T00:00:00.000Z",
        "pool": counts, "by_type": { "cometbft": counts }, "hosts": [], "database": { "ok": true, "message": "ok", "size_bytes": 4096 },
        "watchdog": { "last_pass_ms": 12, "lag_ms": 0 }, "unclaimed": [], "running": [],
    })
}
