//! Release binary with this machine's engine as its host.

use crate::server::Server;
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, ClusterState, HealthState, Operation, OperationState, Page, Status};
use chainpool_tests::Engine;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;
use uuid::Uuid;

/// Longer than any step here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_mins(3);
/// Shortest poll interval, the precision of the figures.
const POLL: Duration = Duration::from_millis(10);
/// Fraction of the elapsed time between two polls of an operation, so that polling does not slow it down.
const POLL_FRACTION: u32 = 100;

/// Server with its data and its host.
pub(crate) struct Pool {
    /// Server.
    pub(crate) server: Server,
    /// Engine.
    pub(crate) engine: Engine,
    binary: PathBuf,
    folder: TempDir,
}

impl Pool {
    /// Starts a server on a new data folder, with this machine's engine as its host.
    pub(crate) async fn open(binary: &Path) -> Result<Self> {
        let address =
            std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let host = json!({
            "name": "h1", "address": address, "bind": "127.0.0.1", "public_address": "127.0.0.1", "capacity": 10, "autofill": false,
            "ports": [31_000, 31_399], "subnets": "10.214.0.0/20", "disk_floor": 0, "memory_factor": 64.0,
            "fill": [{"type": "cometbft", "preset": "default", "parameters": {"validators": 4}}],
        });
        Self::with_host(binary, &address, host).await
    }

    /// Starts a server with any host. The leak check at the end inspects `engine`.
    pub(crate) async fn with_host(binary: &Path, engine: &str, host: Value) -> Result<Self> {
        let engine = Engine::at(engine).await?;
        let folder = TempDir::new()?;
        let server = Server::start(binary, &folder.path().join("data")).await?;
        let _: Value = server.api.post("/hosts", host).await?;
        Ok(Self {
            server,
            engine,
            binary: binary.to_owned(),
            folder,
        })
    }

    /// Uses another binary from the next start on.
    pub(crate) fn served_by(self, binary: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            ..self
        }
    }

    /// Restarts the server on the same data.
    pub(crate) async fn restart(self) -> Result<Self> {
        self.without(async || Ok(())).await.map(|(pool, ())| pool)
    }

    /// Runs work while the server is stopped, then starts it on the same data, also if the work failed.
    pub(crate) async fn without<T>(self, work: impl AsyncFnOnce() -> Result<T>) -> Result<(Self, T)> {
        let Self {
            server,
            engine,
            binary,
            folder,
        } = self;
        server.stop().await?;
        let outcome = work().await;
        let server = Server::start(&binary, &folder.path().join("data")).await?;
        Ok((
            Self {
                server,
                engine,
                binary,
                folder,
            },
            outcome?,
        ))
    }

    /// Creates a cluster of four validators; returns it and the seconds from request to ready.
    pub(crate) async fn create(&self) -> Result<(Cluster, f64)> {
        self.create_of(json!({"host": "h1", "parameters": {"validators": 4}}))
            .await
    }

    /// Creates a cluster; returns it and the seconds from request to ready.
    pub(crate) async fn create_of(&self, body: Value) -> Result<(Cluster, f64)> {
        let start = Instant::now();
        let operation: Operation = self.server.api.post("/clusters", body).await?;
        let id = operation.cluster_id.context("a create names its cluster")?;
        let ready = self
            .when(id, "ready", |cluster| cluster.state == ClusterState::Ready)
            .await?;
        let took = start.elapsed().as_secs_f64();
        ensure!(ready.proof.is_some(), "ready without a proving transaction");
        Ok((ready, took))
    }

    /// Deletes a cluster.
    pub(crate) async fn delete(&self, id: Uuid) -> Result<()> {
        let operation: Operation = self.server.api.delete(&format!("/clusters/{id}")).await?;
        self.wait_succeeded(operation).await
    }

    /// Runs an operation of the host; returns its seconds.
    pub(crate) async fn host(&self, verb: &str) -> Result<f64> {
        let start = Instant::now();
        let operation: Operation = self.server.api.post_empty(&format!("/hosts/h1/{verb}")).await?;
        self.wait_succeeded(operation).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Waits until a cluster meets a condition.
    pub(crate) async fn when(
        &self,
        id: Uuid,
        what: &str,
        wanted: impl Fn(&Cluster) -> bool,
    ) -> Result<Cluster> {
        let until = Instant::now() + LIMIT;
        loop {
            let now: Cluster = self.server.api.get(&format!("/clusters/{id}")).await?;
            if wanted(&now) {
                return Ok(now);
            }
            ensure!(
                now.state != ClusterState::Failed && Instant::now() < until,
                "{} is not {what}: {} {:?}",
                now.name,
                now.state,
                now.health
            );
            sleep(POLL).await;
        }
    }

    /// Waits until every cluster is offered; returns them with their nodes.
    pub(crate) async fn wait_all_offered(&self) -> Result<Vec<Cluster>> {
        let page: Page<Cluster> = self.server.api.get("/clusters?limit=500").await?;
        let mut clusters = Vec::new();
        for cluster in &page.items {
            clusters.push(self.when(cluster.id, "offered", offered).await?);
        }
        Ok(clusters)
    }

    async fn wait_succeeded(&self, operation: Operation) -> Result<()> {
        let start = Instant::now();
        loop {
            let now: Operation = self
                .server
                .api
                .get(&format!("/operations/{}", operation.id))
                .await?;
            if now.state.is_over() {
                ensure!(
                    now.state == OperationState::Succeeded,
                    "{} {}: {:?}",
                    now.kind,
                    now.state,
                    now.error
                );
                return Ok(());
            }
            ensure!(
                start.elapsed() < LIMIT,
                "{} does not end: {:?}",
                now.kind,
                now.steps
            );
            sleep(POLL.max(start.elapsed() / POLL_FRACTION)).await;
        }
    }

    /// Deletes all clusters, checks for leaks and stops the server.
    pub(crate) async fn close(self) -> Result<()> {
        let status: Status = self.server.api.get("/status").await?;
        self.host("reset").await?;
        let left = self.engine.objects_of(&status.instance).await?;
        ensure!(left.is_empty(), "left on the engine: {left:?}");
        self.server.stop().await
    }
}

/// Returns true for a free and healthy cluster that can be leased.
pub(crate) fn offered(cluster: &Cluster) -> bool {
    cluster.offered && cluster.health.state == HealthState::Healthy
}
