//! The jobs and when they run.

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

/// Ledgers probed in a second at most; beyond it the worst and the longest unseen first.
const PROBES_A_SECOND: usize = 200;
/// How often each ledger is probed.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// Ledgers probed at once.
const PROBES_AT_ONCE: usize = 32;
/// Hosts judged at once: one that is slow to answer holds up no other of its pass.
const HOSTS_AT_ONCE: usize = 32;

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// One job: its name, its schedule, its work.
struct Duty {
    name: &'static str,
    schedule: &'static str,
    work: fn(Orchestrator) -> Work,
}

const DUTIES: [Duty; 8] = [
    Duty { name: "probe_pass", schedule: "*/2 * * * * *", work: |o| Box::pin(probe_pass(o)) },
    Duty { name: "full_pass", schedule: "*/30 * * * * *", work: |o| Box::pin(full_pass(o)) },
    Duty { name: "lease_expiry", schedule: "* * * * * *", work: |o| Box::pin(async move { o.expire_leases().await }) },
    Duty { name: "autofill", schedule: "* * * * * *", work: |o| Box::pin(async move { o.autofill().await }) },
    Duty { name: "evidence_note", schedule: "*/10 * * * * *", work: |o| Box::pin(async move { o.note_checked().await }) },
    Duty { name: "database_check", schedule: "17 */10 * * * *", work: |o| Box::pin(async move { o.database_check().map(Ok).await }) },
    Duty { name: "write_check", schedule: "*/30 * * * * *", work: |o| Box::pin(async move { o.database_write_check().map(Ok).await }) },
    Duty { name: "retention", schedule: "29 7 * * * *", work: |o| Box::pin(async move { o.forget_old().await }) },
];

/// Held by a job while it runs.
pub(crate) type Busy = Arc<Mutex<()>>;

/// All jobs, ready for the scheduler. A run that finds the one before it still at work leaves it alone;
/// none begins after the stop.
pub(crate) fn all(orchestrator: &Orchestrator, stop: &CancellationToken) -> std::result::Result<Vec<(Job, Busy)>, JobSchedulerError> {
    DUTIES
        .iter()
        .map(|duty| {
            let held = Busy::default();
            let (name, work, orchestrator, busy, stop) = (duty.name, duty.work, orchestrator.clone(), Arc::clone(&held), stop.clone());
            let job = Job::new_async(duty.schedule, move |_, _| {
                let (orchestrator, busy, stop) = (orchestrator.clone(), Arc::clone(&busy), stop.clone());
                Box::pin(async move {
                    let Ok(_alone) = busy.try_lock() else { return };
                    if stop.is_cancelled() {
                        return;
                    }
                    let done = orchestrator.isolated(Watched::Job(name), work(orchestrator.clone())).await;
                    if let Some(Err(error)) = done {
                        tracing::error!(job = name, %error, cause = ?error, "a job of the watchdog failed; its next run tries again");
                    }
                })
            })?;
            Ok((job, held))
        })
        .collect()
}

/// Probes every ledger that is due, within the budget.
async fn probe_pass(orchestrator: Orchestrator) -> Result<()> {
    let began = Instant::now();
    let budget = PROBES_A_SECOND * usize::try_from(PROBE_PERIOD.as_secs()).unwrap_or(1);
    let due = orchestrator.clusters_to_judge().await?;
    let probes = stream::iter(due.into_iter().take(budget)).map(|cluster| {
        let orchestrator = orchestrator.clone();
        async move { (cluster, orchestrator.isolated(Watched::Cluster(cluster), orchestrator.cluster_judge(cluster, false)).await) }
    });
    let mut probes = probes.buffer_unordered(PROBES_AT_ONCE);
    while let Some((cluster, outcome)) = probes.next().await {
        if let Some(Err(error)) = outcome {
            tracing::error!(%cluster, %error, cause = ?error, "a cluster could not be judged");
        }
    }
    orchestrator.note_lag(began.elapsed().saturating_sub(PROBE_PERIOD));
    Ok(())
}

/// Judges every host: reach, resources, and everything there that is ours.
async fn full_pass(orchestrator: Orchestrator) -> Result<()> {
    let began = Instant::now();
    let hosts = stream::iter(orchestrator.hosts_to_watch().await?);
    hosts
        .for_each_concurrent(HOSTS_AT_ONCE, async |host| {
            if let Some(Err(error)) = orchestrator.isolated(Watched::Host(host), orchestrator.host_judge(host)).await {
                tracing::error!(%host, %error, cause = ?error, "a host could not be judged");
            }
        })
        .await;
    orchestrator.note_pass(began.elapsed());
    Ok(())
}
