//! Jobs that take no input, their schedule, and the ear at each platform.
//!
//! A job may run at any time and any number of times; a full pass can repair anything. None retries itself: the next
//! run does. The platforms' event streams only say when to look sooner.

#[cfg(test)]
mod bed;
mod jobs;
mod watch;

use chainpool_orchestrator::Orchestrator;
use tokio_cron_scheduler::{JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// Why the watchdog could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// The schedule was refused.
    #[error("the watchdog's schedule could not be set up")]
    Schedule(#[from] JobSchedulerError),
}

/// Watches until it is told to stop.
pub async fn run(orchestrator: Orchestrator, stop: CancellationToken) -> Result<(), WatchdogError> {
    let mut scheduler = JobScheduler::new().await?;
    let mut busy = Vec::new();
    for (job, held) in jobs::all(&orchestrator, &stop)? {
        scheduler.add(job).await?;
        busy.push(held);
    }
    scheduler.start().await?;
    // Its next turn may be ten minutes away, and until then nobody would know.
    tokio::join!(watch::hosts(&orchestrator, &stop), orchestrator.database_check());
    scheduler.shutdown().await?;
    // What is still at work ends first: the store closes after this.
    for held in busy {
        drop(held.lock().await);
    }
    Ok(())
}
