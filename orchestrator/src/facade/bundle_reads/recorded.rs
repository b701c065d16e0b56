//! When reads of bundles were last recorded.

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
pub(crate) struct BundleReads(Mutex<HashMap<(Uuid, Uuid), Instant>>);

impl BundleReads {
    pub(super) fn is_due(&self, key: (Uuid, Uuid), now: Instant) -> bool {
        let reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reads
            .get(&key)
            .is_none_or(|at| now.saturating_duration_since(*at) >= INTERVAL)
    }

    pub(super) fn written(&self, key: (Uuid, Uuid), now: Instant) {
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
        let (reads, now) = (BundleReads::default(), Instant::now());
        let (ann, bob, lease) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        assert!(reads.is_due((ann, lease), now));
        reads.written((ann, lease), now);
        assert!(!reads.is_due((ann, lease), now));
        assert!(reads.is_due((bob, lease), now) && reads.is_due((ann, bob), now));
        assert!(reads.is_due((ann, lease), now + INTERVAL));
    }

    #[test]
    fn the_table_is_bounded() {
        let (reads, now) = (BundleReads::default(), Instant::now());
        for _ in 0..=MAX_TRACKED {
            reads.written((Uuid::now_v7(), Uuid::nil()), now);
        }
        assert!(reads.0.lock().unwrap().len() <= MAX_TRACKED);
    }
}
