//! Waiting for a condition with a deadline, never for a time.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Asks until the answer is there; the last reason is in the error.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        match ask().await? {
            Ok(answer) => return Ok(answer),
            Err(why) if Instant::now() >= until => bail!("{what} did not come about within {limit:?}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Asks until the answer is there; the deadline counts from the last time that the number of what is done grew.
pub(crate) async fn while_moving<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Result<T, (u32, String)>>,
) -> Result<T> {
    let mut until = Instant::now() + limit;
    let mut most = 0;
    loop {
        match ask().await? {
            Ok(answer) => return Ok(answer),
            Err((done, _)) if done > most => (until, most) = (Instant::now() + limit, done),
            Err((_, why)) if Instant::now() >= until => {
                bail!("{what}: nothing moved within {limit:?}: {why}")
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The same where asking itself may fail for a while.
pub async fn within_ok<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    within(limit, what, async || {
        Ok(ask().await.map_err(|e| format!("{e:#}")))
    })
    .await
}
