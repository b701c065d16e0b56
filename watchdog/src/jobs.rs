//! The jobs and their schedule.

use chainpool_health::Assessment;
use chainpool_orchestrator::{Orchestrator, Result, Watched};
use futures::{FutureExt, future::join_all};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_cron_scheduler::{Job, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The maximum number of ledgers probed per second. Beyond it, unhealthy and least recently probed ledgers
/// come first.
const PROBES_A_SECOND: usize = 200;
/// The number of assessments in a pass that are started at once. More are spread.
const AT_ONCE: usize = 32;
/// The number of probes started together when many are spread over a pass: a start of its own for each probe would
/// cost more processor time.
const PROBES_TOGETHER: u32 = 16;

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The schedule of a job.
enum Schedule {
    /// At these times of the day.
    Cron(&'static str),
    /// At this interval of the health policy.
    Every(fn(&Assessment) -> Duration),
}

/// A job with its name, schedule and work.
struct ScheduledJob {
    name: &'static str,
    schedule: Schedule,
    work: fn(Orchestrator) -> Work,
}

const JOBS: [ScheduledJob; 8] = [
    ScheduledJob {
        name: "probe_pass",
        schedule: Schedule::Every(|policy| policy.probe_interval),
        work: |o| Box::pin(probe_pass(o)),
    },
    ScheduledJob {
        name: "full_pass",
        schedule: Schedule::Every(|policy| policy.full_pass_interval),
        work: |o| Box::pin(full_pass(o)),
    },
    ScheduledJob {
        name: "lease_expiry",
        schedule: Schedule::Cron("* * * * * *"),
        work: |o| Box::pin(async move { o.expire_leases().await }),
    },
    ScheduledJob {
        name: "autofill",
        schedule: Schedule::Cron("* * * * * *"),
        work: |o| Box::pin(async move { o.autofill().await }),
    },
    ScheduledJob {
        name: "evidence_note",
        schedule: Schedule::Every(|policy| policy.record_interval),
        work: |o| Box::pin(async move { o.note_checked().await }),
    },
    ScheduledJob {
        name: "database_check",
        schedule: Schedule::Cron("17 */10 * * * *"),
        work: |o| Box::pin(async move { o.database_check().map(Ok).await }),
    },
    ScheduledJob {
        name: "write_check",
        schedule: Schedule::Cron("*/30 * * * * *"),
        work: |o| Box::pin(async move { o.database_write_check().map(Ok).await }),
    },
    ScheduledJob {
        name: "retention",
        schedule: Schedule::Cron("29 7 * * * *"),
        work: |o| Box::pin(async move { o.prune_history().await }),
    },
];

/// Locked by a job while it runs.
pub(crate) type Busy = Arc<Mutex<()>>;

/// All jobs with a cron schedule, ready for the scheduler. A run is skipped while the previous run continues;
/// none starts after the stop.
pub(crate) fn scheduled(
    orchestrator: &Orchestrator,
    stop: &CancellationToken,
) -> std::result::Result<Vec<(Job, Busy)>, JobSchedulerError> {
    let mut jobs = Vec::new();
    for ScheduledJob { name, schedule, work } in &JOBS {
        let Schedule::Cron(schedule) = schedule else {
            continue;
        };
        let held = Busy::default();
        let (orchestrator, busy, stop) = (orchestrator.clone(), Arc::clone(&held), stop.clone());
        let job = Job::new_async(*schedule, move |_, _| {
            let (orchestrator, busy, stop) = (orchestrator.clone(), Arc::clone(&busy), stop.clone());
            Box::pin(async move {
                let Ok(_alone) = busy.try_lock() else { return };
                if stop.is_cancelled() {
                    return;
                }
                once(&orchestrator, name, *work).await;
            })
        })?;
        jobs.push((job, held));
    }
    Ok(jobs)
}

/// Runs the jobs with an interval until the stop, and ends with their last runs.
pub(crate) async fn repeated(orchestrator: &Orchestrator, stop: &CancellationToken) {
    let policy = &orchestrator.health_policy().assessment;
    let jobs = JOBS.iter().filter_map(|job| match job.schedule {
        Schedule::Every(interval) => Some(repeat(orchestrator, stop, interval(policy), job)),
        Schedule::Cron(_) => None,
    });
    join_all(jobs).await;
}

/// Runs a job at an interval, at multiples of it on the clock. A run is skipped while the previous run
/// continues; none starts after the stop.
async fn repeat(
    orchestrator: &Orchestrator,
    stop: &CancellationToken,
    interval: Duration,
    &ScheduledJob { name, work, .. }: &ScheduledJob,
) {
    let mut times = interval_at(
        tokio::time::Instant::now() + until_next(SystemTime::now(), interval),
        interval,
    );
    times.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(times.tick()).await.is_some() {
        // A task of its own, so that a long run on one thread does not delay the other jobs.
        let orchestrator = orchestrator.clone();
        let run = tokio::spawn(async move { once(&orchestrator, name, work).await });
        if let Err(error) = run.await {
            tracing::error!(job = name, %error, "a watchdog job ended early; its next run retries");
        }
    }
}

/// The time until the next multiple of an interval on the clock.
fn until_next(now: SystemTime, interval: Duration) -> Duration {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let past = since.as_nanos() % interval.as_nanos().max(1);
    interval.saturating_sub(Duration::from_nanos(u64::try_from(past).unwrap_or(0)))
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

/// The maximum number of ledgers probed in one pass.
fn probe_budget(interval: Duration) -> usize {
    let millis = usize::try_from(interval.as_millis()).unwrap_or(usize::MAX);
    (millis.saturating_mul(PROBES_A_SECOND) / 1000).max(1)
}

/// Starts an assessment of each of these hosts or clusters, and waits for all of them.
async fn spread<F: Future>(ids: Vec<Uuid>, interval: Duration, together: u32, assess: impl Fn(Uuid) -> F) {
    let (begin, starts) = (tokio::time::Instant::now(), starts(interval, ids.len(), together));
    let assessments = starts.zip(ids).map(|(start, id)| {
        let assessment = assess(id);
        async move {
            sleep_until(begin + start).await;
            assessment.await
        }
    });
    join_all(assessments).await;
}

/// The starts of the assessments of a pass, after its begin. Many are spread over half of its interval, some together,
/// so that they do not delay requests. A few are started at once.
fn starts(interval: Duration, assessments: usize, together: u32) -> impl Iterator<Item = Duration> {
    let pause = match u32::try_from(assessments) {
        Ok(count) if assessments > AT_ONCE => interval / 2 / count,
        _ => Duration::ZERO,
    };
    (0..).map(move |place| pause.saturating_mul(place - place % together))
}

/// Has every due ledger probed, within the budget. Waits for the probes, but not into the next pass: a host that
/// hangs delays no other.
async fn probe_pass(orchestrator: Orchestrator) -> Result<()> {
    let interval = orchestrator.health_policy().assessment.probe_interval;
    let mut due = orchestrator.clusters_to_assess().await?;
    due.truncate(probe_budget(interval));
    let probes = spread(due, interval, PROBES_TOGETHER, |cluster| {
        orchestrator.cluster_assess(cluster, false)
    });
    // The assessments report their errors themselves.
    drop(timeout(interval, probes).await);
    orchestrator.note_lag(orchestrator.oldest_assessment().saturating_sub(interval));
    Ok(())
}

/// Has every host assessed: reachability, resources, and all our objects there. Waits like a probe pass.
async fn full_pass(orchestrator: Orchestrator) -> Result<()> {
    let started = Instant::now();
    let interval = orchestrator.health_policy().assessment.full_pass_interval;
    let hosts = orchestrator.hosts_to_watch().await?;
    let assessments = spread(hosts, interval, 1, |host| orchestrator.host_assess(host));
    drop(timeout(interval, assessments).await);
    orchestrator.note_pass(started.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bed::Bed;
    use chainpool_agent_memory::{Fault, Verb};
    use chainpool_health::HealthPolicy;

    /// An interval that does not end during a test.
    const NEVER: Duration = Duration::from_hours(4_000);

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

    #[test]
    fn a_repeated_job_runs_at_multiples_of_its_interval() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let next = |millis, interval| until_next(at(millis), Duration::from_millis(interval)).as_millis();
        assert_eq!(
            [
                next(0, 2_000),
                next(1_999, 2_000),
                next(90_500, 30_000),
                next(1_250, 100)
            ],
            [2_000, 1, 29_500, 50]
        );
    }

    #[test]
    fn a_pass_probes_at_most_200_ledgers_a_second() {
        let budget = |millis| probe_budget(Duration::from_millis(millis));
        assert_eq!([budget(2_000), budget(500), budget(1)], [400, 100, 1]);
    }

    #[test]
    fn many_assessments_are_spread_over_half_of_the_interval_of_their_pass() {
        let starts = |count, together| -> Vec<Duration> {
            starts(Duration::from_secs(30), count, together)
                .take(count)
                .collect()
        };
        assert_eq!(starts(32, 1), [Duration::ZERO; 32]);
        let many = starts(1000, 1);
        assert_eq!(many[1], Duration::from_millis(15));
        assert_eq!(many[999], Duration::from_millis(14_985));
        let groups = starts(1000, 16);
        assert_eq!(groups[..16], [Duration::ZERO; 16]);
        assert_eq!(groups[16..32], [many[16]; 16]);
    }

    #[tokio::test]
    async fn every_assessment_of_a_spread_pass_is_made_once() {
        let ids: Vec<Uuid> = (0..100).map(Uuid::from_u128).collect();
        let made = std::sync::Mutex::new(Vec::new());
        let note = |id| {
            let made = &made;
            async move { made.lock().unwrap().push(id) }
        };
        spread(ids.clone(), Duration::ZERO, PROBES_TOGETHER, note).await;
        let mut made = made.into_inner().unwrap();
        made.sort_unstable();
        assert_eq!(made, ids);
    }

    /// Runs the repeated jobs with these intervals of probe pass and full pass until this verb was called on the
    /// first host more often. Returns the further calls of the other verb.
    async fn calls_meanwhile(intervals: [Duration; 2], awaited: Verb, other: Verb) -> u64 {
        let [probe_interval, full_pass_interval] = intervals;
        let assessment = Assessment {
            probe_interval,
            full_pass_interval,
            full_pass_late: full_pass_interval,
            record_interval: NEVER,
            evidence_max_age: NEVER * 2,
            ..Assessment::default()
        };
        let bed = Bed::start_with(HealthPolicy {
            assessment,
            ..HealthPolicy::default()
        })
        .await;
        bed.filled("h1").await;
        let (world, stop) = (&bed.worlds[0], CancellationToken::new());
        let before = [awaited, other].map(|verb| world.calls(verb));
        let running = tokio::spawn({
            let (orchestrator, stop) = (bed.orchestrator.clone(), stop.clone());
            async move { repeated(&orchestrator, &stop).await }
        });
        bed.until("repeated runs", async || world.calls(awaited) >= before[0] + 10)
            .await;
        stop.cancel();
        running.await.unwrap();
        bed.orchestrator.stop().await;
        world.calls(other) - before[1]
    }

    #[tokio::test]
    async fn each_pass_runs_at_its_interval_of_the_policy() {
        let often = Duration::from_millis(5);
        assert_eq!(
            calls_meanwhile([often, NEVER], Verb::Dial, Verb::Probe).await,
            0,
            "no full pass"
        );
        assert_eq!(
            calls_meanwhile([NEVER, often], Verb::Probe, Verb::Dial).await,
            0,
            "no probe pass"
        );
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
