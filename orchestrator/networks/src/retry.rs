//! Retries with pauses: the only place of the crate that sleeps.

use crate::client::call::CallError;
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep};

const SHORTEST: Duration = Duration::from_millis(15);
const LONGEST: Duration = Duration::from_millis(200);

/// Bounds of [`rest`].
const SHORTEST_REST: Duration = Duration::from_millis(25);
const LONGEST_REST: Duration = Duration::from_millis(300);

/// The pause between two attempts.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(SHORTEST)
    }

    /// Waits, each time a little longer.
    pub(crate) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = longer(self.0);
    }
}

fn longer(pause: Duration) -> Duration {
    LONGEST.min(pause * 3 / 2)
}

/// Waits after an attempt that took this long. A slow attempt indicates a busy machine, and polling must not
/// take the time that the ledger needs.
pub(crate) async fn rest(attempt: Duration) {
    sleep(rest_after(attempt)).await;
}

fn rest_after(attempt: Duration) -> Duration {
    (attempt * 3).clamp(SHORTEST_REST, LONGEST_REST)
}

/// Retries until success or the deadline; then returns the last error.
pub(crate) async fn until<T, F>(deadline: Instant, attempt: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    retry(deadline, |_| true, attempt).await
}

/// Retries while the node is unavailable; a refusal is final.
pub(crate) async fn until_responsive<T, F>(
    deadline: Instant,
    attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    retry(deadline, CallError::is_transient, attempt).await
}

/// Retries until success, a final error or the deadline.
async fn retry<T, F>(
    deadline: Instant,
    may_pass: impl Fn(&CallError) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut pause = Pause::new();
    loop {
        match attempt().await {
            Err(e) if may_pass(&e) && Instant::now() < deadline => pause.wait().await,
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

    #[test]
    fn pauses_grow_to_a_limit_and_rests_follow_the_attempt() {
        let pauses: Vec<Duration> = std::iter::successors(Some(SHORTEST), |pause| Some(longer(*pause)))
            .take(9)
            .collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[8]), (SHORTEST, LONGEST));
        for (attempt, expected) in [(0, 25), (20, 60), (500, 300)] {
            let rest = rest_after(Duration::from_millis(attempt));
            assert_eq!(rest, Duration::from_millis(expected));
        }
    }
}
