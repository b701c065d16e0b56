//! Callers by the digest of their secret, so that a request costs one look-up in memory.
//!
//! A revoked credential must not come back into the cache. Each revocation counts a revision up; an answer of the
//! database enters only when no revocation happened since before it was asked for. Entries also live for
//! [`LIFE`] only: a net for a revocation whose request was cancelled while its commit was under way.

use crate::Caller;
use chainpool_api::Timestamp;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long an entry answers before the database is asked again.
const LIFE: Duration = Duration::from_secs(10);

/// How many entries there are at most.
const MOST: usize = 10_000;

/// The cache. This process is the only writer of the database, so it learns of every revocation.
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
    /// When the database was asked.
    read_at: Instant,
}

/// The answer of the cache.
pub(super) enum Lookup {
    /// The caller of this secret.
    Hit(Caller),
    /// Ask the database, and say that the question is of this revision.
    Miss(Revision),
}

/// The number of revocations before a question to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revision(u64);

/// A revocation under way. Empties the cache when it ends in any way: an error, or a request that was cancelled, may
/// have changed the database all the same.
#[must_use = "it empties the cache when it is dropped, which must be after the commit"]
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
        // A panic inside leaves at worst one entry fewer.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, digest: &[u8; 32], now: Timestamp, at: Instant) -> Lookup {
        let entries = self.lock();
        let lives = |entry: &&Entry| {
            entry.expires_at.is_none_or(|expires| now < expires)
                && at.saturating_duration_since(entry.read_at) < LIFE
        };
        match entries.by_digest.get(digest).filter(lives) {
            Some(entry) => Lookup::Hit(entry.caller.clone()),
            None => Lookup::Miss(Revision(entries.revision)),
        }
    }

    /// Keeps an answer of the database, unless something was revoked since `asked`.
    pub(super) fn put(
        &self,
        asked: Revision,
        digest: [u8; 32],
        caller: Caller,
        expires_at: Option<Timestamp>,
        read_at: Instant,
    ) {
        let mut entries = self.lock();
        if entries.revision != asked.0 {
            return;
        }
        if entries.by_digest.len() >= MOST {
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

    fn asked(cache: &CredentialCache, at: Instant) -> Revision {
        match cache.get(&[1; 32], NOW, at) {
            Lookup::Miss(revision) => revision,
            Lookup::Hit(_) => panic!("it is in the cache"),
        }
    }

    fn hits(cache: &CredentialCache, now: Timestamp, at: Instant) -> bool {
        matches!(cache.get(&[1; 32], now, at), Lookup::Hit(_))
    }

    #[test]
    fn an_answer_from_before_a_revocation_is_not_kept() {
        let (cache, at) = (CredentialCache::default(), Instant::now());
        let before = asked(&cache, at);
        drop(cache.revocation());
        cache.put(before, [1; 32], ann(), None, at);
        assert!(!hits(&cache, NOW, at));
        cache.put(asked(&cache, at), [1; 32], ann(), None, at);
        assert!(hits(&cache, NOW, at));
        drop(cache.revocation());
        assert!(!hits(&cache, NOW, at), "a revocation empties the cache");
    }

    #[test]
    fn an_entry_ends_with_its_credential_and_after_its_life() {
        let (cache, at) = (CredentialCache::default(), Instant::now());
        cache.put(asked(&cache, at), [1; 32], ann(), Some(NOW.plus_seconds(5)), at);
        assert!(hits(&cache, NOW.plus_seconds(4), at));
        assert!(!hits(&cache, NOW.plus_seconds(5), at));
        assert!(!hits(&cache, NOW, at + LIFE));
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, at) = (CredentialCache::default(), Instant::now());
        let revision = asked(&cache, at);
        for n in 0..=MOST {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            cache.put(revision, digest, ann(), None, at);
        }
        assert!(cache.lock().by_digest.len() <= MOST);
    }
}
