//! Every verb may be called twice, cut off anywhere, lose its response, or find the platform restarted.
//!
//! The lifecycle of a node, from image to removal, and of a job beside it, is a list of calls. Each promise
//! walks the list and disturbs each call in its own way; after each call the same must hold.

use super::{
    Lossy,
    fixture::{Fixture, RUN, hashed, transient_at_most, values},
    jobs,
    outcome::{Stop, TestResult, check},
    program::Step,
    promise::{Promise, promise},
};
use crate::{
    Agent, ClusterKey, File, ImageRequest, Incarnation, LogQuery, NetworkSpec, NodeSpec, NodeState,
    ObjectKind, Power, Result, Scope, Secret, Volumes,
};
use futures::TryStreamExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "every-verb-twice",
        twice,
        "every verb called twice has the effect of one call"
    ),
    promise!(
        "every-verb-cut-off",
        cut_off,
        "every verb cut off at a random point and repeated has the effect of one call"
    ),
    promise!(
        "every-answer-lost",
        lost,
        "every verb repeated after a lost response has the effect of one call"
    ),
    Promise {
        name: "platform-restarted",
        description: "the platform may be restarted between any two calls",
        restarts: true,
        test: |fixture| Box::pin(restarted(fixture)),
    },
];

/// One call in a node's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Image,
    Network,
    CreateOff,
    Start,
    Logs,
    Restart,
    Replace,
    Stop,
    DropKept,
    Recreate,
    DropPurged,
    CreateFresh,
    Job,
    JobAgain,
    DropCluster,
}

const LIFECYCLE: [Call; 15] = [
    Call::Image,
    Call::Network,
    Call::CreateOff,
    Call::Start,
    Call::Logs,
    Call::Restart,
    Call::Replace,
    Call::Stop,
    Call::DropKept,
    Call::Recreate,
    Call::DropPurged,
    Call::CreateFresh,
    Call::Job,
    Call::JobAgain,
    Call::DropCluster,
];

/// One walk through the lifecycle.
struct Lifecycle<'s> {
    fixture: &'s Fixture<'s>,
    key: ClusterKey,
    network: NetworkSpec,
    /// The node before and after its replacement.
    first: NodeSpec,
    second: NodeSpec,
    job: NodeSpec,
    /// The incarnation that a restart ends, recorded before the call as the executor does.
    previous: Option<Incarnation>,
}

impl<'s> Lifecycle<'s> {
    fn new(fixture: &'s Fixture<'s>) -> Self {
        let node = |mark: &str| {
            let mut node = fixture.node(
                "v0",
                &[
                    Step::Say(mark.into()),
                    Step::Show("/data/state".into()),
                    Step::Write("/data/state".into(), "left".into()),
                    Step::Count("/data/starts".into()),
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
        // It succeeds only once: a second run finds its own mark.
        let state = "/data/state".to_owned();
        let steps = [
            Step::Expect(state.clone(), "fresh".into()),
            Step::Write(state, "left".into()),
            Step::Exit(0),
        ];
        let job = hashed(NodeSpec {
            files: first.files.clone(),
            ..fixture.node("setup", &steps)
        });
        Self {
            fixture,
            key: fixture.key(),
            network: fixture.platform.network(),
            first,
            second,
            job,
            previous: None,
        }
    }

    /// The same with a job that may run more than once: a call that is cut off may or may not have started
    /// it.
    fn with_repeatable_job(fixture: &'s Fixture<'s>) -> Self {
        Self {
            job: fixture.node("setup", &[Step::Exit(0)]),
            ..Self::new(fixture)
        }
    }

    fn node(&self, call: Call) -> &NodeSpec {
        match call {
            Call::Replace | Call::Stop | Call::DropKept | Call::Recreate => &self.second,
            _ => &self.first,
        }
    }

    /// Records what a call needs.
    async fn prepare(&mut self, call: Call) -> TestResult {
        if call == Call::Restart {
            self.previous = Some(self.fixture.incarnation(&self.key, &self.first).await?);
        }
        Ok(())
    }

    async fn call(&self, agent: &dyn Agent, call: Call) -> Result<()> {
        let (key, node, image) = (&self.key, self.node(call), &self.fixture.image);
        match call {
            Call::Image => agent
                .ensure_image(&ImageRequest::of(&self.fixture.platform.images()))
                .await
                .map(drop),
            Call::Network => agent.ensure_network(key, &self.network).await,
            Call::CreateOff | Call::Stop => agent.ensure_node(key, node, image, &Power::Off).await,
            Call::Start | Call::Replace | Call::Recreate | Call::CreateFresh => {
                agent.ensure_node(key, node, image, &RUN).await
            }
            Call::Restart => {
                agent
                    .ensure_node(
                        key,
                        node,
                        image,
                        &Power::On {
                            after: self.previous.clone(),
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

    /// Checks the state after a call. `exact`: also that the node was started exactly as often as requested.
    async fn verify(&self, call: Call, exact: bool) -> TestResult {
        let (fixture, key, node) = (self.fixture, &self.key, self.node(call));
        let kept = match call {
            Call::Image => Ok(()),
            Call::Network | Call::DropPurged => self.check_counts(0, 0, 0).await,
            Call::CreateOff | Call::Stop => {
                fixture.wait_until_stopped(key, node).await?;
                self.check_counts(1, 0, 1).await
            }
            Call::Start | Call::Logs | Call::CreateFresh => {
                self.check_running(call, "fresh", exact.then_some(1)).await
            }
            Call::Restart => {
                fixture
                    .next_incarnation(
                        key,
                        node,
                        self.previous.as_ref().expect("recorded before the call"),
                    )
                    .await?;
                self.check_running(call, "left", exact.then_some(2)).await
            }
            Call::Replace => self.check_running(call, "left", exact.then_some(3)).await,
            Call::DropKept => self.check_counts(0, 0, 1).await,
            Call::Recreate => self.check_running(call, "left", exact.then_some(4)).await,
            Call::Job | Call::JobAgain => {
                jobs::wait_for_job_state(fixture, key, &self.job, &NodeState::Exited(0)).await?;
                self.check_counts(1, 1, 2).await
            }
            Call::DropCluster => {
                let left = fixture.objects(Scope::Cluster(key.cluster)).await?;
                check!(left.is_empty(), "{left:?} is left");
                Ok(())
            }
        };
        kept.map_err(|stop| match stop {
            Stop::Failed(why) => Stop::Failed(format!("after {call:?}: {why}")),
            other => other,
        })
    }

    /// Checks that the node runs as specified, with its state, and was started this number of times.
    async fn check_running(&self, call: Call, state: &str, starts: Option<u32>) -> TestResult {
        let (fixture, key, node) = (self.fixture, &self.key, self.node(call));
        fixture.wait_until_running(key, node).await?;
        self.check_counts(1, 0, 1).await?;
        let mark = if *node == self.second { "second" } else { "first" };
        let wanted = starts.map_or_else(|| "life ".to_owned(), |starts| format!("life {starts}\n"));
        let output = fixture.wait_for_output(key, node, &wanted).await?;
        check!(output.contains(mark), "{mark:?} is not in {output}");
        let shown = values(&output, "show /data/state");
        // Without an exact count it may have restarted, and have left its own state already.
        let right = shown.iter().all(|shown| matches!(*shown, "fresh" | "left"))
            && (starts.is_none() || shown.last() == Some(&state));
        check!(right, "its state was {shown:?}, not {state}");
        if let Some(starts) = starts {
            check!(
                !output.contains(&format!("life {}\n", starts + 1)),
                "it was started too often: {output}"
            );
        }
        Ok(())
    }

    /// Checks the number of the node's objects beside the network.
    async fn check_counts(&self, nodes: usize, jobs: usize, volumes: usize) -> TestResult {
        let objects = self.fixture.objects(Scope::Cluster(self.key.cluster)).await?;
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
        check!(
            found == wanted,
            "networks, nodes, jobs and volumes are {found:?}, not {wanted:?}"
        );
        Ok(())
    }
}

async fn twice(fixture: &Fixture<'_>) -> TestResult {
    let mut lifecycle = Lifecycle::new(fixture);
    for call in LIFECYCLE {
        lifecycle.prepare(call).await?;
        for _ in 0..2 {
            lifecycle.call(&*fixture.agent, call).await?;
            lifecycle.verify(call, true).await?;
        }
    }
    Ok(())
}

async fn cut_off(fixture: &Fixture<'_>) -> TestResult {
    let mut random = StdRng::seed_from_u64(fixture.seed);
    // The duration of each call here, so that the cuts fall within it.
    let mut took = Vec::new();
    let mut lifecycle = Lifecycle::with_repeatable_job(fixture);
    for call in LIFECYCLE {
        lifecycle.prepare(call).await?;
        let start = Instant::now();
        lifecycle.call(&*fixture.agent, call).await?;
        took.push(start.elapsed());
        lifecycle.verify(call, true).await?;
    }
    for _ in 0..3 {
        let mut lifecycle = Lifecycle::with_repeatable_job(fixture);
        for (call, took) in LIFECYCLE.into_iter().zip(&took) {
            lifecycle.prepare(call).await?;
            let longest = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1000);
            for _ in 0..random.random_range(1..=2) {
                let cut = Duration::from_micros(random.random_range(0..=longest));
                if let Ok(done) = timeout(cut, lifecycle.call(&*fixture.agent, call)).await {
                    transient_at_most(done)?;
                }
            }
            fixture
                .retry(&format!("{call:?}"), async || {
                    lifecycle.call(&*fixture.agent, call).await
                })
                .await?;
            // A call that was cut off may still arrive beside its repetition: only the state is certain.
            lifecycle.verify(call, false).await?;
        }
    }
    Ok(())
}

async fn lost(fixture: &Fixture<'_>) -> TestResult {
    let lossy = Lossy::new(Arc::clone(&fixture.agent));
    let mut lifecycle = Lifecycle::new(fixture);
    for call in LIFECYCLE {
        lifecycle.prepare(call).await?;
        for _ in 0..2 {
            lossy.lose();
            let response = lifecycle.call(&lossy, call).await;
            check!(
                response.as_ref().is_err_and(crate::Error::is_transient),
                "{call:?} returned {response:?}"
            );
        }
        lifecycle.call(&lossy, call).await?;
        lifecycle.verify(call, true).await?;
    }
    Ok(())
}

async fn restarted(fixture: &Fixture<'_>) -> TestResult {
    let mut lifecycle = Lifecycle::new(fixture);
    for call in LIFECYCLE {
        if !fixture.platform.restart().await? {
            return Err(Stop::Skipped(
                "this platform cannot be restarted by a test".into(),
            ));
        }
        lifecycle.prepare(call).await?;
        fixture
            .retry(&format!("{call:?}"), async || {
                lifecycle.call(&*fixture.agent, call).await
            })
            .await?;
        lifecycle.verify(call, false).await?;
    }
    Ok(())
}
