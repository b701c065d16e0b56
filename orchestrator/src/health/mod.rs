//! Health of ledgers and hosts: reports news to the state machines of crate `chainpool-health`, and performs what
//! they ask for.
//!
//! Evidence is gathered from the ledger every two seconds, and at once when the platform reports a change. The
//! platform's inventory is read again only if something does not fit, so that a healthy pool costs no listing.
//! Each cluster and each host has one mailbox and at most one task, so a host that hangs delays no other.

mod assessment;
mod consequences;
mod evidence;
mod host;
mod mailbox;
mod turns;

use crate::{
    Result,
    operations::Operations,
    placement::{
        Placement,
        fleet::summary::{ClusterSummary, HostSummary},
    },
    runtime::{Runtime, findings::Watched},
};
use chainpool_agent::{ClusterId, NodeName};
use chainpool_api::{ClusterState, HealthState, Timestamp};
use chainpool_health::{Effect, Input, NodeExit};
use chainpool_store::Store;
use mailbox::Mailboxes;
use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use turns::Turns;
use uuid::Uuid;

/// The assessment of hosts and ledgers.
pub(crate) struct Health {
    runtime: Arc<Runtime>,
    placement: Arc<Placement>,
    operations: Arc<Operations>,
    assessors: Assessors,
}

/// The number of clusters of one host that are assessed at the same time.
const AT_ONCE: usize = 8;

/// The mailboxes and tasks of all clusters and hosts.
#[derive(Default)]
struct Assessors {
    clusters: Mailboxes,
    hosts: Mailboxes,
    tasks: TaskTracker,
    turns: Mutex<HashMap<Uuid, Arc<Turns>>>,
    /// The clusters whose late inventory is awaited.
    late: Mutex<HashSet<Uuid>>,
}

impl Assessors {
    fn turns(&self, host: Uuid) -> Arc<Turns> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(host).or_insert_with(|| Arc::new(Turns::new(AT_ONCE))))
    }

    fn forget_host(&self, host: Uuid) {
        self.turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&host);
    }
}

impl Health {
    pub(crate) fn new(operations: Arc<Operations>) -> Self {
        Self {
            runtime: Arc::clone(&operations.runtime),
            placement: Arc::clone(&operations.placement),
            operations,
            assessors: Assessors::default(),
        }
    }

    fn store(&self) -> &Store {
        &self.runtime.store
    }

    /// Lists the clusters to probe, the most urgent first: those for which a time has passed that decides something,
    /// then unhealthy ones, then the least recently probed.
    pub(crate) async fn clusters_to_assess(&self) -> Result<Vec<Uuid>> {
        let led = self.store().hosts_led().await?;
        let fleet = self.placement.fleet().await?;
        let checked_at = |cluster: &ClusterSummary| {
            let cache = &self.runtime.cache;
            cache
                .read(cluster.id, cluster.generation, |runtime| runtime.checked_at)
                .flatten()
        };
        let ready = fleet
            .hosts()
            .filter(|host| led.contains(&host.row.id))
            .flat_map(HostSummary::clusters)
            .filter(|cluster| cluster.state == ClusterState::Ready);
        let mut order: Vec<_> = ready
            .map(|cluster| {
                let is_due = self.runtime.cache.is_due(cluster.id, cluster.generation);
                let is_healthy = cluster.health == HealthState::Healthy;
                (!is_due, is_healthy, checked_at(cluster), cluster.id)
            })
            .collect();
        order.sort_unstable();
        Ok(order.into_iter().map(|(.., id)| id).collect())
    }

    /// Records the exit of a node's process, as reported by the platform, and assesses its cluster: at once, so
    /// that it is not leased, and again when the platform's inventory has caught up, to repair it.
    pub(crate) fn node_died(self: &Arc<Self>, cluster: ClusterId, node: &NodeName, code: i64) {
        let exit = NodeExit {
            node: node.to_string(),
            code,
            at: Timestamp::now(),
        };
        let effects = self
            .runtime
            .cache
            .advance_known(cluster.0, Input::NodeExited(exit));
        for effect in effects {
            if let Effect::ProbeAgain { after } = effect {
                self.cluster_assess_after(cluster.0, after);
            }
        }
    }

    /// Assesses a cluster that changed on its platform.
    pub(crate) fn cluster_changed(self: &Arc<Self>, cluster: Uuid) {
        self.post_cluster(cluster, true, None);
    }

    /// Gathers evidence on a cluster and acts on the verdict. `list` reads the platform's inventory first.
    pub(crate) async fn cluster_assess(self: &Arc<Self>, cluster: Uuid, list: bool) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        self.post_cluster(cluster, list, Some(done));
        // Without an answer the assessment crashed or this process stops; both are reported elsewhere.
        outcome.await.unwrap_or(Ok(()))
    }

    /// Assesses a cluster after a delay, at once if it is zero.
    fn cluster_assess_after(self: &Arc<Self>, cluster: Uuid, delay: Duration) {
        if delay.is_zero() {
            self.post_cluster(cluster, false, None);
            return;
        }
        let this = Arc::clone(self);
        self.assessors.tasks.spawn(async move {
            let wait = tokio::time::sleep(delay);
            if this.runtime.stop.run_until_cancelled(wait).await.is_some() {
                this.post_cluster(cluster, false, None);
            }
        });
    }

    fn post_cluster(
        self: &Arc<Self>,
        cluster: Uuid,
        list: bool,
        waiting: Option<oneshot::Sender<Result<()>>>,
    ) {
        if self.assessors.clusters.post(cluster, list, waiting) {
            let this = Arc::clone(self);
            let part = Watched::Cluster(cluster);
            self.work_off(
                part,
                |own| &own.clusters,
                move |list| {
                    let this = Arc::clone(&this);
                    async move { this.assess_cluster(cluster, list).await }
                },
            );
        }
    }

    /// Assesses a host and waits for it: probes it, lists our objects, and removes objects of deleted clusters. Its
    /// clusters are assessed afterwards if its availability changed.
    pub(crate) async fn host_assess(self: &Arc<Self>, host: Uuid) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        self.post_host(host, Some(done));
        outcome.await.unwrap_or(Ok(()))
    }

    fn post_host(self: &Arc<Self>, host: Uuid, waiting: Option<oneshot::Sender<Result<()>>>) {
        if self.assessors.hosts.post(host, false, waiting) {
            let this = Arc::clone(self);
            let part = Watched::Host(host);
            self.work_off(
                part,
                |own| &own.hosts,
                move |_| {
                    let this = Arc::clone(&this);
                    async move { this.assess_host(host).await }
                },
            );
        }
    }

    /// Starts the task of an owner: it assesses as long as there are requests. A panic ends one assessment.
    fn work_off<F: Future<Output = Result<()>> + Send + 'static>(
        self: &Arc<Self>,
        part: Watched,
        mailboxes: fn(&Assessors) -> &Mailboxes,
        assess: impl Fn(bool) -> F + Send + Sync + 'static,
    ) {
        let this = Arc::clone(self);
        let (Watched::Cluster(owner) | Watched::Host(owner)) = part else {
            return;
        };
        self.assessors.tasks.spawn(async move {
            while let Some(requests) = mailboxes(&this.assessors).take(owner) {
                let work = this.runtime.findings.isolated(part, assess(requests.list));
                let Some(outcome) = this.runtime.stop.run_until_cancelled(work).await else {
                    continue;
                };
                if let Some(Err(error)) = &outcome {
                    tracing::error!(?part, %error, cause = ?error, "an assessment failed; the next pass repeats it");
                }
                requests.end(outcome.unwrap_or(Ok(())));
            }
        });
    }

    /// How long the oldest assessment of a cluster has been waiting or running.
    pub(crate) fn oldest_assessment(&self) -> Duration {
        self.assessors.clusters.oldest()
    }

    /// Drops the state of a host that is gone.
    pub(crate) fn forget_host(&self, host: Uuid) {
        self.runtime.cache.forget_host(host);
        self.assessors.forget_host(host);
    }

    /// Waits until all assessments have ended.
    pub(crate) async fn drained(&self) {
        self.assessors.tasks.close();
        self.assessors.tasks.wait().await;
    }
}
