//! One Chainpool in this process, on any platform: orchestrator, store, server and watchdog on a data folder.

use crate::{Api, error_log, instance_lock::block_on_new_runtime, wait::while_progressing, within};
use anyhow::{Context, Result, bail, ensure};
use chainpool_api::{
    Cluster, ClusterState, HealthChange, HealthState, Host, Lease, Operation, OperationState, Page, Status,
};
use chainpool_orchestrator::{Config, Orchestrator};
use chainpool_server::ServeConfig;
use serde_json::{Value, json};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::{
    runtime::{Handle, Runtime},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Deadline of a single step, longer than any takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// Complete Chainpool without its platform.
pub struct Installation {
    /// API client of the administrator.
    pub api: Api,
    /// Base URL of the server.
    pub base: String,
    /// Orchestrator core, for calls without a route.
    pub orchestrator: Orchestrator,
    /// Data folder.
    pub folder: PathBuf,
    running: Running,
}

/// Stops Chainpool when its test fails, before its objects are removed.
struct Running {
    /// Runs this Chainpool and nothing else, which identifies its ERROR lines.
    runtime: Option<Runtime>,
    orchestrator: Orchestrator,
    tasks: Vec<JoinHandle<Result<()>>>,
    stop: CancellationToken,
    stopped: bool,
}

/// A Chainpool started on its runtime.
struct Started {
    orchestrator: Orchestrator,
    tasks: Vec<JoinHandle<Result<()>>>,
    stop: CancellationToken,
    base: String,
    token: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if !self.stopped {
            // Tasks that use the database end before it, as in a regular stop.
            let (orchestrator, tasks) = (&self.orchestrator, self.tasks.drain(..).collect::<Vec<_>>());
            let stop = async {
                for task in tasks {
                    tokio::time::timeout(LONG, task).await???;
                }
                Ok(tokio::time::timeout(LONG, orchestrator.stop()).await?)
            };
            if let Err(error) = block_on_new_runtime(stop) {
                eprintln!("cannot stop the Chainpool of a failed test: {error:#}");
            }
        }
        // A runtime must not be waited for within another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Installation {
    /// Starts a Chainpool, with or without a watchdog.
    pub async fn open(config: Config, watchdog: bool) -> Result<Self> {
        error_log::capture_errors();
        // Another test in this process may have installed the provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = config.data.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let started = runtime
            .spawn(start(config, watchdog))
            .await
            .map_err(anyhow::Error::from)
            .flatten();
        let Started {
            orchestrator,
            tasks,
            stop,
            base,
            token,
        } = match started {
            Ok(started) => started,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let running = Running {
            runtime: Some(runtime),
            orchestrator: orchestrator.clone(),
            tasks,
            stop,
            stopped: false,
        };
        Ok(Self {
            api: Api::new(&base, &token)?,
            base,
            orchestrator,
            folder,
            running,
        })
    }

    /// Stops Chainpool as a signal does. Networks and data remain. Fails if it wrote an ERROR line.
    pub async fn stop(&mut self) -> Result<()> {
        self.running.stop.cancel();
        for task in self.running.tasks.drain(..) {
            task.await??;
        }
        self.orchestrator.stop().await;
        self.running.stopped = true;
        let errors = self.errors_logged();
        ensure!(errors.is_empty(), "the leak check found ERROR lines: {errors:#?}");
        Ok(())
    }

    /// Returns its ERROR lines so far, including those written by the test's own calls.
    fn errors_logged(&self) -> Vec<String> {
        let own = self.running.runtime.iter().map(|runtime| runtime.handle().id());
        own.chain(Handle::try_current().ok().map(|handle| handle.id()))
            .flat_map(error_log::errors_logged)
            .collect()
    }

    /// Ends it like a killed process: all tasks are dropped where they are. Must not be called from a task.
    pub(crate) fn kill(mut self) {
        self.running.stopped = true;
        self.running.tasks.clear();
        if let Some(runtime) = self.running.runtime.take() {
            runtime.shutdown_timeout(LONG);
        }
    }

    /// Returns the installation's id.
    pub async fn instance(&self) -> Result<String> {
        Ok(self.api.get::<Status>("/status").await?.instance)
    }

    /// Waits until an operation ends. The deadline restarts whenever a step completes.
    pub async fn wait_ended(&self, operation: &Operation) -> Result<Operation> {
        while_progressing(
            LONG,
            &format!("the end of {} {}", operation.kind, operation.id),
            async || {
                let now: Operation = self.api.get(&format!("/operations/{}", operation.id)).await?;
                Ok(if now.state.is_over() {
                    Ok(now)
                } else {
                    Err((
                        now.done,
                        format!("{} of {}: {:?}", now.done, now.total, now.steps),
                    ))
                })
            },
        )
        .await
    }

    /// Waits until an operation ends and requires that it succeeded.
    pub async fn wait_succeeded(&self, operation: &Operation) -> Result<Operation> {
        let ended = self.wait_ended(operation).await?;
        ensure!(
            ended.state == OperationState::Succeeded,
            "{} {}: {:?} {:?}",
            ended.kind,
            ended.state,
            ended.error,
            ended.steps
        );
        Ok(ended)
    }

    /// Releases a lease and waits until its cluster is reset.
    pub async fn release(&self, lease: &Lease) -> Result<Lease> {
        let ended: Lease = self.api.delete(&format!("/leases/{}", lease.id)).await?;
        let reset: Operation = self
            .api
            .get(&format!(
                "/operations/{}",
                ended.operation_id.context("a release starts a reset")?
            ))
            .await?;
        self.wait_succeeded(&reset).await?;
        Ok(ended)
    }

    /// Fills the host, waits, and requires a proof of each cluster.
    pub async fn fill(&self) -> Result<Vec<Cluster>> {
        let operation: Operation = self.api.post_empty("/hosts/h1/fillup").await?;
        self.wait_succeeded(&operation).await?;
        ensure!(
            self.clusters().await?.iter().all(|c| c.proof.is_some()),
            "a cluster was created without a proof"
        );
        self.wait_all_offered().await
    }

    /// Waits until every free cluster is offered; returns all clusters. On a busy machine a probe can time
    /// out at any moment.
    pub async fn wait_all_offered(&self) -> Result<Vec<Cluster>> {
        within(LONG, "all free clusters to be offered", async || {
            let clusters = self.clusters().await?;
            let missing = clusters.iter().find(|c| !c.offered && c.lease_id.is_none());
            Ok(match missing {
                None => Ok(clusters),
                Some(c) => Err(format!(
                    "{} generation {} is {}, {:?}",
                    c.name, c.generation, c.state, c.health
                )),
            })
        })
        .await
    }

    /// Returns all clusters.
    pub async fn clusters(&self) -> Result<Vec<Cluster>> {
        Ok(self.api.get::<Page<Cluster>>("/clusters?limit=500").await?.items)
    }

    /// Returns a cluster with its nodes and evidence.
    pub async fn cluster(&self, id: impl std::fmt::Display) -> Result<Cluster> {
        self.api.get(&format!("/clusters/{id}")).await
    }

    /// Waits until no operation is in progress. Operations go from queued to running, so the states are
    /// checked in this order.
    pub async fn wait_idle(&self) -> Result<()> {
        within(2 * LONG, "the end of all operations", async || {
            for state in ["queued", "running"] {
                let page: Page<Operation> = self.api.get(&format!("/operations?state={state}")).await?;
                if let Some(operation) = page.items.first() {
                    return Ok(Err(format!("{operation:?}")));
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    /// Waits until no operation is in progress and requires that all clusters are ready.
    pub async fn wait_settled(&self) -> Result<Vec<Cluster>> {
        self.wait_idle().await?;
        let clusters = self.clusters().await?;
        for cluster in &clusters {
            ensure!(
                cluster.state == ClusterState::Ready && cluster.operation_id.is_none(),
                "{cluster:?}"
            );
        }
        Ok(clusters)
    }

    /// Waits until a cluster meets a condition.
    pub async fn wait_for_cluster(
        &self,
        id: uuid::Uuid,
        what: &str,
        wanted: impl Fn(&Cluster) -> bool,
    ) -> Result<Cluster> {
        self.wait_for_cluster_within(LONG, id, what, wanted).await
    }

    /// Waits until a cluster meets a condition, with a deadline for slow platforms.
    pub async fn wait_for_cluster_within(
        &self,
        limit: Duration,
        id: uuid::Uuid,
        what: &str,
        wanted: impl Fn(&Cluster) -> bool,
    ) -> Result<Cluster> {
        let became = within(limit, what, async || {
            let now = self.cluster(id).await?;
            Ok(if wanted(&now) {
                Ok(now)
            } else {
                Err(format!(
                    "{} generation {} is {}, {:?}",
                    now.name, now.generation, now.state, now.health
                ))
            })
        })
        .await;
        match became {
            Ok(now) => Ok(now),
            Err(error) => Err(error.context(
                self.history(id)
                    .await
                    .unwrap_or_else(|why| format!("cannot read the cluster's history: {why:#}")),
            )),
        }
    }

    /// Returns the health changes and operations of a cluster, oldest first, for failure messages.
    pub async fn history(&self, id: uuid::Uuid) -> Result<String> {
        let changes: Page<HealthChange> = self.api.get(&format!("/clusters/{id}/health")).await?;
        let health = changes
            .items
            .into_iter()
            .map(|c| (c.at, format!("{}: {}", c.state, c.reason)));
        let page: Page<Operation> = self.api.get("/operations?limit=500").await?;
        let of_it = page.items.into_iter().filter(|o| o.cluster_id == Some(id));
        let operations = of_it.map(|o| {
            (
                o.created_at,
                format!("{} by {}, {}: {}", o.kind, o.by, o.state, o.reason),
            )
        });
        let mut events: Vec<_> = health.chain(operations).collect();
        events.sort();
        Ok(events
            .into_iter()
            .map(|(at, what)| format!("{at} {what}"))
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// Waits until the cluster has this health state with all these words in its reason.
    pub async fn wait_for_health(
        &self,
        id: uuid::Uuid,
        state: HealthState,
        words: &[&str],
    ) -> Result<Cluster> {
        let matches = |now: &Cluster| {
            now.health.state == state && words.iter().all(|word| now.health.reason.contains(word))
        };
        self.wait_for_cluster(id, &format!("{state} with {words:?}"), matches)
            .await
    }

    /// Creates an account and returns a client with its token.
    pub async fn user(&self, name: &str, role: &str) -> Result<Api> {
        let _: Value = self
            .api
            .post("/accounts", json!({"name": name, "role": role}))
            .await?;
        let token: Value = self
            .api
            .post("/tokens", json!({"name": "test", "account": name}))
            .await?;
        let secret = token["secret"].as_str().context("a token has a secret")?;
        Ok(self.api.with_token(secret))
    }

    /// Releases all leases, resets all hosts and deletes them.
    pub(crate) async fn delete_all(&self) -> Result<()> {
        let leases: Page<Lease> = self.api.get("/leases?state=active&limit=500").await?;
        for lease in leases.items {
            let _: Value = self.api.delete(&format!("/leases/{}", lease.id)).await?;
        }
        let hosts: Page<Host> = self.api.get("/hosts").await?;
        for host in hosts.items {
            let _: Value = self
                .api
                .patch(&format!("/hosts/{}", host.name), json!({"autofill": false}))
                .await?;
            if let Some(id) = host.operation_id {
                self.wait_ended(&self.api.get::<Operation>(&format!("/operations/{id}")).await?)
                    .await?;
            }
            let reset: Operation = within(LONG, "the reset of the host", async || {
                Ok(self
                    .api
                    .post_empty::<Operation>(&format!("/hosts/{}/reset", host.name))
                    .await
                    .map_err(|e| e.to_string()))
            })
            .await?;
            self.wait_succeeded(&reset).await?;
            let _: Value = self.api.delete(&format!("/hosts/{}", host.name)).await?;
        }
        Ok(())
    }

    /// Requires that no operation is in progress.
    pub(crate) async fn leak_check(&self) -> Result<()> {
        for state in ["queued", "running"] {
            let page: Page<Operation> = self.api.get(&format!("/operations?state={state}")).await?;
            if let Some(operation) = page.items.first() {
                bail!("the leak check found an operation in progress: {operation:?}");
            }
        }
        Ok(())
    }
}

/// Starts orchestrator, server and watchdog on the current runtime.
async fn start(config: Config, watchdog: bool) -> Result<Started> {
    let orchestrator = Orchestrator::start(config).await?;
    let stop = CancellationToken::new();
    let (_, token, _) = orchestrator.local_admin().await?;
    let (bound, address) = tokio::sync::oneshot::channel();
    let config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let mut tasks: Vec<JoinHandle<Result<()>>> = Vec::new();
    let (serving, token_stop) = (orchestrator.clone(), stop.clone());
    tasks.push(tokio::spawn(async move {
        Ok(chainpool_server::serve(serving, config, token_stop, |at| {
            bound.send(at).ok();
        })
        .await?)
    }));
    if watchdog {
        let (watched, token_stop) = (orchestrator.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            Ok(chainpool_watchdog::run(watched, token_stop).await?)
        }));
    }
    let base = format!("http://{}", address.await.context("the server did not bind")?);
    Ok(Started {
        orchestrator,
        tasks,
        stop,
        base,
        token,
    })
}
