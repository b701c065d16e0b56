//! Failed sign-ins in the log and the audit log.

use super::{
    credential::audit,
    sign_in_failures::{Failure, Note},
    sign_in_limit::Source,
};
use crate::{Error, Orchestrator, Result, caller::WATCHDOG};
use chainpool_api::Timestamp;
use chainpool_store::AccountRow;
use std::time::Instant;
use uuid::Uuid;

impl Orchestrator {
    /// Records a failed sign-in. The name is recorded only if the account exists: people type passwords into
    /// the wrong field.
    pub(super) async fn sign_in_failed(
        &self,
        failure: Failure,
        account: Option<&AccountRow>,
        source: Source,
    ) -> Result<()> {
        let name = account.map(|row| row.name.as_str());
        match self
            .inner
            .authentication
            .sign_in_failures
            .note(failure, name, source, Instant::now())
        {
            Note::Entry => {
                tracing::warn!(account = name.unwrap_or("unknown"), from = %source, "a sign-in failed");
                let text = match name {
                    Some(name) => format!("wrong password for {name} from {source}"),
                    None => format!("unknown account, from {source}"),
                };
                self.sign_in_failure_entry(account.map_or(Uuid::nil(), |row| row.id), text)
                    .await
            }
            Note::Summary(due) => {
                let this = self.clone();
                // Run as a task of the executor, so that the database closes after it.
                self.inner.executor.spawn(async move {
                    // A stop writes it early.
                    drop(tokio::time::timeout(due, this.inner.stop.cancelled()).await);
                    if let Err(error) = this.sign_in_failures_summary().await {
                        tracing::error!(%error, cause = ?error, "failed sign-ins could not be written to the audit log");
                    }
                });
                Ok(())
            }
            Note::Added => Ok(()),
        }
    }

    /// Writes the summary of the failures without a separate entry.
    pub(super) async fn sign_in_failures_summary(&self) -> Result<()> {
        let Some(summarised) = self.inner.authentication.sign_in_failures.take() else {
            return Ok(());
        };
        let text = summarised.text();
        tracing::warn!("{text}");
        self.sign_in_failure_entry(Uuid::nil(), text).await
    }

    async fn sign_in_failure_entry(&self, account: Uuid, detail: String) -> Result<(), Error> {
        let mut tx = self.store().begin().await?;
        audit(
            &mut tx,
            WATCHDOG,
            "sign_in_failed",
            account,
            detail,
            Timestamp::now(),
        )
        .await?;
        Ok(tx.commit("failed sign-in recorded").await?)
    }
}
