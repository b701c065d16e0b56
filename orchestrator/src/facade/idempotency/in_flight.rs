//! Requests with an idempotency key that are in progress.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// Account, route, key.
type Key = (Uuid, String, String);

type Locks = Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>;

/// The requests with a key that are in progress.
#[derive(Default)]
pub(crate) struct InFlight(Arc<Locks>);

/// The exclusive turn of a request among those with its key; others wait until it is dropped.
pub(crate) struct Turn {
    locks: Arc<Locks>,
    key: Key,
    lock: Option<Arc<tokio::sync::Mutex<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl InFlight {
    pub(super) async fn turn(&self, key: Key) -> Turn {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = locks.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(key.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        // Create the turn before waiting, so that a cancelled request leaves nothing behind.
        let mut turn = Turn {
            locks: Arc::clone(&self.0),
            key,
            lock: Some(Arc::clone(&lock)),
            held: None,
        };
        turn.held = Some(lock.lock_owned().await);
        turn
    }

    /// The number of keys in progress.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        drop((self.held.take(), self.lock.take()));
        if locks.get(&self.key).is_some_and(|lock| lock.strong_count() == 0) {
            locks.remove(&self.key);
        }
    }
}
