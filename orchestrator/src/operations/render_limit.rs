//! The limit of concurrent renders.

use chainpool_store::Priority;
use std::{num::NonZero, sync::Arc, thread::available_parallelism};
use tokio::sync::{AcquireError, Mutex, OwnedSemaphorePermit, Semaphore};

/// Limits the concurrent renders to half of the processors, so that requests are served meanwhile. Renders of requests
/// come before those of operations, as write transactions do: only the first waiting render of an operation is in the
/// queue of the limit.
pub(crate) struct RenderLimit {
    permits: Arc<Semaphore>,
    background: Mutex<()>,
}

impl RenderLimit {
    fn of(renders: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(renders)),
            background: Mutex::default(),
        }
    }

    /// Waits until a render may begin. It ends when the permit is dropped.
    pub(super) async fn permit(&self, priority: Priority) -> Result<OwnedSemaphorePermit, AcquireError> {
        let _first = match priority {
            Priority::Request => None,
            Priority::Background => Some(self.background.lock().await),
        };
        Arc::clone(&self.permits).acquire_owned().await
    }
}

impl Default for RenderLimit {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self::of((processors / 2).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream::FuturesUnordered};
    use std::sync::{Mutex as Lock, PoisonError};

    #[tokio::test]
    async fn a_render_for_a_request_waits_for_at_most_one_waiting_render_of_an_operation() {
        let limit = RenderLimit::of(1);
        let order = Lock::new(Vec::new());
        let running = limit.permit(Priority::Background).await.unwrap();
        let render = async |priority| {
            let permit = limit.permit(priority).await.unwrap();
            order
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(priority);
            drop(permit);
        };
        let mut arrivals = vec![Priority::Background; 50];
        arrivals.push(Priority::Request);
        let mut waiting: FuturesUnordered<_> = arrivals.into_iter().map(render).collect();
        assert!(futures::poll!(waiting.next()).is_pending());
        drop(running);
        while waiting.next().await.is_some() {}
        drop(waiting);
        let order = order.into_inner().unwrap();
        let request = order.iter().position(|priority| *priority == Priority::Request);
        assert!(request.is_some_and(|before| before <= 1), "{request:?}");
        assert_eq!(order.len(), 51);
    }
}
