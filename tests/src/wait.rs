//! Waits for a condition with a deadline, never for a fixed time.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Polls until the condition holds. The error names the last reason.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut poll: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        match poll().await? {
            Ok(answer) => return Ok(answer),
            Err(why) if Instant::now() >= until => {
                bail!("timed out after {limit:?} waiting for {what}: {why}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Polls until the condition holds. The deadline restarts whenever the progress count grows.
pub(crate) async fn while_progressing<T>(
    limit: Duration,
    what: &str,
    mut poll: impl AsyncFnMut() -> Result<Result<T, (u32, String)>>,
) -> Result<T> {
    let mut until = Instant::now() + limit;
    let mut most = 0;
    loop {
        match poll().await? {
            Ok(answer) => return Ok(answer),
            Err((done, _)) if done > most => (until, most) = (Instant::now() + limit, done),
            Err((_, why)) if Instant::now() >= until => {
                bail!("no progress for {limit:?} waiting for {what}: {why}")
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Polls until the call succeeds.
pub async fn within_ok<T>(
    limit: Duration,
    what: &str,
    mut poll: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    within(limit, what, async || {
        Ok(poll().await.map_err(|e| format!("{e:#}")))
    })
    .await
}
