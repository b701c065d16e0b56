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
    Duty {
        name: "probe_pass",
        schedule: "*/2 * * * * *",
        work: |o| Box::pin(probe_pass(o)),
    },
    Duty {
        name: "full_pass",
        schedule: "*/30 * * * * *",
        work: |o| Box::pin(full_pass(o)),
    },
    Duty {
        name: "lease_expiry",
        schedule: "* * * * * *",
        work: |o| Box::pin(async move { o.expire_leases().await }),
    },
    Duty {
        name: "autofill",
        schedule: "* * * * * *",
        work: |o| Box::pin(async move { o.autofill().await }),
    },
    Duty {
        name: "evidence_note",
        schedule: "*/10 * * * * *",
        work: |o| Box::pin(async move { o.note_checked().await }),
    },
    Duty {
        name: "database_check",
        schedule: "17 */10 * * * *",
        work: |o| Box::pin(async move { o.database_check().map(Ok).await }),
    },
    Duty {
        name: "write_check",
        schedule: "*/30 * * * * *",
        work: |o| Box::pin(async move { o.database_write_check().map(Ok).await }),
    },
    Duty {
        name: "retention",
        schedule: "29 7 * * * *",
        work: |o| Box::pin(async move { o.forget_old().await }),
    },
];

/// Held by a job while it runs.
pub(crate) type Busy = Arc<Mutex<()>>;

/// All jobs, ready for the scheduler. A run that finds the one before it still at work leaves it alone;
/// none begins after the stop.
pub(crate) fn all(
    orchestrator: &Orchestrator,
    stop: &CancellationToken,
) -> std::result::Result<Vec<(Job, Busy)>, JobSchedulerError> {
    DUTIES
        .iter()
        .map(|duty| {
            let held = Busy::default();
            let (name, work, orchestrator, busy, stop) = (
                duty.name,
                duty.work,
                orchestrator.clone(),
                Arc::clone(&held),
                stop.clone(),
            );
            let job = Job::new_async(duty.schedule, move |_, _| {
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
        tracing::error!(job = name, %error, cause = ?error, "a job of the watchdog failed; its next run tries again");
    }
}

/// Probes every ledger that is due, within the budget.
async fn probe_pass(orchestrator: Orchestrator) -> Result<()> {
    let began = Instant::now();
    let budget = PROBES_A_SECOND * usize::try_from(PROBE_PERIOD.as_secs()).unwrap_or(1);
    let due = orchestrator.clusters_to_judge().await?;
    let probes = stream::iter(due.into_iter().take(budget)).map(|cluster| {
        let orchestrator = orchestrator.clone();
        async move {
            (
                cluster,
                orchestrator
                    .isolated(
                        Watched::Cluster(cluster),
                        orchestrator.cluster_judge(cluster, false),
                    )
                    .await,
            )
        }
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
            if let Some(Err(error)) = orchestrator
                .isolated(Watched::Host(host), orchestrator.host_judge(host))
                .await
            {
                tracing::error!(%host, %error, cause = ?error, "a host could not be judged");
            }
        })
        .await;
    orchestrator.note_pass(began.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bed::Bed;
    use chainpool_agent_memory::{Fault, Verb};

    #[tokio::test]
    async fn a_host_whose_check_panics_holds_up_no_other_and_is_named_in_the_status() {
        let bed = Bed::start().await;
        let [first, second] = &bed.worlds;
        let (pass, looked) = (
            bed.status().await.watchdog.last_pass_at,
            second.calls(Verb::Observe),
        );
        assert_eq!(pass, None);
        first.always(Verb::Observe, Some(Fault::Panic));
        full_pass(bed.orchestrator.clone()).await.unwrap();
        assert_eq!(
            second.calls(Verb::Observe),
            looked + 1,
            "the other host was looked through"
        );
        assert!(
            bed.status().await.watchdog.last_pass_at.is_some(),
            "the pass came to its end"
        );
        let said = bed.crashes().await;
        assert!(
            said.len() == 1 && said[0].starts_with("the check of host h1 crashed at"),
            "{said:?}"
        );
        first.always(Verb::Observe, None);
        full_pass(bed.orchestrator.clone()).await.unwrap();
        assert!(bed.crashes().await.is_empty(), "it ended well");
        bed.orchestrator.stop().await;
    }

    #[tokio::test]
    async fn a_cluster_whose_check_panics_holds_up_no_other_and_is_named_in_the_status() {
        let bed = Bed::start().await;
        let [name, _] = [bed.filled("h1").await, bed.filled("h2").await];
        let [first, second] = &bed.worlds;
        let asked = second.calls(Verb::Dial);
        first.always(Verb::Dial, Some(Fault::Panic));
        probe_pass(bed.orchestrator.clone()).await.unwrap();
        assert!(second.calls(Verb::Dial) > asked, "the other cluster was asked");
        let said = bed.crashes().await;
        assert!(
            said.len() == 1 && said[0].starts_with(&format!("the check of cluster {name} crashed at")),
            "{said:?}"
        );
        first.always(Verb::Dial, None);
        probe_pass(bed.orchestrator.clone()).await.unwrap();
        assert!(bed.crashes().await.is_empty(), "it ended well");
        bed.orchestrator.stop().await;
    }

    fn with_defect(orchestrator: Orchestrator) -> Work {
        Box::pin(async move {
            assert!(orchestrator.instance().is_empty(), "a defect on purpose");
            Ok(())
        })
    }

    #[tokio::test]
    async fn a_job_that_panics_is_named_in_the_status_and_runs_again() {
        let bed = Bed::start().await;
        once(&bed.orchestrator, "autofill", with_defect).await;
        let said = bed.crashes().await;
        assert!(
            said.len() == 1 && said[0].starts_with("the job autofill of the watchdog crashed at"),
            "{said:?}"
        );
        once(&bed.orchestrator, "autofill", |_| Box::pin(async { Ok(()) })).await;
        assert!(bed.crashes().await.is_empty(), "it ended well");
        bed.orchestrator.stop().await;
    }
}
