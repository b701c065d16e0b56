//! The jobs and their schedule.

use chainpool_orchestrator::{Orchestrator, Result, Watched};
use futures::{FutureExt, StreamExt, stream};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobSchedulerError};
use tokio_util::sync::CancellationToken;

/// The maximum number of ledgers probed per second. Beyond it, unhealthy and least recently probed ledgers
/// come first.
const PROBES_A_SECOND: usize = 200;
/// The probe period of a ledger.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// The number of concurrent probes.
const PROBES_AT_ONCE: usize = 32;
/// The number of hosts assessed concurrently: a slow host does not delay the others of a pass.
const HOSTS_AT_ONCE: usize = 32;

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A job with its name, schedule and work.
struct ScheduledJob {
    name: &'static str,
    schedule: &'static str,
    work: fn(Orchestrator) -> Work,
}

const JOBS: [ScheduledJob; 8] = [
    ScheduledJob {
        name: "probe_pass",
        schedule: "*/2 * * * * *",
        work: |o| Box::pin(probe_pass(o)),
    },
    ScheduledJob {
        name: "full_pass",
        schedule: "*/30 * * * * *",
        work: |o| Box::pin(full_pass(o)),
    },
    ScheduledJob {
        name: "lease_expiry",
        schedule: "* * * * * *",
        work: |o| Box::pin(async move { o.expire_leases().await }),
    },
    ScheduledJob {
        name: "autofill",
        schedule: "* * * * * *",
        work: |o| Box::pin(async move { o.autofill().await }),
    },
    ScheduledJob {
        name: "evidence_note",
        schedule: "*/10 * * * * *",
        work: |o| Box::pin(async move { o.note_checked().await }),
    },
    ScheduledJob {
        name: "database_check",
        schedule: "17 */10 * * * *",
        work: |o| Box::pin(async move { o.database_check().map(Ok).await }),
    },
    ScheduledJob {
        name: "write_check",
        schedule: "*/30 * * * * *",
        work: |o| Box::pin(async move { o.database_write_check().map(Ok).await }),
    },
    ScheduledJob {
        name: "retention",
        schedule: "29 7 * * * *",
        work: |o| Box::pin(async move { o.prune_history().await }),
    },
];

/// Locked by a job while it runs.
pub(crate) type Busy = Arc<Mutex<()>>;

/// All jobs, ready for the scheduler. A run is skipped while the previous run continues; none starts after
/// the stop.
pub(crate) fn all(
    orchestrator: &Orchestrator,
    stop: &CancellationToken,
) -> std::result::Result<Vec<(Job, Busy)>, JobSchedulerError> {
    JOBS.iter()
        .map(|scheduled| {
            let held = Busy::default();
            let (name, work, orchestrator, busy, stop) = (
                scheduled.name,
                scheduled.work,
                orchestrator.clone(),
                Arc::clone(&held),
                stop.clone(),
            );
            let job = Job::new_async(scheduled.schedule, move |_, _| {
                let (orchestrator, busy, stop) = (orchestrator.clone(), Arc::clone(&busy), stop.clone());
                Box::pin(async move {
                    let Ok(_alone) = busy.try_lock() else { return };
                    if stop.is_cancelled() {
                        return;
                    }
                    once(&orchestrator, name, work).await;
                })
            })?;
            Ok((job, held))
        })
        .collect()
}

/// Runs a job once.
async fn once(orchestrator: &Orchestrator, name: &'static str, work: fn(Orchestrator) -> Work) {
    if let Some(Err(error)) = orchestrator
        .isolated(Watched::Job(name), work(orchestrator.clone()))
        .await
    {
        tracing::error!(job = name, %error, cause = ?error, "a watchdog job failed; its next run retries");
    }
}

/// Probes every due ledger, within the budget.
async fn probe_pass(orchestrator: Orchestrator) -> Result<()> {
    let started = Instant::now();
    let budget = PROBES_A_SECOND * usize::try_from(PROBE_PERIOD.as_secs()).unwrap_or(1);
    let due = orchestrator.clusters_to_assess().await?;
    let probes = stream::iter(due.into_iter().take(budget)).map(|cluster| {
        let orchestrator = orchestrator.clone();
        async move {
            (
                cluster,
                orchestrator
                    .isolated(
                        Watched::Cluster(cluster),
                        orchestrator.cluster_assess(cluster, false),
                    )
                    .await,
            )
        }
    });
    let mut probes = probes.buffer_unordered(PROBES_AT_ONCE);
    while let Some((cluster, outcome)) = probes.next().await {
        if let Some(Err(error)) = outcome {
            tracing::error!(%cluster, %error, cause = ?error, "a cluster could not be assessed");
        }
    }
    orchestrator.note_lag(started.elapsed().saturating_sub(PROBE_PERIOD));
    Ok(())
}

/// Assesses every host: reachability, resources, and all our objects there.
async fn full_pass(orchestrator: Orchestrator) -> Result<()> {
    let started = Instant::now();
    let hosts = stream::iter(orchestrator.hosts_to_watch().await?);
    hosts
        .for_each_concurrent(HOSTS_AT_ONCE, async |host| {
            if let Some(Err(error)) = orchestrator
                .isolated(Watched::Host(host), orchestrator.host_assess(host))
                .await
            {
                tracing::error!(%host, %error, cause = ?error, "a host could not be assessed");
            }
        })
        .await;
    orchestrator.note_pass(started.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bed::Bed;
    use chainpool_agent_memory::{Fault, Verb};

    #[tokio::test]
    async fn a_panic_in_a_host_check_is_reported_and_does_not_block_other_hosts() {
        let bed = Bed::start().await;
        let [first, second] = &bed.worlds;
        let (pass, observed) = (
            bed.status().await.watchdog.last_pass_at,
            second.calls(Verb::Observe),
        );
        assert_eq!(pass, None);
        first.always(Verb::Observe, Some(Fault::Panic));
        full_pass(bed.orchestrator.clone()).await.unwrap();
        assert_eq!(
            second.calls(Verb::Observe),
            observed + 1,
            "the other host was checked"
        );
        assert!(
            bed.status().await.watchdog.last_pass_at.is_some(),
            "the pass completed"
        );
        let problems = bed.crashes().await;
        assert!(
            problems.len() == 1 && problems[0].starts_with("the check of host h1 crashed at"),
            "{problems:?}"
        );
        first.always(Verb::Observe, None);
        full_pass(bed.orchestrator.clone()).await.unwrap();
        assert!(bed.crashes().await.is_empty(), "the next run succeeded");
        bed.orchestrator.stop().await;
    }

    #[tokio::test]
    async fn a_panic_in_a_cluster_check_is_reported_and_does_not_block_other_clusters() {
        let bed = Bed::start().await;
        let [name, _] = [bed.filled("h1").await, bed.filled("h2").await];
        let [first, second] = &bed.worlds;
        let dialed = second.calls(Verb::Dial);
        first.always(Verb::Dial, Some(Fault::Panic));
        probe_pass(bed.orchestrator.clone()).await.unwrap();
        assert!(second.calls(Verb::Dial) > dialed, "the other cluster was probed");
        let problems = bed.crashes().await;
        assert!(
            problems.len() == 1
                && problems[0].starts_with(&format!("the check of cluster {name} crashed at")),
            "{problems:?}"
        );
        first.always(Verb::Dial, None);
        probe_pass(bed.orchestrator.clone()).await.unwrap();
        assert!(bed.crashes().await.is_empty(), "the next run succeeded");
        bed.orchestrator.stop().await;
    }

    fn with_defect(orchestrator: Orchestrator) -> Work {
        Box::pin(async move {
            assert!(orchestrator.instance().is_empty(), "a defect on purpose");
            Ok(())
        })
    }

    #[tokio::test]
    async fn a_panicking_job_is_reported_and_runs_again() {
        let bed = Bed::start().await;
        once(&bed.orchestrator, "autofill", with_defect).await;
        let problems = bed.crashes().await;
        assert!(
            problems.len() == 1 && problems[0].starts_with("the job autofill of the watchdog crashed at"),
            "{problems:?}"
        );
        once(&bed.orchestrator, "autofill", |_| Box::pin(async { Ok(()) })).await;
        assert!(bed.crashes().await.is_empty(), "the next run succeeded");
        bed.orchestrator.stop().await;
    }
}
