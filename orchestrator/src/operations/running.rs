//! The operations running in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// The operations running in this process.
#[derive(Default)]
pub(crate) struct RunningOperations {
    pub(super) wake: Notify,
    running: Mutex<HashMap<Uuid, CancellationToken>>,
    clusters: Locks,
    renders: Locks,
    pub(super) tasks: TaskTracker,
}

impl RunningOperations {
    /// Signals that an operation was accepted.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Cancels a superseded operation.
    pub(crate) fn cancel(&self, operation: Uuid) {
        if let Some(token) = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
        {
            token.cancel();
        }
    }

    /// Spawns a task that ends before the database closes.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(super) fn begin(&self, operation: Uuid) -> CancellationToken {
        let token = CancellationToken::new();
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(operation, token.clone());
        token
    }

    pub(super) fn end(&self, operation: Uuid) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&operation);
    }

    /// Only one operation works on a cluster at a time, even while the previous one is still stopping.
    pub(super) fn cluster(&self, cluster: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        self.clusters.of(cluster)
    }

    /// The request that accepted a generation and the executor do not render the same one.
    pub(super) fn rendering(&self, cluster: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        self.renders.of(cluster)
    }
}

/// One lock for each cluster in use.
#[derive(Default)]
struct Locks(Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    fn of(&self, cluster: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(cluster).or_default())
    }
}
