//! Password hashes. One costs 19 MiB and a core for some 50 ms, and anybody may ask for one by a sign-in, so only a few
//! run at once and few wait.

use crate::{Error, Result};
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier, password_hash::phc::PasswordHash};
use std::{sync::Arc, thread::available_parallelism};
use tokio::sync::Semaphore;

/// How many hashes run at once at most, however many cores there are.
const MOST_AT_ONCE: usize = 8;

/// How many requests wait for each that runs; the others are refused.
const WAITING_EACH: usize = 8;

/// The least and the largest number of characters of a password.
pub(super) const PASSWORD_LENGTH: (usize, usize) = (12, 1024);

/// Computes hashes of passwords, one a core.
pub(super) struct PasswordHasher {
    /// One permit for each request that runs or waits.
    admitted: Arc<Semaphore>,
    /// One permit for each that runs.
    running: Arc<Semaphore>,
}

impl Default for PasswordHasher {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE))
    }
}

impl PasswordHasher {
    fn new(at_once: usize) -> Self {
        let admitted = at_once * (1 + WAITING_EACH);
        Self {
            admitted: Arc::new(Semaphore::new(admitted)),
            running: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Whether a password fits what is stored. An unknown account costs the same time as a wrong password.
    pub(super) async fn verify(&self, stored: Option<String>, password: String) -> Result<bool> {
        self.run(move || verify(stored.as_deref(), &password)).await
    }

    /// The hash of a new password, as it is stored.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        let hash = self.run(move || {
            Argon2::default()
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
        });
        hash.await?.map_err(|error| Error::internal(error.to_string()))
    }

    /// Does the work on a thread of its own when it is its turn. The permits go with the work: a request that is
    /// cancelled frees none while its hash goes on.
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
    // The hash of a password that nobody knows.
    const NOBODY: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$V8z6a7tgnL9QhZkpHWtj9zYB0d0M9zNlqPXZ8oYgKjM";
    let parsed = PasswordHash::new(stored.unwrap_or(NOBODY));
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
    fn only_the_right_password_fits_and_nobodys_never_does() {
        let hash = Argon2::default()
            .hash_password(b"correct horse battery")
            .expect("a hash")
            .to_string();
        assert!(verify(Some(&hash), "correct horse battery"));
        assert!(!verify(Some(&hash), "wrong"));
        assert!(!verify(None, "wrong"));
    }

    #[tokio::test]
    async fn few_hashes_run_at_once_few_wait_and_the_others_are_refused() {
        let hasher = PasswordHasher::new(2);
        let (began, starts) = mpsc::channel();
        // Each work waits here until its sender is dropped.
        let mut gates = Vec::new();
        let mut works: Vec<_> = (0..2 * (1 + WAITING_EACH))
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
            "one more is neither run nor kept waiting"
        );
        assert_eq!(hasher.running.available_permits(), 0);
        assert!(starts.try_recv().is_err(), "a third one runs");
        // A request that is cancelled frees its place in the queue, but not the thread that works for it.
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
