//! Audit of bundle reads, because a bundle may hold private keys. A holder may read as often as it likes, so
//! at most one entry per minute is written for an account and a lease.

use crate::{Caller, Result};
use chainpool_api::Timestamp;
use chainpool_store::{Audit, LeaseRow, Store};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use uuid::Uuid;

const INTERVAL: Duration = Duration::from_mins(1);

/// The maximum number of tracked accounts and leases.
const MAX_TRACKED: usize = 10_000;

/// When a read of a lease's bundle by an account was last recorded.
#[derive(Default)]
struct Recorded(Mutex<HashMap<(Uuid, Uuid), Instant>>);

/// The audit of bundle reads.
pub(crate) struct BundleReads {
    store: Store,
    recorded: Recorded,
}

impl BundleReads {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            recorded: Recorded::default(),
        }
    }

    /// Records that a caller reads a lease's bundle. If that fails, the bundle is not returned.
    pub(crate) async fn record(&self, caller: &Caller, lease: &LeaseRow) -> Result<()> {
        let (key, now) = ((caller.account_id, lease.id), Instant::now());
        if !self.recorded.is_due(key, now) {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        let detail = format!("of cluster {}, held by {}", lease.cluster_id, lease.holder);
        let line = Audit {
            author: &caller.account,
            verb: "lease_bundle",
            subject: &lease.id.to_string(),
            detail,
        };
        tx.audit_insert(line, Timestamp::now()).await?;
        tx.commit("bundle read recorded").await?;
        self.recorded.written(key, now);
        Ok(())
    }
}

impl Recorded {
    fn is_due(&self, key: (Uuid, Uuid), now: Instant) -> bool {
        let reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reads
            .get(&key)
            .is_none_or(|at| now.saturating_duration_since(*at) >= INTERVAL)
    }

    fn written(&self, key: (Uuid, Uuid), now: Instant) {
        let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reads.len() >= MAX_TRACKED {
            reads.retain(|_, at| now.saturating_duration_since(*at) < INTERVAL);
        }
        // An extra entry is better than an unbounded table.
        if reads.len() >= MAX_TRACKED {
            reads.clear();
        }
        reads.insert(key, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_due_once_a_minute_for_each_account_and_lease() {
        let (reads, now) = (Recorded::default(), Instant::now());
        let (ann, bob, lease) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        assert!(reads.is_due((ann, lease), now));
        reads.written((ann, lease), now);
        assert!(!reads.is_due((ann, lease), now));
        assert!(reads.is_due((bob, lease), now) && reads.is_due((ann, bob), now));
        assert!(reads.is_due((ann, lease), now + INTERVAL));
    }

    #[test]
    fn the_table_is_bounded() {
        let (reads, now) = (Recorded::default(), Instant::now());
        for _ in 0..=MAX_TRACKED {
            reads.written((Uuid::now_v7(), Uuid::nil()), now);
        }
        assert!(reads.0.lock().unwrap().len() <= MAX_TRACKED);
    }
}
