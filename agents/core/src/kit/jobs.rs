//! A job runs to completion, and no more often than it must.
//!
//! A platform may keep only the success of a completed job. So jobs count their runs in their volume, and
//! another job of the same name, which fails on purpose, reports the count in its last output.

use super::{
    fixture::{Fixture, hashed, transient_at_most},
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{
    Agent, ClusterKey, Error, File, LogQuery, NodeSpec, NodeState, ObjectKind, RESULT_BEGIN, RESULT_END,
    Scope, Secret, Variable, Volumes, job_result,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::time::{Instant, timeout};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "job",
        once,
        "a job completes with its files, secrets and variables; requested again, it does not run again"
    ),
    promise!(
        "job-waited-for",
        waited_for,
        "a running job is waited for, not run twice, when the call that started it was cut off"
    ),
    promise!(
        "job-failed",
        failed,
        "a failed job is refused with its exit code and last output; requested again, it runs again"
    ),
    promise!(
        "job-replaced",
        replaced,
        "a job with another hash runs again, on the volumes of its predecessor"
    ),
    promise!(
        "job-cut-off",
        cut_off,
        "a job cut off at random points and repeated completes, and runs no more often than it was requested"
    ),
    promise!(
        "job-result",
        result,
        "the result of a completed job, up to 1 MiB, is in its log until the job is dropped"
    ),
];

const NAME: &str = "setup";
/// The file in which a job counts its runs.
const RUNS: &str = "/data/runs";

fn job(fixture: &Fixture<'_>, steps: &[Step]) -> NodeSpec {
    fixture.node(NAME, &[&[Step::Count(RUNS.into())], steps].concat())
}

/// Ensures a job until it has completed.
pub(super) async fn ensure_completed(
    fixture: &Fixture<'_>,
    agent: &dyn Agent,
    key: &ClusterKey,
    job: &NodeSpec,
) -> TestResult {
    fixture
        .retry("the job completes", async || {
            agent.ensure_job(key, job, &fixture.image).await
        })
        .await
}

/// Ensures a job that fails; returns the reason of the refusal.
async fn ensure_failed(fixture: &Fixture<'_>, key: &ClusterKey, job: &NodeSpec) -> TestResult<String> {
    let request = async || match fixture.agent.ensure_job(key, job, &fixture.image).await {
        Err(error) if error.is_transient() => Err(error),
        end => Ok(Ok(end)),
    };
    match fixture.wait_until("the job fails", request).await? {
        Err(Error::Refused(reason)) => Ok(reason),
        other => Err(Stop::Failed(format!("a failed job is reported as {other:?}"))),
    }
}

/// Waits until this is the only job of the cluster, in this state.
pub(super) async fn wait_for_job_state(
    fixture: &Fixture<'_>,
    key: &ClusterKey,
    job: &NodeSpec,
    state: &NodeState,
) -> TestResult {
    let poll = async || {
        let mut jobs = fixture.agent.observe(Scope::Cluster(key.cluster)).await?.objects;
        jobs.retain(|object| {
            object.kind == ObjectKind::Job
                || (object.kind == ObjectKind::Node && object.node.as_ref() == Some(&job.name))
        });
        let right = match &jobs[..] {
            [one] => {
                (one.kind, one.generation, &one.node, &one.hash)
                    == (
                        ObjectKind::Job,
                        key.generation,
                        &Some(job.name.clone()),
                        &Some(job.hash.clone()),
                    )
                    && one.state.as_ref() == Some(state)
            }
            _ => false,
        };
        Ok(right
            .then_some(())
            .ok_or_else(|| format!("the jobs are {jobs:?}")))
    };
    fixture
        .wait_until(&format!("the job is observed as {state:?}"), poll)
        .await
}

/// The number of runs on the volume of this cluster's job, counted by another job.
async fn runs(fixture: &Fixture<'_>, key: &ClusterKey) -> TestResult<u32> {
    let reason = ensure_failed(fixture, key, &job(fixture, &[Step::Exit(9)])).await?;
    Ok(counted(&reason)? - 1)
}

/// The count in a job's last output.
fn counted(reason: &str) -> TestResult<u32> {
    let digits = |rest: &str| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    let counts = reason
        .match_indices("life ")
        .filter_map(|(at, found)| digits(&reason[at + found.len()..]));
    counts
        .filter(|count| *count > 0)
        .max()
        .ok_or_else(|| Stop::Failed(format!("the refusal lacks its last output: {reason}")))
}

async fn once(fixture: &Fixture<'_>) -> TestResult {
    let file = |path: &str, content: &str, secret| File {
        path: path.into(),
        content: Secret::new(content.into()),
        mode: 0o600,
        owner: (1000, 1001),
        secret,
        once: false,
    };
    let with_all = |steps: &[Step]| {
        let mut job = job(fixture, steps);
        job.files = vec![
            file("/data/config/open", "open text", false),
            file("/data/config/secret", "hidden text", true),
        ];
        job.env.insert("OPEN".into(), Variable::Plain("plain".into()));
        job.env
            .insert("HIDDEN".into(), Variable::Secret(Secret::new("two words".into())));
        hashed(job)
    };
    let expect = |path: &str, text: &str| Step::Expect(path.into(), text.into());
    let files = [
        expect("/data/config/open", "open text"),
        expect("/data/config/secret", "hidden text"),
    ];
    let (key, job) = (fixture.key(), with_all(&[&files[..], &[Step::Exit(0)]].concat()));
    fixture.network(&key).await?;
    for _ in 0..2 {
        ensure_completed(fixture, &*fixture.agent, &key, &job).await?;
        wait_for_job_state(fixture, &key, &job, &NodeState::Exited(0)).await?;
    }
    ensure_completed(fixture, &*fixture.platform.connect(fixture.instance)?, &key, &job).await?;
    let incarnation = fixture.agent.incarnation(&key, &job.name).await?;
    check!(
        incarnation.is_none(),
        "a completed job has an incarnation: {incarnation:?}"
    );
    let variables = [
        Step::Variable("OPEN".into()),
        Step::Variable("HIDDEN".into()),
        Step::Exit(9),
    ];
    let reason = ensure_failed(fixture, &key, &with_all(&variables)).await?;
    check!(counted(&reason)? == 2, "it ran more than once: {reason}");
    let variables_set = ["variable OPEN=plain", "variable HIDDEN=two words"]
        .iter()
        .all(|line| reason.contains(line));
    check!(variables_set, "its variables are wrong: {reason}");
    for _ in 0..2 {
        fixture.agent.drop_node(&key, &job.name, Volumes::Purge).await?;
        let left = fixture.objects(Scope::Host).await?;
        check!(
            left.iter().all(|object| object.node.is_none()),
            "{left:?} is left"
        );
    }
    ensure_completed(fixture, &*fixture.agent, &key, &job).await?;
    check!(runs(fixture, &key).await? == 1, "a dropped job did not run again");
    Ok(())
}

async fn waited_for(fixture: &Fixture<'_>) -> TestResult {
    let (key, peer) = (
        fixture.key(),
        fixture.node("peer", &[Step::Echo(7000), Step::Stay]),
    );
    let job = job(fixture, &[Step::Reach("peer".into(), 7000), Step::Exit(0)]);
    fixture.network(&key).await?;
    tokio::select! {
        end = fixture.agent.ensure_job(&key, &job, &fixture.image) => {
            return Err(Stop::Failed(format!("a job that waits for a node is reported as {end:?}")));
        }
        runs = wait_for_job_state(fixture, &key, &job, &NodeState::Running) => runs?,
    }
    fixture.start(&key, &peer).await?;
    ensure_completed(fixture, &*fixture.agent, &key, &job).await?;
    wait_for_job_state(fixture, &key, &job, &NodeState::Exited(0)).await?;
    let runs = runs(fixture, &key).await?;
    check!(runs == 1, "it ran {runs} times");
    Ok(())
}

async fn failed(fixture: &Fixture<'_>) -> TestResult {
    let reason = "the reason is this";
    let (key, job) = (
        fixture.key(),
        job(fixture, &[Step::Complain(reason.into()), Step::Exit(77)]),
    );
    fixture.network(&key).await?;
    for time in 1..=2 {
        let refusal = ensure_failed(fixture, &key, &job).await?;
        check!(
            refusal.contains("77") && refusal.contains(reason),
            "the refusal lacks its code or last output: {refusal}"
        );
        check!(counted(&refusal)? == time, "requested {time} times: {refusal}");
        wait_for_job_state(fixture, &key, &job, &NodeState::Exited(77)).await?;
        fixture.wait_for_output(&key, &job, reason).await?;
    }
    Ok(())
}

async fn replaced(fixture: &Fixture<'_>) -> TestResult {
    let first = job(
        fixture,
        &[
            Step::Write("/data/left".into(), "by the first".into()),
            Step::Exit(0),
        ],
    );
    let second = job(
        fixture,
        &[
            Step::Expect("/data/left".into(), "by the first".into()),
            Step::Exit(0),
        ],
    );
    let key = fixture.key();
    fixture.network(&key).await?;
    for job in [&first, &second] {
        ensure_completed(fixture, &*fixture.agent, &key, job).await?;
        wait_for_job_state(fixture, &key, job, &NodeState::Exited(0)).await?;
    }
    let runs = runs(fixture, &key).await?;
    check!(runs == 2, "two jobs ran {runs} times");
    Ok(())
}

async fn cut_off(fixture: &Fixture<'_>) -> TestResult {
    let mut random = StdRng::seed_from_u64(fixture.seed);
    let job = job(fixture, &[Step::Exit(0)]);
    let key = fixture.key();
    fixture.network(&key).await?;
    // The duration of a run here, so that the cuts fall within it.
    let start = Instant::now();
    ensure_completed(fixture, &*fixture.agent, &key, &job).await?;
    let longest = u64::try_from(start.elapsed().as_micros())
        .unwrap_or(u64::MAX)
        .max(1000);
    for _ in 0..3 {
        let key = fixture.key();
        fixture.network(&key).await?;
        for _ in 0..2 {
            let cut = Duration::from_micros(random.random_range(0..=longest));
            if let Ok(done) = timeout(cut, fixture.agent.ensure_job(&key, &job, &fixture.image)).await {
                transient_at_most(done)?;
            }
        }
        // Each call that was cut off may have started it, and so may the first of these. The others find it
        // completed.
        for _ in 0..4 {
            ensure_completed(fixture, &*fixture.agent, &key, &job).await?;
        }
        wait_for_job_state(fixture, &key, &job, &NodeState::Exited(0)).await?;
        let runs = runs(fixture, &key).await?;
        check!(
            (1..=3).contains(&runs),
            "requested 3 times before it completed, it ran {runs} times"
        );
    }
    Ok(())
}

async fn result(fixture: &Fixture<'_>) -> TestResult {
    let lines = 9_000;
    let steps = [
        Step::Say(RESULT_BEGIN.into()),
        Step::Flood(lines),
        Step::Say(RESULT_END.into()),
        Step::Exit(0),
    ];
    let job = hashed(NodeSpec {
        result: true,
        ..job(fixture, &steps)
    });
    let key = fixture.key();
    fixture.network(&key).await?;
    // Also for a caller that was cut off after the job had completed.
    for agent in [&fixture.agent, &fixture.platform.connect(fixture.instance)?] {
        ensure_completed(fixture, &**agent, &key, &job).await?;
        wait_for_job_state(fixture, &key, &job, &NodeState::Exited(0)).await?;
        let found = fixture
            .retry("read the result", async || {
                job_result(agent.logs(&key, &job.name, LogQuery::default()).await?).await
            })
            .await?;
        let text = String::from_utf8_lossy(found.expose());
        let number = |line: &str| {
            line.strip_prefix("flood ")?
                .split(' ')
                .next()?
                .parse::<u32>()
                .ok()
        };
        let (first, last) = (text.lines().next(), text.lines().last());
        check!(
            text.lines().filter_map(number).eq(1..=lines) && last == Some("flooded"),
            "the result is not whole: {first:?} to {last:?}"
        );
    }
    let runs = runs(fixture, &key).await?;
    check!(runs == 1, "it ran {runs} times");
    Ok(())
}
