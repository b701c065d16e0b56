//! Every verb may be called twice, cut off anywhere, lose its answer, or find the platform restarted.
//!
//! One life of a node, from its image to its removal, and of a job beside it, is written down as a list of calls. Each promise here walks it,
//! and treats each call in its own bad way; after each the same must hold.

use super::{
    Kept, Lossy, Promise, Stand, jobs,
    outcome::Stop,
    program::Step,
    promise, promised,
    stand::{RUN, hashed, values},
};
use crate::{
    Agent, ClusterKey, File, Incarnation, LogQuery, NetworkSpec, NodeSpec, NodeState, ObjectKind, Power,
    Result, Scope, Secret, Volumes,
};
use futures::TryStreamExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "every-verb-twice",
        twice,
        "every verb called twice does what it does once"
    ),
    promise!(
        "every-verb-cut-off",
        cut_off,
        "every verb cut off at a random point and repeated does what it does once"
    ),
    promise!(
        "every-answer-lost",
        lost,
        "every verb whose answer is lost and which is repeated does what it does once"
    ),
    Promise {
        name: "platform-restarted",
        says: "the platform may be restarted between any two calls",
        restarts: true,
        test: |stand| Box::pin(restarted(stand)),
    },
];

/// One call in a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Image,
    Network,
    MakeOff,
    Start,
    Logs,
    Restart,
    Replace,
    Stop,
    DropKept,
    MakeAgain,
    DropPurged,
    MakeAfresh,
    Job,
    JobAgain,
    DropCluster,
}

const LIFE: [Call; 15] = [
    Call::Image,
    Call::Network,
    Call::MakeOff,
    Call::Start,
    Call::Logs,
    Call::Restart,
    Call::Replace,
    Call::Stop,
    Call::DropKept,
    Call::MakeAgain,
    Call::DropPurged,
    Call::MakeAfresh,
    Call::Job,
    Call::JobAgain,
    Call::DropCluster,
];

/// A node's life while it is lived.
struct Journey<'s> {
    stand: &'s Stand<'s>,
    key: ClusterKey,
    network: NetworkSpec,
    /// The node as it is first, and as it is from its replacement on.
    first: NodeSpec,
    second: NodeSpec,
    job: NodeSpec,
    /// The life that a restart shall end, written down before the call as the executor does.
    before: Option<Incarnation>,
}

impl<'s> Journey<'s> {
    fn new(stand: &'s Stand<'s>) -> Self {
        let node = |says: &str| {
            let mut node = stand.node(
                "v0",
                &[
                    Step::Say(says.into()),
                    Step::Show("/data/state".into()),
                    Step::Write("/data/state".into(), "left".into()),
                    Step::Count("/data/lives".into()),
                    Step::Stay,
                ],
            );
            let content = Secret::new(b"fresh".to_vec());
            node.files = vec![File {
                path: "/data/state".into(),
                content,
                mode: 0o640,
                owner: (1000, 1001),
                secret: true,
                once: true,
            }];
            hashed(node)
        };
        let (first, second) = (node("first"), node("second"));
        // It can end well but once: the second time it finds what it left.
        let state = "/data/state".to_owned();
        let steps = [
            Step::Expect(state.clone(), "fresh".into()),
            Step::Write(state, "left".into()),
            Step::Exit(0),
        ];
        let job = hashed(NodeSpec {
            files: first.files.clone(),
            ..stand.node("setup", &steps)
        });
        Self {
            stand,
            key: stand.key(),
            network: stand.ground.network(),
            first,
            second,
            job,
            before: None,
        }
    }

    /// The same with a job that may run more than once, because whoever cuts a call off cannot know what it began.
    fn with_patient_job(stand: &'s Stand<'s>) -> Self {
        Self {
            job: stand.node("setup", &[Step::Exit(0)]),
            ..Self::new(stand)
        }
    }

    fn node(&self, call: Call) -> &NodeSpec {
        match call {
            Call::Replace | Call::Stop | Call::DropKept | Call::MakeAgain => &self.second,
            _ => &self.first,
        }
    }

    /// What is written down before a call.
    async fn prepare(&mut self, call: Call) -> Kept {
        if call == Call::Restart {
            self.before = Some(self.stand.life(&self.key, &self.first).await?);
        }
        Ok(())
    }

    async fn call(&self, agent: &dyn Agent, call: Call) -> Result<()> {
        let (key, node, image) = (&self.key, self.node(call), &self.stand.image);
        match call {
            Call::Image => agent.ensure_image(&self.stand.ground.images()).await.map(drop),
            Call::Network => agent.ensure_network(key, &self.network).await,
            Call::MakeOff | Call::Stop => agent.ensure_node(key, node, image, &Power::Off).await,
            Call::Start | Call::Replace | Call::MakeAgain | Call::MakeAfresh => {
                agent.ensure_node(key, node, image, &RUN).await
            }
            Call::Restart => {
                agent
                    .ensure_node(
                        key,
                        node,
                        image,
                        &Power::On {
                            after: self.before.clone(),
                        },
                    )
                    .await
            }
            Call::Logs => agent
                .logs(key, &node.name, LogQuery::default())
                .await?
                .try_collect::<Vec<_>>()
                .await
                .map(drop),
            Call::DropKept => agent.drop_node(key, &node.name, Volumes::Keep).await,
            Call::DropPurged => agent.drop_node(key, &node.name, Volumes::Purge).await,
            Call::Job | Call::JobAgain => agent.ensure_job(key, &self.job, image).await,
            Call::DropCluster => agent.drop_cluster(key.cluster, key.generation).await,
        }
    }

    /// What must hold after a call. `lives`: also that the node was started exactly as often as asked.
    async fn holds(&self, call: Call, lives: bool) -> Kept {
        let (stand, key, node) = (self.stand, &self.key, self.node(call));
        let kept = match call {
            Call::Image => Ok(()),
            Call::Network | Call::DropPurged => self.counts(0, 0, 0).await,
            Call::MakeOff | Call::Stop => {
                stand.resting(key, node).await?;
                self.counts(1, 0, 1).await
            }
            Call::Start | Call::Logs | Call::MakeAfresh => self.runs(call, "fresh", lives.then_some(1)).await,
            Call::Restart => {
                stand
                    .another_life(
                        key,
                        node,
                        self.before.as_ref().expect("it was written down before"),
                    )
                    .await?;
                self.runs(call, "left", lives.then_some(2)).await
            }
            Call::Replace => self.runs(call, "left", lives.then_some(3)).await,
            Call::DropKept => self.counts(0, 0, 1).await,
            Call::MakeAgain => self.runs(call, "left", lives.then_some(4)).await,
            Call::Job | Call::JobAgain => {
                jobs::seen(stand, key, &self.job, &NodeState::Exited(0)).await?;
                self.counts(1, 1, 2).await
            }
            Call::DropCluster => {
                let left = stand.objects(Scope::Cluster(key.cluster)).await?;
                promised!(left.is_empty(), "{left:?} is left");
                Ok(())
            }
        };
        kept.map_err(|stop| match stop {
            Stop::Failed(why) => Stop::Failed(format!("after {call:?}: {why}")),
            other => other,
        })
    }

    /// It runs as it shall be, with its state as it was, and the wanted number of lives.
    async fn runs(&self, call: Call, state: &str, lives: Option<u32>) -> Kept {
        let (stand, key, node) = (self.stand, &self.key, self.node(call));
        stand.running(key, node).await?;
        self.counts(1, 0, 1).await?;
        let says = if *node == self.second { "second" } else { "first" };
        let wanted = lives.map_or_else(|| "life ".to_owned(), |lives| format!("life {lives}\n"));
        let said = stand.says(key, node, &wanted).await?;
        promised!(said.contains(says), "{says:?} is not in {said}");
        let shown = values(&said, "show /data/state");
        // Without an exact count it may have been started more than once, and have left its own state already.
        let right = shown.iter().all(|shown| matches!(*shown, "fresh" | "left"))
            && (lives.is_none() || shown.last() == Some(&state));
        promised!(right, "its state was {shown:?}, not {state}");
        if let Some(lives) = lives {
            promised!(
                !said.contains(&format!("life {}\n", lives + 1)),
                "it was started too often: {said}"
            );
        }
        Ok(())
    }

    /// Counts what there is of the node's objects beside the network.
    async fn counts(&self, nodes: usize, jobs: usize, volumes: usize) -> Kept {
        let objects = self.stand.objects(Scope::Cluster(self.key.cluster)).await?;
        let of = |kind| {
            objects
                .iter()
                .filter(|o| o.kind == kind && o.state != Some(NodeState::Absent))
                .count()
        };
        let found = (
            of(ObjectKind::Network),
            of(ObjectKind::Node),
            of(ObjectKind::Job),
            of(ObjectKind::Volume),
        );
        let wanted = (1, nodes, jobs, volumes);
        promised!(
            found == wanted,
            "networks, nodes, jobs and volumes are {found:?}, not {wanted:?}"
        );
        Ok(())
    }
}

async fn twice(stand: &Stand<'_>) -> Kept {
    let mut journey = Journey::new(stand);
    for call in LIFE {
        journey.prepare(call).await?;
        for _ in 0..2 {
            journey.call(&*stand.agent, call).await?;
            journey.holds(call, true).await?;
        }
    }
    Ok(())
}

async fn cut_off(stand: &Stand<'_>) -> Kept {
    let mut random = StdRng::seed_from_u64(stand.seed);
    // How long each call takes here, so that the cuts lie within.
    let mut took = Vec::new();
    let mut journey = Journey::with_patient_job(stand);
    for call in LIFE {
        journey.prepare(call).await?;
        let start = Instant::now();
        journey.call(&*stand.agent, call).await?;
        took.push(start.elapsed());
        journey.holds(call, true).await?;
    }
    for _ in 0..3 {
        let mut journey = Journey::with_patient_job(stand);
        for (call, took) in LIFE.into_iter().zip(&took) {
            journey.prepare(call).await?;
            let longest = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1000);
            for _ in 0..random.random_range(1..=2) {
                let cut = Duration::from_micros(random.random_range(0..=longest));
                if let Ok(done) = timeout(cut, journey.call(&*stand.agent, call)).await {
                    transient_at_most(done)?;
                }
            }
            stand
                .insist(&format!("{call:?}"), async || {
                    journey.call(&*stand.agent, call).await
                })
                .await?;
            // What was cut off may still land at the platform beside its repetition: only the state is sure.
            journey.holds(call, false).await?;
        }
    }
    Ok(())
}

/// A call that was not cut off in time may have found what one that was cut off left going on.
pub(super) fn transient_at_most(done: Result<()>) -> Kept {
    match done {
        Err(error) if !error.is_transient() => Err(error.into()),
        _ => Ok(()),
    }
}

async fn lost(stand: &Stand<'_>) -> Kept {
    let lossy = Lossy::new(Arc::clone(&stand.agent));
    let mut journey = Journey::new(stand);
    for call in LIFE {
        journey.prepare(call).await?;
        for _ in 0..2 {
            lossy.lose();
            let answer = journey.call(&lossy, call).await;
            promised!(
                answer.as_ref().is_err_and(crate::Error::is_transient),
                "{call:?} said {answer:?}"
            );
        }
        journey.call(&lossy, call).await?;
        journey.holds(call, true).await?;
    }
    Ok(())
}

async fn restarted(stand: &Stand<'_>) -> Kept {
    let mut journey = Journey::new(stand);
    for call in LIFE {
        if !stand.ground.restart().await? {
            return Err(Stop::Skipped(
                "this platform cannot be restarted by a test".into(),
            ));
        }
        journey.prepare(call).await?;
        stand
            .insist(&format!("{call:?}"), async || {
                journey.call(&*stand.agent, call).await
            })
            .await?;
        journey.holds(call, false).await?;
    }
    Ok(())
}
