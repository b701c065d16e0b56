//! Cache of callers by the digest of their secret, so that a request needs only an in-memory look-up.
//!
//! A revoked credential must not reappear in the cache. Each revocation increments a revision; a database
//! result is cached only if no revocation happened since the query began. Entries also expire after
//! [`LIFETIME`], in case a revocation's request was cancelled during its commit.

use crate::Caller;
use chainpool_api::Timestamp;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The lifetime of an entry.
const LIFETIME: Duration = Duration::from_secs(10);

/// The maximum number of entries.
const MAX_ENTRIES: usize = 10_000;

/// The cache. This process is the only writer of the database, so it sees every revocation.
#[derive(Default)]
pub(super) struct CredentialCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    revision: u64,
    by_digest: HashMap<[u8; 32], Entry>,
}

struct Entry {
    caller: Caller,
    expires_at: Option<Timestamp>,
    /// When the database was queried.
    read_at: Instant,
}

/// The result of a look-up.
pub(super) enum Lookup {
    /// The caller of this secret.
    Hit(Caller),
    /// Query the database and store the result with this revision.
    Miss(Revision),
}

/// The number of revocations before a database query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revision(u64);

/// A revocation in progress. Dropping it always empties the cache: a failed or cancelled request may have
/// changed the database.
#[must_use = "dropping it empties the cache, which must happen after the commit"]
pub(super) struct Revocation<'a>(&'a CredentialCache);

impl Drop for Revocation<'_> {
    fn drop(&mut self) {
        let mut entries = self.0.lock();
        entries.revision += 1;
        entries.by_digest.clear();
    }
}

impl CredentialCache {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A panic while locked loses at most one entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, digest: &[u8; 32], now: Timestamp, at: Instant) -> Lookup {
        let entries = self.lock();
        let is_valid = |entry: &&Entry| {
            entry.expires_at.is_none_or(|expires| now < expires)
                && at.saturating_duration_since(entry.read_at) < LIFETIME
        };
        match entries.by_digest.get(digest).filter(is_valid) {
            Some(entry) => Lookup::Hit(entry.caller.clone()),
            None => Lookup::Miss(Revision(entries.revision)),
        }
    }

    /// Caches a database result unless a revocation happened since `queried`.
    pub(super) fn put(
        &self,
        queried: Revision,
        digest: [u8; 32],
        caller: Caller,
        expires_at: Option<Timestamp>,
        read_at: Instant,
    ) {
        let mut entries = self.lock();
        if entries.revision != queried.0 {
            return;
        }
        if entries.by_digest.len() >= MAX_ENTRIES {
            entries.by_digest.clear();
        }
        entries.by_digest.insert(
            digest,
            Entry {
                caller,
                expires_at,
                read_at,
            },
        );
    }

    /// Begins a revocation.
    pub(super) fn revocation(&self) -> Revocation<'_> {
        Revocation(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::Role;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn ann() -> Caller {
        Caller::new(Uuid::nil(), "ann", Role::User)
    }

    fn queried(cache: &CredentialCache, at: Instant) -> Revision {
        match cache.get(&[1; 32], NOW, at) {
            Lookup::Miss(revision) => revision,
            Lookup::Hit(_) => panic!("it is in the cache"),
        }
    }

    fn hits(cache: &CredentialCache, now: Timestamp, at: Instant) -> bool {
        matches!(cache.get(&[1; 32], now, at), Lookup::Hit(_))
    }

    #[test]
    fn a_result_from_before_a_revocation_is_not_cached() {
        let (cache, at) = (CredentialCache::default(), Instant::now());
        let before = queried(&cache, at);
        drop(cache.revocation());
        cache.put(before, [1; 32], ann(), None, at);
        assert!(!hits(&cache, NOW, at));
        cache.put(queried(&cache, at), [1; 32], ann(), None, at);
        assert!(hits(&cache, NOW, at));
        drop(cache.revocation());
        assert!(!hits(&cache, NOW, at), "a revocation empties the cache");
    }

    #[test]
    fn an_entry_expires_with_its_credential_and_after_its_lifetime() {
        let (cache, at) = (CredentialCache::default(), Instant::now());
        cache.put(queried(&cache, at), [1; 32], ann(), Some(NOW.plus_seconds(5)), at);
        assert!(hits(&cache, NOW.plus_seconds(4), at));
        assert!(!hits(&cache, NOW.plus_seconds(5), at));
        assert!(!hits(&cache, NOW, at + LIFETIME));
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, at) = (CredentialCache::default(), Instant::now());
        let revision = queried(&cache, at);
        for n in 0..=MAX_ENTRIES {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            cache.put(revision, digest, ann(), None, at);
        }
        assert!(cache.lock().by_digest.len() <= MAX_ENTRIES);
    }
}
