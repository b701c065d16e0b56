//! Entry points of the watchdog besides assessment: checks of the database, and the state of its own work.

use crate::{
    Orchestrator, Result,
    runtime::findings::{DatabaseCheck, Watched},
};
use chainpool_api::Timestamp;
use std::time::Duration;

impl Orchestrator {
    /// Checks that writes to the database are visible on another connection, and checks its integrity.
    pub async fn database_check(&self) {
        self.database_write_check().await;
        let wrong = match self.store().check().await {
            Ok(found) if found == "ok" => None,
            Ok(found) => Some(format!("damaged: {found}; restore a backup")),
            Err(error) => Some(reason(&error)),
        };
        self.inner.findings.database_put(DatabaseCheck::Integrity, wrong);
    }

    /// Checks that writes to the database are visible on another connection.
    pub async fn database_write_check(&self) {
        let failed = self.store().check_write().await.err().map(|error| reason(&error));
        // The store itself reports a failed write until one succeeds.
        let wrong = failed.filter(|_| self.store().write_failure().is_none());
        self.inner.findings.database_put(DatabaseCheck::Write, wrong);
    }

    /// Runs a part of the watchdog's work. A panic is logged and shown in the status until the part succeeds,
    /// and does not affect other parts; the result is then `None`.
    pub fn isolated<T>(
        &self,
        part: Watched,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Option<T>> {
        self.inner.findings.isolated(part, work)
    }

    /// Records the end and the duration of a full pass.
    pub fn note_pass(&self, took: Duration) {
        self.inner.findings.pass_put(took);
    }

    /// Records how far the probes lag behind their period.
    pub fn note_lag(&self, lag: Duration) {
        self.inner.findings.lag_put(lag);
    }

    /// Deletes history past its retention period.
    pub async fn prune_history(&self) -> Result<()> {
        let mut tx = self.store().begin().await?;
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
