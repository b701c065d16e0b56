//! Entry points of the watchdog: assessment, filling, checks of the database, and the state of its own work.

use crate::{
    Orchestrator, Result,
    runtime::findings::{DatabaseCheck, Watched},
};
use chainpool_agent::{ClusterId, NodeName, WakeStream};
use chainpool_api::Timestamp;
use std::time::Duration;
use uuid::Uuid;

impl Orchestrator {
    /// Lists the hosts to watch.
    pub async fn hosts_to_watch(&self) -> Result<Vec<Uuid>> {
        self.health.hosts_to_watch().await
    }

    /// Opens the platform's event stream of a host; `None` if the host does not exist.
    pub async fn host_watch(&self, host: Uuid) -> Result<Option<WakeStream>> {
        self.health.host_watch(host).await
    }

    /// Assesses a host whose event stream was interrupted: anything there may have restarted meanwhile.
    pub fn host_events_interrupted(&self, host: Uuid) {
        self.health.host_events_interrupted(host);
    }

    /// Assesses a host that changed.
    pub fn host_changed(&self, host: Uuid) {
        self.health.host_changed(host);
    }

    /// Assesses a host and waits for it: probes it, lists our objects, and removes objects of deleted clusters. Its
    /// clusters are assessed afterwards if its availability changed.
    pub async fn host_assess(&self, host: Uuid) -> Result<()> {
        self.health.host_assess(host).await
    }

    /// Lists the clusters to probe, the most urgent first: those for which a time has passed that decides something,
    /// then unhealthy ones, then the least recently probed.
    pub async fn clusters_to_assess(&self) -> Result<Vec<Uuid>> {
        self.health.clusters_to_assess().await
    }

    /// Assesses a cluster that changed on its platform.
    pub fn cluster_changed(&self, cluster: Uuid) {
        self.health.cluster_changed(cluster);
    }

    /// Gathers evidence on a cluster, acts on the verdict, and waits for it. `list` reads the platform's inventory
    /// first.
    pub async fn cluster_assess(&self, cluster: Uuid, list: bool) -> Result<()> {
        self.health.cluster_assess(cluster, list).await
    }

    /// Records the exit of a node's process, as reported by the platform, and assesses its cluster: at once, so
    /// that it is not leased, and again when the platform's inventory has caught up, to repair it.
    pub fn node_died(&self, cluster: ClusterId, node: &NodeName, code: i64) {
        self.health.node_died(cluster, node, code);
    }

    /// The time that the oldest assessment of a cluster has been waiting or running.
    pub fn oldest_assessment(&self) -> Duration {
        self.health.oldest_assessment()
    }

    /// Stores the time of the latest evidence of all recently probed clusters, so that apply can distinguish
    /// fresh from stale.
    pub async fn note_checked(&self) -> Result<()> {
        self.health.note_checked().await
    }

    /// Keeps hosts filled according to their policies: replaces failed free clusters when they are due and
    /// creates missing ones. Takes no input and may run at any time.
    pub async fn autofill(&self) -> Result<()> {
        self.operations.autofill().await
    }

    /// Checks that writes to the database are visible on another connection, and checks its integrity.
    pub async fn database_check(&self) {
        self.database_write_check().await;
        let wrong = match self.store().check().await {
            Ok(found) if found == "ok" => None,
            Ok(found) => Some(format!("damaged: {found}; restore a backup")),
            Err(error) => Some(reason(&error)),
        };
        self.runtime
            .findings
            .database_put(DatabaseCheck::Integrity, wrong);
    }

    /// Checks that writes to the database are visible on another connection.
    pub async fn database_write_check(&self) {
        let failed = self.store().check_write().await.err().map(|error| reason(&error));
        // The store itself reports a failed write until one succeeds.
        let wrong = failed.filter(|_| self.store().write_failure().is_none());
        self.runtime.findings.database_put(DatabaseCheck::Write, wrong);
    }

    /// Runs a part of the watchdog's work. A panic is logged and shown in the status until the part succeeds,
    /// and does not affect other parts; the result is then `None`.
    pub fn isolated<T>(
        &self,
        part: Watched,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Option<T>> {
        self.runtime.findings.isolated(part, work)
    }

    /// Records the end and the duration of a full pass.
    pub fn note_pass(&self, took: Duration) {
        self.runtime.findings.pass_put(took);
    }

    /// Records how far the probes lag behind their period.
    pub fn note_lag(&self, lag: Duration) {
        self.runtime.findings.lag_put(lag);
    }

    /// Deletes history past its retention period.
    pub async fn prune_history(&self) -> Result<()> {
        let mut tx = self.store().begin_background().await?;
        let deleted = tx.prune_history(Timestamp::now()).await?;
        tx.commit("history pruned").await?;
        if deleted > 0 {
            tracing::info!(rows = deleted, "deleted old history");
        }
        Ok(())
    }
}

/// An error with its causes.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
