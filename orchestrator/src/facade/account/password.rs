//! Password hashing. A hash costs 19 MiB and about 50 ms of a core, and anybody can trigger one by a sign-in,
//! so only a few run concurrently and few wait.

use crate::{Error, Result};
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier, password_hash::phc::PasswordHash};
use std::{sync::Arc, thread::available_parallelism};
use tokio::sync::Semaphore;

/// The maximum number of concurrent hashes, regardless of the cores.
const MAX_CONCURRENT: usize = 8;

/// The number of requests that may wait per running hash; others are refused.
const WAITING_PER_RUNNING: usize = 8;

/// The minimum and maximum length of a password, in characters.
pub(super) const PASSWORD_LENGTH: (usize, usize) = (12, 1024);

/// Computes password hashes, one per core.
pub(super) struct PasswordHasher {
    /// One permit per running or waiting request.
    admitted: Arc<Semaphore>,
    /// One permit per running request.
    running: Arc<Semaphore>,
}

impl Default for PasswordHasher {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, usize::from).min(MAX_CONCURRENT))
    }
}

impl PasswordHasher {
    fn new(at_once: usize) -> Self {
        let admitted = at_once * (1 + WAITING_PER_RUNNING);
        Self {
            admitted: Arc::new(Semaphore::new(admitted)),
            running: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Verifies a password against the stored hash. An unknown account takes as long as a wrong password.
    pub(super) async fn verify(&self, stored: Option<String>, password: String) -> Result<bool> {
        self.run(move || verify(stored.as_deref(), &password)).await
    }

    /// Hashes a new password.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        let hash = self.run(move || {
            Argon2::default()
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
        });
        hash.await?.map_err(|error| Error::internal(error.to_string()))
    }

    /// Runs the work on its own thread when it is its turn. The permits stay with the work: a cancelled
    /// request frees none while its hash still runs.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| Error::TooMany(1))?;
        let turn = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            let _permits = (admitted, turn);
            work()
        });
        done.await.map_err(Error::internal)
    }
}

fn verify(stored: Option<&str>, password: &str) -> bool {
    // The hash of an unknown password.
    const UNKNOWN: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$V8z6a7tgnL9QhZkpHWtj9zYB0d0M9zNlqPXZ8oYgKjM";
    let parsed = PasswordHash::new(stored.unwrap_or(UNKNOWN));
    let right = parsed.is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    });
    right && stored.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn only_the_right_password_of_an_existing_account_is_accepted() {
        let hash = Argon2::default()
            .hash_password(b"correct horse battery")
            .expect("a hash")
            .to_string();
        assert!(verify(Some(&hash), "correct horse battery"));
        assert!(!verify(Some(&hash), "wrong"));
        assert!(!verify(None, "wrong"));
    }

    #[tokio::test]
    async fn hashes_beyond_the_running_and_waiting_limits_are_refused() {
        let hasher = PasswordHasher::new(2);
        let (began, starts) = mpsc::channel();
        // Each work item blocks until its sender is dropped.
        let mut gates = Vec::new();
        let mut works: Vec<_> = (0..2 * (1 + WAITING_PER_RUNNING))
            .map(|_| {
                let (gate, opened) = mpsc::channel::<()>();
                gates.push(gate);
                let began = began.clone();
                Box::pin(hasher.run(move || {
                    began.send(()).unwrap();
                    let _dropped = opened.recv();
                }))
            })
            .collect();
        for work in &mut works {
            assert!(futures::poll!(work.as_mut()).is_pending());
        }
        for _ in 0..2 {
            starts.recv().unwrap();
        }
        assert!(
            matches!(hasher.run(|| ()).await, Err(Error::TooMany(1))),
            "one more neither runs nor waits"
        );
        assert_eq!(hasher.running.available_permits(), 0);
        assert!(starts.try_recv().is_err(), "a third one runs");
        // A cancelled request frees its place in the queue, but not the thread that works for it.
        drop(works.swap_remove(0));
        assert_eq!(
            (
                hasher.running.available_permits(),
                hasher.admitted.available_permits()
            ),
            (0, 0)
        );
        drop(works.pop());
        assert_eq!(hasher.admitted.available_permits(), 1);
        drop(gates);
        assert!(futures::future::join_all(works).await.iter().all(Result::is_ok));
        assert!(hasher.run(|| ()).await.is_ok());
    }
}
