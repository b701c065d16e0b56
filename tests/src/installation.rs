//! One Chainpool in this process: orchestrator, store, server and watchdog on a data folder, whatever platform it serves.

use crate::{Api, census, claim::apart, wait::while_moving, within};
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

/// Longer than any single step may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// A whole Chainpool but for its platform.
pub struct Installation {
    /// The API as the administrator.
    pub api: Api,
    /// Where it listens.
    pub base: String,
    /// The middle, for what has no route.
    pub orchestrator: Orchestrator,
    /// The data folder.
    pub folder: PathBuf,
    running: Running,
}

/// Stops Chainpool when its test fails, before what it made is removed.
struct Running {
    /// All of it runs here, and nothing else: by that its ERROR lines are known.
    runtime: Option<Runtime>,
    orchestrator: Orchestrator,
    tasks: Vec<JoinHandle<Result<()>>>,
    stop: CancellationToken,
    stopped: bool,
}

/// What runs on the runtime of its own, and what leads to it.
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
            // The tasks that ask the database end before it, as at a test's own end.
            let (orchestrator, tasks) = (&self.orchestrator, self.tasks.drain(..).collect::<Vec<_>>());
            let stopping = async {
                for task in tasks {
                    tokio::time::timeout(LONG, task).await???;
                }
                Ok(tokio::time::timeout(LONG, orchestrator.stop()).await?)
            };
            if let Err(error) = apart(stopping) {
                eprintln!("the Chainpool of a failed test does not stop: {error:#}");
            }
        }
        // A runtime must not be waited for among tasks of another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Installation {
    /// Starts one, with a watchdog or without.
    pub async fn open(config: Config, watchdog: bool) -> Result<Self> {
        census::log_to_census();
        // Another test of this process may have installed it already.
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

    /// Stops serving, as a signal would; networks and data stay. It must have written no ERROR line.
    pub async fn stop(&mut self) -> Result<()> {
        self.running.stop.cancel();
        for task in self.running.tasks.drain(..) {
            task.await??;
        }
        self.orchestrator.stop().await;
        self.running.stopped = true;
        let errors = self.errors_logged();
        ensure!(errors.is_empty(), "the census found ERROR lines: {errors:#?}");
        Ok(())
    }

    /// Its ERROR lines so far, and those that the test's own calls wrote.
    fn errors_logged(&self) -> Vec<String> {
        let own = self.running.runtime.iter().map(|runtime| runtime.handle().id());
        own.chain(Handle::try_current().ok().map(|handle| handle.id()))
            .flat_map(census::errors_logged)
            .collect()
    }

    /// Ends it as a process that is killed: all tasks are dropped where they are. Not to be called from a task.
    pub(crate) fn kill(mut self) {
        self.running.stopped = true;
        self.running.tasks.clear();
        if let Some(runtime) = self.running.runtime.take() {
            runtime.shutdown_timeout(LONG);
        }
    }

    /// This installation's id.
    pub async fn instance(&self) -> Result<String> {
        Ok(self.api.get::<Status>("/status").await?.instance)
    }

    /// Waits until an operation has ended, however long it is, as long as its steps advance.
    pub async fn ended(&self, operation: &Operation) -> Result<Operation> {
        while_moving(
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

    /// Waits until an operation has succeeded.
    pub async fn done(&self, operation: &Operation) -> Result<Operation> {
        let ended = self.ended(operation).await?;
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

    /// Releases a lease and waits until its cluster is made again.
    pub async fn released(&self, lease: &Lease) -> Result<Lease> {
        let ended: Lease = self.api.delete(&format!("/leases/{}", lease.id)).await?;
        let reset: Operation = self
            .api
            .get(&format!(
                "/operations/{}",
                ended.operation_id.context("a release wipes")?
            ))
            .await?;
        self.done(&reset).await?;
        Ok(ended)
    }

    /// Fills the host and waits; each cluster was proven then.
    pub async fn filled(&self) -> Result<Vec<Cluster>> {
        let operation: Operation = self.api.ask("/hosts/h1/fillup").await?;
        self.done(&operation).await?;
        ensure!(
            self.clusters().await?.iter().all(|c| c.proof.is_some()),
            "a cluster was made without a proof"
        );
        self.all_offered().await
    }

    /// All clusters, once nobody has to wait for one that is free: on a busy machine one may be late with an answer at any moment.
    pub async fn all_offered(&self) -> Result<Vec<Cluster>> {
        within(LONG, "all free clusters offered", async || {
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

    /// All clusters.
    pub async fn clusters(&self) -> Result<Vec<Cluster>> {
        Ok(self.api.get::<Page<Cluster>>("/clusters?limit=500").await?.items)
    }

    /// A cluster with nodes and evidence.
    pub async fn cluster(&self, id: impl std::fmt::Display) -> Result<Cluster> {
        self.api.get(&format!("/clusters/{id}")).await
    }

    /// Waits until nothing is under way. An operation goes from queued to running, so it is looked for in this order.
    pub async fn idle(&self) -> Result<()> {
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

    /// Waits until nothing is under way; the clusters that exist then must be ready.
    pub async fn settled(&self) -> Result<Vec<Cluster>> {
        self.idle().await?;
        let clusters = self.clusters().await?;
        for cluster in &clusters {
            ensure!(
                cluster.state == ClusterState::Ready && cluster.operation_id.is_none(),
                "{cluster:?}"
            );
        }
        Ok(clusters)
    }

    /// Waits until a cluster is as wanted.
    pub async fn cluster_when(
        &self,
        id: uuid::Uuid,
        what: &str,
        wanted: impl Fn(&Cluster) -> bool,
    ) -> Result<Cluster> {
        self.cluster_within(LONG, id, what, wanted).await
    }

    /// The same, for as long as the platform may need.
    pub async fn cluster_within(
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
                self.story(id)
                    .await
                    .unwrap_or_else(|why| format!("what happened before cannot be read: {why:#}")),
            )),
        }
    }

    /// What happened to a cluster: its verdicts and operations, oldest first. For the message of a test that fails.
    pub async fn story(&self, id: uuid::Uuid) -> Result<String> {
        let history: Page<HealthChange> = self.api.get(&format!("/clusters/{id}/health")).await?;
        let verdicts = history
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
        let mut told: Vec<_> = verdicts.chain(operations).collect();
        told.sort();
        Ok(told
            .into_iter()
            .map(|(at, what)| format!("{at} {what}"))
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// Waits until the verdict is this one and its reason has all these words: a verdict on the way there may name others.
    pub async fn judged(&self, id: uuid::Uuid, state: HealthState, words: &[&str]) -> Result<Cluster> {
        let is_so = |now: &Cluster| {
            now.health.state == state && words.iter().all(|word| now.health.reason.contains(word))
        };
        self.cluster_when(id, &format!("{state} with {words:?}"), is_so)
            .await
    }

    /// Makes a token for another account.
    pub async fn user(&self, name: &str, role: &str) -> Result<Api> {
        let _: Value = self
            .api
            .post("/accounts", json!({"name": name, "role": role}))
            .await?;
        let made: Value = self
            .api
            .post("/tokens", json!({"name": "test", "account": name}))
            .await?;
        let secret = made["secret"].as_str().context("a token has a secret")?;
        Ok(self.api.with_token(secret))
    }

    /// Ends all leases and removes all hosts with what is on them.
    pub(crate) async fn give_back(&self) -> Result<()> {
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
                self.ended(&self.api.get::<Operation>(&format!("/operations/{id}")).await?)
                    .await?;
            }
            let reset: Operation = within(LONG, "the reset of the host", async || {
                Ok(self
                    .api
                    .ask::<Operation>(&format!("/hosts/{}/reset", host.name))
                    .await
                    .map_err(|e| e.to_string()))
            })
            .await?;
            self.done(&reset).await?;
            let _: Value = self.api.delete(&format!("/hosts/{}", host.name)).await?;
        }
        Ok(())
    }

    /// Finds no operation under way.
    pub(crate) async fn census(&self) -> Result<()> {
        for state in ["queued", "running"] {
            let page: Page<Operation> = self.api.get(&format!("/operations?state={state}")).await?;
            if let Some(operation) = page.items.first() {
                bail!("the census found an operation under way: {operation:?}");
            }
        }
        Ok(())
    }
}

/// Starts orchestrator, server and watchdog on the present runtime.
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
