//! A job runs to its end, and no more often than it must.
//!
//! Of a job that ended well a platform may keep nothing but that. So jobs count their runs in their volume, and another job of the
//! same name, which ends badly on purpose, tells the count with its last words.

use super::{
    Kept, Promise, Stand, outcome::Stop, program::Step, promise, promised, repeat::transient_at_most,
    stand::hashed,
};
use crate::{
    Agent, ClusterKey, Error, File, NodeSpec, NodeState, ObjectKind, Scope, Secret, Variable, Volumes,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::time::{Instant, timeout};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "job",
        once,
        "a job runs to its end with its files, secrets and variables; asked for again, it has run once"
    ),
    promise!(
        "job-waited-for",
        waited_for,
        "a job that runs is waited for and not begun again, when the call that began it was cut off"
    ),
    promise!(
        "job-failed",
        failed,
        "a job that ends badly is refused with its code and last words; asked for again, it runs anew"
    ),
    promise!(
        "job-replaced",
        replaced,
        "a job whose hash is another runs again, on the volumes of the one before"
    ),
    promise!(
        "job-cut-off",
        cut_off,
        "a job cut off at random points and repeated ends well, and runs no more often than it was asked for"
    ),
];

const NAME: &str = "setup";
/// Where a job counts its runs.
const RUNS: &str = "/data/runs";

fn job(stand: &Stand<'_>, steps: &[Step]) -> NodeSpec {
    stand.node(NAME, &[&[Step::Count(RUNS.into())], steps].concat())
}

/// Asks for a job until it has ended well.
pub(super) async fn done(stand: &Stand<'_>, agent: &dyn Agent, key: &ClusterKey, job: &NodeSpec) -> Kept {
    stand
        .insist("the job ends", async || {
            agent.ensure_job(key, job, &stand.image).await
        })
        .await
}

/// Asks for a job that ends badly; returns what it is refused with.
async fn refused(stand: &Stand<'_>, key: &ClusterKey, job: &NodeSpec) -> Kept<String> {
    let ask = async || match stand.agent.ensure_job(key, job, &stand.image).await {
        Err(error) if error.is_transient() => Err(error),
        end => Ok(Ok(end)),
    };
    match stand.until("the job ends", ask).await? {
        Err(Error::Refused(words)) => Ok(words),
        other => Err(Stop::Failed(format!(
            "a job that ends badly is told as {other:?}"
        ))),
    }
}

/// Waits until this is the one job of the cluster, in this state.
pub(super) async fn seen(stand: &Stand<'_>, key: &ClusterKey, job: &NodeSpec, state: &NodeState) -> Kept {
    let look = async || {
        let mut jobs = stand.agent.observe(Scope::Cluster(key.cluster)).await?.objects;
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
    stand.until(&format!("the job is seen {state:?}"), look).await
}

/// How often jobs ran on the volume of this cluster's job, by what another one finds there.
async fn runs(stand: &Stand<'_>, key: &ClusterKey) -> Kept<u32> {
    let words = refused(stand, key, &job(stand, &[Step::Exit(9)])).await?;
    Ok(counted(&words)? - 1)
}

/// The count among a job's last words.
fn counted(words: &str) -> Kept<u32> {
    let digits = |rest: &str| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    let counts = words
        .match_indices("life ")
        .filter_map(|(at, found)| digits(&words[at + found.len()..]));
    counts
        .filter(|count| *count > 0)
        .max()
        .ok_or_else(|| Stop::Failed(format!("its last words are not told: {words}")))
}

async fn once(stand: &Stand<'_>) -> Kept {
    let file = |path: &str, content: &str, secret| File {
        path: path.into(),
        content: Secret::new(content.into()),
        mode: 0o600,
        owner: (1000, 1001),
        secret,
        once: false,
    };
    let with_all = |steps: &[Step]| {
        let mut job = job(stand, steps);
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
    let (key, job) = (stand.key(), with_all(&[&files[..], &[Step::Exit(0)]].concat()));
    stand.network(&key).await?;
    for _ in 0..2 {
        done(stand, &*stand.agent, &key, &job).await?;
        seen(stand, &key, &job, &NodeState::Exited(0)).await?;
    }
    done(stand, &*stand.ground.connect(stand.instance)?, &key, &job).await?;
    let life = stand.agent.incarnation(&key, &job.name).await?;
    promised!(life.is_none(), "a job that has ended lives: {life:?}");
    let variables = [
        Step::Variable("OPEN".into()),
        Step::Variable("HIDDEN".into()),
        Step::Exit(9),
    ];
    let words = refused(stand, &key, &with_all(&variables)).await?;
    promised!(counted(&words)? == 2, "it ran more than once: {words}");
    let told = ["variable OPEN=plain", "variable HIDDEN=two words"]
        .iter()
        .all(|line| words.contains(line));
    promised!(told, "its variables are not what they shall be: {words}");
    for _ in 0..2 {
        stand.agent.drop_node(&key, &job.name, Volumes::Purge).await?;
        let left = stand.objects(Scope::Host).await?;
        promised!(
            left.iter().all(|object| object.node.is_none()),
            "{left:?} is left"
        );
    }
    done(stand, &*stand.agent, &key, &job).await?;
    promised!(
        runs(stand, &key).await? == 1,
        "a job that was dropped did not run afresh"
    );
    Ok(())
}

async fn waited_for(stand: &Stand<'_>) -> Kept {
    let (key, peer) = (stand.key(), stand.node("peer", &[Step::Echo(7000), Step::Stay]));
    let job = job(stand, &[Step::Reach("peer".into(), 7000), Step::Exit(0)]);
    stand.network(&key).await?;
    tokio::select! {
        end = stand.agent.ensure_job(&key, &job, &stand.image) => {
            return Err(Stop::Failed(format!("a job that waits for a node is told as {end:?}")));
        }
        runs = seen(stand, &key, &job, &NodeState::Running) => runs?,
    }
    stand.start(&key, &peer).await?;
    done(stand, &*stand.agent, &key, &job).await?;
    seen(stand, &key, &job, &NodeState::Exited(0)).await?;
    let runs = runs(stand, &key).await?;
    promised!(runs == 1, "it ran {runs} times");
    Ok(())
}

async fn failed(stand: &Stand<'_>) -> Kept {
    let reason = "the reason is this";
    let (key, job) = (
        stand.key(),
        job(stand, &[Step::Complain(reason.into()), Step::Exit(77)]),
    );
    stand.network(&key).await?;
    for time in 1..=2 {
        let words = refused(stand, &key, &job).await?;
        promised!(
            words.contains("77") && words.contains(reason),
            "its code and last words are not told: {words}"
        );
        promised!(counted(&words)? == time, "asked for {time} times: {words}");
        seen(stand, &key, &job, &NodeState::Exited(77)).await?;
        stand.says(&key, &job, reason).await?;
    }
    Ok(())
}

async fn replaced(stand: &Stand<'_>) -> Kept {
    let first = job(
        stand,
        &[
            Step::Write("/data/left".into(), "by the first".into()),
            Step::Exit(0),
        ],
    );
    let second = job(
        stand,
        &[
            Step::Expect("/data/left".into(), "by the first".into()),
            Step::Exit(0),
        ],
    );
    let key = stand.key();
    stand.network(&key).await?;
    for job in [&first, &second] {
        done(stand, &*stand.agent, &key, job).await?;
        seen(stand, &key, job, &NodeState::Exited(0)).await?;
    }
    let runs = runs(stand, &key).await?;
    promised!(runs == 2, "two jobs ran {runs} times");
    Ok(())
}

async fn cut_off(stand: &Stand<'_>) -> Kept {
    let mut random = StdRng::seed_from_u64(stand.seed);
    let job = job(stand, &[Step::Exit(0)]);
    let key = stand.key();
    stand.network(&key).await?;
    // How long a run takes here, so that the cuts lie within.
    let start = Instant::now();
    done(stand, &*stand.agent, &key, &job).await?;
    let longest = u64::try_from(start.elapsed().as_micros())
        .unwrap_or(u64::MAX)
        .max(1000);
    for _ in 0..3 {
        let key = stand.key();
        stand.network(&key).await?;
        for _ in 0..2 {
            let cut = Duration::from_micros(random.random_range(0..=longest));
            if let Ok(done) = timeout(cut, stand.agent.ensure_job(&key, &job, &stand.image)).await {
                transient_at_most(done)?;
            }
        }
        // Each call that was cut off may have begun it, and so may the first of these; the others find it ended.
        for _ in 0..4 {
            done(stand, &*stand.agent, &key, &job).await?;
        }
        seen(stand, &key, &job, &NodeState::Exited(0)).await?;
        let runs = runs(stand, &key).await?;
        promised!(
            (1..=3).contains(&runs),
            "asked for 3 times until it had ended, it ran {runs} times"
        );
    }
    Ok(())
}
