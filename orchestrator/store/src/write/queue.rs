//! The order of write transactions: requests before background work.
//!
//! All transactions use one slot, first come, first served. Background transactions have a queue of their own, and only
//! its first one is in the queue of the slot. Therefore a request waits for at most one background transaction, and for
//! the requests before it. The first background transaction waits only for the requests before it. So neither class
//! starves the other.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{error::Elapsed, timeout},
};

/// The class of a write transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A caller waits for the transaction.
    Request,
    /// The journal of an operation, or the watchdog.
    Background,
}

/// The slot and its queues. Cheap to clone; all clones share one state.
pub(super) struct Queue<T> {
    slot: Arc<Mutex<T>>,
    background: Arc<Mutex<()>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            slot: Arc::clone(&self.slot),
            background: Arc::clone(&self.background),
        }
    }
}

/// The exclusive use of the slot. Dropping it lets the next transaction begin.
pub(super) struct Turn<T> {
    slot: OwnedMutexGuard<T>,
    /// Held until the end: the next background transaction then follows the requests that wait.
    _background: Option<OwnedMutexGuard<()>>,
}

impl<T> Queue<T> {
    pub(super) fn new(slot: T) -> Self {
        Self {
            slot: Arc::new(Mutex::new(slot)),
            background: Arc::default(),
        }
    }

    /// Waits for the slot, at most this long for the transactions before this one. The queue of background
    /// transactions has no limit: it moves with each of them.
    pub(super) async fn turn(&self, priority: Priority, limit: Duration) -> Result<Turn<T>, Elapsed> {
        let background = match priority {
            Priority::Request => None,
            Priority::Background => Some(Arc::clone(&self.background).lock_owned().await),
        };
        let slot = timeout(limit, Arc::clone(&self.slot).lock_owned()).await?;
        Ok(Turn {
            slot,
            _background: background,
        })
    }
}

impl<T> Deref for Turn<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.slot
    }
}

impl<T> DerefMut for Turn<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream::FuturesUnordered};
    use std::sync::Mutex as Lock;

    const LIMIT: Duration = Duration::from_mins(1);

    /// Runs transactions that all wait behind one in progress, in this order of arrival; returns the order in which
    /// they ran. Each of them is followed by another of its class while its count of rounds lasts.
    async fn order(arrivals: &[(Priority, usize)]) -> Vec<Priority> {
        let queue = Queue::new(());
        let order = Lock::new(Vec::new());
        let first = queue.turn(Priority::Background, LIMIT).await.unwrap();
        let run = async |priority: Priority, rounds: usize| {
            for _ in 0..rounds {
                let turn = queue.turn(priority, LIMIT).await.unwrap();
                order.lock().unwrap().push(priority);
                tokio::task::yield_now().await;
                drop(turn);
            }
        };
        let mut waiting: FuturesUnordered<_> = arrivals
            .iter()
            .map(|(priority, rounds)| run(*priority, *rounds))
            .collect();
        // All of them are in a queue before the first one ends.
        assert!(futures::poll!(waiting.next()).is_pending());
        drop(first);
        while waiting.next().await.is_some() {}
        drop(waiting);
        order.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_request_waits_for_at_most_one_background_transaction_however_many_wait() {
        let mut arrivals = vec![(Priority::Background, 3); 50];
        arrivals.push((Priority::Request, 1));
        let order = order(&arrivals).await;
        let before = order.iter().position(|class| *class == Priority::Request);
        assert!(before.is_some_and(|before| before <= 1), "{before:?}");
        assert_eq!(order.len(), 151);
    }

    #[tokio::test]
    async fn requests_do_not_starve_background_transactions() {
        const REQUESTERS: usize = 4;
        let mut arrivals = vec![(Priority::Request, 100); REQUESTERS];
        arrivals.extend([(Priority::Background, 10); 3]);
        let order = order(&arrivals).await;
        let last = order.iter().rposition(|class| *class == Priority::Background);
        let last = last.expect("background transactions ran");
        // At most one request of each requester precedes each of them.
        assert!(last < 30 * (REQUESTERS + 1), "{last} of {}", order.len());
    }
}
