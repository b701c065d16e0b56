//! Trying again until it works, with a pause that grows.

use super::connect::CallError;
use std::{future::Future, time::Duration};
use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(15);
const LONGEST: Duration = Duration::from_millis(200);

/// The pause between two tries.
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new() -> Self {
        Self(SHORTEST)
    }

    /// Waits a little longer than the last time.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = LONGEST.min(self.0 * 3 / 2);
    }
}

/// Tries until it works or the time is over; then the last error counts.
pub(super) async fn until<T, F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T, CallError>
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

/// The same for a node that may not answer yet; what it refuses it refuses for good.
pub(super) async fn until_it_answers<T, F>(
    deadline: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut pause = Pause::new();
    loop {
        match attempt().await {
            Err(CallError::Silent(_)) if Instant::now() < deadline => pause.wait().await,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn silence_is_tried_again_and_a_refusal_is_not() {
        let tries = Cell::new(0);
        let soon = Instant::now() + Duration::from_secs(5);
        let answer = until_it_answers(soon, || async {
            tries.set(tries.get() + 1);
            if tries.get() < 3 {
                Err(CallError::Silent("not yet".to_owned()))
            } else {
                Ok(tries.get())
            }
        });
        assert_eq!(answer.await, Ok(3));
        tries.set(0);
        let refused: Result<(), _> = until_it_answers(soon, || async {
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
