//! Turns: the clusters of a host that are assessed at the same time, and the order of those that wait.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// A waiting assessment: its urgency by now, and the channel for its turn.
struct Waiting {
    is_urgent: Box<dyn Fn() -> bool + Send>,
    turn: oneshot::Sender<Turn>,
}

/// The turns of one host.
pub(super) struct Turns(Mutex<Queue>);

struct Queue {
    free: usize,
    waiting: VecDeque<Waiting>,
    /// The latest turn went to an urgent assessment.
    was_urgent: bool,
}

/// One turn. It passes to the next assessment when it is dropped.
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    pub(super) fn new(together: usize) -> Self {
        Self(Mutex::new(Queue {
            free: together,
            waiting: VecDeque::new(),
            was_urgent: false,
        }))
    }

    /// Waits for a turn. Turns go to an urgent assessment, if one waits, and to the longest waiting one alternately: an
    /// assessment may stay urgent because its platform does not respond.
    pub(super) async fn take(self: &Arc<Self>, is_urgent: impl Fn() -> bool + Send + 'static) -> Turn {
        let granted = {
            let mut queue = self.queue();
            if queue.free > 0 {
                queue.free -= 1;
                return Turn(Arc::clone(self));
            }
            let (turn, granted) = oneshot::channel();
            queue.waiting.push_back(Waiting {
                is_urgent: Box::new(is_urgent),
                turn,
            });
            granted
        };
        granted.await.expect("it waits until it has its turn")
    }

    /// Takes the next assessment from the queue; without one the turn is free.
    fn next(&self) -> Option<Waiting> {
        let mut queue = self.queue();
        queue.waiting.retain(|waiting| !waiting.turn.is_closed());
        let urgent = if queue.was_urgent {
            None
        } else {
            queue.waiting.iter().position(|waiting| (waiting.is_urgent)())
        };
        queue.was_urgent = urgent.is_some();
        let next = queue.waiting.remove(urgent.unwrap_or(0));
        if next.is_none() {
            queue.free += 1;
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(next) = self.0.next() {
            // If it stopped waiting meanwhile, the turn is dropped here and passes on.
            drop(next.turn.send(Turn(Arc::clone(&self.0))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn never() -> bool {
        false
    }

    #[tokio::test]
    async fn an_assessment_that_became_urgent_is_next_and_the_others_keep_their_order() {
        let turns = Arc::new(Turns::new(2));
        let first = turns.take(never).await;
        let second = turns.take(|| true).await;
        let urgent = Arc::new(AtomicBool::new(false));
        let is_urgent = {
            let urgent = Arc::clone(&urgent);
            move || urgent.load(Ordering::SeqCst)
        };
        let mut a = Box::pin(turns.take(never));
        let mut b = Box::pin(turns.take(is_urgent));
        let [mut c, mut d] = [Box::pin(turns.take(never)), Box::pin(turns.take(never))];
        assert!((&mut a).now_or_never().is_none());
        assert!((&mut b).now_or_never().is_none());
        assert!((&mut c).now_or_never().is_none());
        assert!((&mut d).now_or_never().is_none());
        urgent.store(true, Ordering::SeqCst);
        drop(first);
        assert!((&mut a).now_or_never().is_none());
        let b = b.now_or_never().expect("it is urgent");
        drop(a);
        drop(second);
        assert!((&mut d).now_or_never().is_none());
        let c = c.now_or_never().expect("it has waited longest");
        drop((b, c));
        d.now_or_never().expect("it is the last one");
        assert_eq!(turns.queue().free, 2);
    }

    #[tokio::test]
    async fn urgent_assessments_do_not_starve_the_others() {
        let turns = Arc::new(Turns::new(1));
        let first = turns.take(never).await;
        let mut waiting = ["a", "urgent b", "urgent c", "d"].map(|name| {
            let is_urgent = name.starts_with("urgent");
            let turns = Arc::clone(&turns);
            (name, Box::pin(async move { turns.take(move || is_urgent).await }))
        });
        for (_, turn) in &mut waiting {
            assert!(turn.now_or_never().is_none());
        }
        let (mut current, mut order) = (first, Vec::new());
        let mut waiting = Vec::from(waiting);
        while !waiting.is_empty() {
            drop(current);
            let mut granted = None;
            waiting.retain_mut(|(name, turn)| {
                let turn = turn.now_or_never();
                let waits = turn.is_none();
                granted = granted.take().or(turn.map(|turn| (*name, turn)));
                waits
            });
            let (name, turn) = granted.expect("one of them has the turn");
            order.push(name);
            current = turn;
        }
        assert_eq!(order, ["urgent b", "a", "urgent c", "d"]);
    }
}
