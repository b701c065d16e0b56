//! Retries with backoff.

use crate::fabric::client::call::CallError;
use std::{future::Future, time::Duration};
use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(15);
const LONGEST: Duration = Duration::from_millis(200);

/// The pause between two attempts.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(SHORTEST)
    }

    /// Waits, each time a little longer.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = LONGEST.min(self.0 * 3 / 2);
    }
}

/// Retries until success or the deadline; then returns the last error.
pub(crate) async fn until<T, F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut pause = Pause::new();
    loop {
        match attempt().await {
            Err(e) if Instant::now() >= deadline => return Err(e),
            Err(_) => pause.wait().await,
            done => return done,
        }
    }
}

/// Retries while the node is unavailable; a refusal is final.
pub(crate) async fn until_responsive<T, F>(
    deadline: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut pause = Pause::new();
    loop {
        match attempt().await {
            Err(CallError::Unavailable(_)) if Instant::now() < deadline => pause.wait().await,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn unavailable_nodes_are_retried_and_refusals_are_not() {
        let tries = Cell::new(0);
        let soon = Instant::now() + Duration::from_secs(5);
        let answer = until_responsive(soon, || async {
            tries.set(tries.get() + 1);
            if tries.get() < 3 {
                Err(CallError::Unavailable("not yet".to_owned()))
            } else {
                Ok(tries.get())
            }
        });
        assert_eq!(answer.await, Ok(3));
        tries.set(0);
        let refused: Result<(), _> = until_responsive(soon, || async {
            tries.set(tries.get() + 1);
            Err(CallError::Refused("no".to_owned()))
        })
        .await;
        assert_eq!(
            (refused, tries.get()),
            (Err(CallError::Refused("no".to_owned())), 1)
        );
        let over: Result<(), _> = until(Instant::now(), || async {
            Err(CallError::Refused("no".to_owned()))
        })
        .await;
        assert_eq!(over, Err(CallError::Refused("no".to_owned())));
    }
}
