//! Scheduled jobs, and the event watcher of each platform.
//!
//! A job takes no input and may run at any time and any number of times; a full pass can repair anything.
//! Jobs do not retry: the next run does. The platforms' event streams only trigger earlier checks.

#[cfg(test)]
mod bed;
mod jobs;
mod watch;

use chainpool_orchestrator::Orchestrator;
use tokio_cron_scheduler::{JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// The watchdog could not start.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// The schedule was rejected.
    #[error("the watchdog's schedule could not be set up")]
    Schedule(#[from] JobSchedulerError),
}

/// Runs the watchdog until it is stopped.
pub async fn run(orchestrator: Orchestrator, stop: CancellationToken) -> Result<(), WatchdogError> {
    let mut scheduler = JobScheduler::new().await?;
    let mut busy = Vec::new();
    for (job, held) in jobs::scheduled(&orchestrator, &stop)? {
        scheduler.add(job).await?;
        busy.push(held);
    }
    scheduler.start().await?;
    // The next scheduled check may be ten minutes away; check at the start.
    tokio::join!(
        watch::hosts(&orchestrator, &stop),
        jobs::repeated(&orchestrator, &stop),
        orchestrator.database_check()
    );
    scheduler.shutdown().await?;
    // Wait for running jobs: the store closes after this.
    for held in busy {
        drop(held.lock().await);
    }
    Ok(())
}
