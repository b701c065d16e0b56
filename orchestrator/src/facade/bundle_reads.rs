//! Audit of bundle reads, because a bundle may hold private keys. A holder may read as often as it likes, so
//! at most one entry per minute is written for an account and a lease.

pub(crate) mod recorded;

use crate::{Caller, Orchestrator, Result};
use chainpool_api::Timestamp;
use chainpool_store::{Audit, LeaseRow};
use std::time::Instant;

impl Orchestrator {
    /// Records that a caller reads a lease's bundle. If that fails, the bundle is not returned.
    pub(crate) async fn bundle_read(&self, caller: &Caller, lease: &LeaseRow) -> Result<()> {
        let (key, now) = ((caller.account_id, lease.id), Instant::now());
        if !self.inner.bundle_reads.is_due(key, now) {
            return Ok(());
        }
        let mut tx = self.store().begin().await?;
        let detail = format!("of cluster {}, held by {}", lease.cluster_id, lease.holder);
        let line = Audit {
            author: &caller.account,
            verb: "lease_bundle",
            subject: &lease.id.to_string(),
            detail,
        };
        tx.audit_insert(line, Timestamp::now()).await?;
        tx.commit("bundle read recorded").await?;
        self.inner.bundle_reads.written(key, now);
        Ok(())
    }
}
