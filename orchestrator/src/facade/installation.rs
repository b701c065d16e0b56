//! The installation as a whole: identity, network types, pause after a restore, backup.

use crate::{Caller, Error, Orchestrator, Result, operations::cause::Cause, permissions};
use chainpool_api::{self as api, ClusterState, Timestamp};
use chainpool_store::Audit;
use std::{fs::File, sync::atomic::Ordering};
use uuid::Uuid;

impl Orchestrator {
    /// This installation's identity.
    pub fn instance(&self) -> String {
        self.store().instance().to_string()
    }

    /// Lists the network types with their parameters. The same for all signed-in callers.
    pub fn network_types(&self, _caller: &Caller) -> Vec<api::NetworkType> {
        self.runtime.registry.describe()
    }

    /// Previews the end of the pause after a restore. Changes nothing.
    pub async fn resume_preview(&self, caller: &Caller) -> Result<api::Status> {
        permissions::must_administer(caller)?;
        self.status(caller).await
    }

    /// Ends the pause after a restore. Resets the free clusters: they may have been leased since the backup,
    /// and a cluster must not pass to another holder unreset.
    pub async fn resume(&self, caller: &Caller) -> Result<()> {
        permissions::must_administer(caller)?;
        if !self.runtime.is_paused() {
            return Ok(());
        }
        let cause = Cause::of(caller, "it may have been used since the restored backup");
        let mut tx = self.store().begin().await?;
        for row in tx.clusters().await? {
            if row.leased
                || row.operation_id.is_some()
                || !matches!(row.state.0, ClusterState::Ready | ClusterState::Stopped)
            {
                continue;
            }
            if let Some(host) = tx.host(row.host_id).await? {
                self.operations.accept_reset(&mut tx, &host, row, &cause).await?;
            }
        }
        tx.setting_put("paused", "false").await?;
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "resume",
                subject: "installation",
                detail: String::new(),
            },
            Timestamp::now(),
        )
        .await?;
        self.operations.accepted(tx, &[]).await?;
        self.runtime.paused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Returns a consistent copy of the database, without the master key, as a file that is deleted on close.
    pub async fn backup(&self, caller: &Caller) -> Result<File> {
        permissions::must_administer(caller)?;
        let path = self
            .store()
            .folder()
            .join(format!("backup-{}.tmp", Uuid::now_v7()));
        self.store().copy_to(&path).await?;
        let file = File::open(&path).map_err(Error::internal)?;
        std::fs::remove_file(&path).map_err(Error::internal)?;
        let mut tx = self.store().begin().await?;
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "backup",
                subject: "installation",
                detail: String::new(),
            },
            Timestamp::now(),
        )
        .await?;
        tx.commit("backup recorded").await?;
        Ok(file)
    }
}
