//! One mailbox for each cluster and host: requests to assess it wait there, and one task works them off.
//!
//! Requests that arrive during an assessment cost one more assessment together, not one each.

use crate::{Error, Result};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The requests that wait for one owner.
#[derive(Default)]
pub(crate) struct Requests {
    /// One of them wants the platform's inventory to be read first.
    pub(crate) list: bool,
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

impl Requests {
    /// Ends the requests. All of them learn whether the assessment failed.
    pub(crate) fn end(self, outcome: Result<()>) {
        let mut waiting = self.waiting.into_iter();
        let first = waiting.next();
        for other in waiting {
            let outcome = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::internal(error.to_string())),
            };
            // The requester may have stopped waiting.
            drop(other.send(outcome));
        }
        if let Some(first) = first {
            drop(first.send(outcome));
        }
    }
}

/// A mailbox with its task.
struct Mailbox {
    waiting: Option<Requests>,
    /// When the oldest request that is not answered yet was posted.
    since: Instant,
}

/// All mailboxes of one kind of owner. An owner with a mailbox has a task that works it off.
#[derive(Default)]
pub(crate) struct Mailboxes(Mutex<HashMap<Uuid, Mailbox>>);

impl Mailboxes {
    /// Adds a request. Returns `true` if the caller must start a task for this owner.
    #[must_use]
    pub(crate) fn post(&self, owner: Uuid, list: bool, waiting: Option<oneshot::Sender<Result<()>>>) -> bool {
        let mut all = self.all();
        let starts = !all.contains_key(&owner);
        let mailbox = all.entry(owner).or_insert_with(|| Mailbox {
            waiting: None,
            since: Instant::now(),
        });
        let requests = mailbox.waiting.get_or_insert_default();
        requests.list |= list;
        requests.waiting.extend(waiting);
        starts
    }

    /// Takes the waiting requests. `None`: there are none, and the task must end; the mailbox is gone.
    pub(crate) fn take(&self, owner: Uuid) -> Option<Requests> {
        let mut all = self.all();
        let mailbox = all.get_mut(&owner)?;
        let requests = mailbox.waiting.take();
        mailbox.since = Instant::now();
        if requests.is_none() {
            all.remove(&owner);
        }
        requests
    }

    /// How long the oldest request has been waiting for its answer.
    pub(crate) fn oldest(&self) -> Duration {
        let all = self.all();
        let oldest = all.values().map(|mailbox| mailbox.since.elapsed()).max();
        oldest.unwrap_or_default()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Mailbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_during_an_assessment_are_one_more_assessment() {
        let (boxes, owner) = (Mailboxes::default(), Uuid::now_v7());
        assert!(
            boxes.post(owner, false, None),
            "the first request starts the task"
        );
        assert!(boxes.post(Uuid::now_v7(), false, None), "owners are independent");
        let first = boxes.take(owner).expect("a request");
        assert!(!first.list);
        assert!(!boxes.post(owner, true, None) && !boxes.post(owner, false, None));
        first.end(Ok(()));
        let second = boxes.take(owner).expect("both requests");
        assert!(second.list, "one of them needs the inventory");
        second.end(Ok(()));
        assert!(boxes.oldest() > Duration::ZERO);
        assert!(boxes.take(owner).is_none());
        assert!(boxes.post(owner, false, None), "the task has ended");
    }

    #[tokio::test]
    async fn everyone_who_waits_learns_the_outcome() {
        let (boxes, owner) = (Mailboxes::default(), Uuid::now_v7());
        let [(one, first), (two, second)] = [oneshot::channel(), oneshot::channel()];
        assert!(boxes.post(owner, false, Some(one)) && !boxes.post(owner, false, Some(two)));
        let requests = boxes.take(owner).expect("two requests");
        requests.end(Err(Error::Unavailable("no route".to_owned())));
        assert!(matches!(first.await, Ok(Err(Error::Unavailable(_)))));
        assert!(matches!(second.await, Ok(Err(Error::Internal(_)))));
    }
}
