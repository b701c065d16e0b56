//! The kit detects faults: each of these agents breaks one rule, and fails exactly the promises about that
//! rule.

mod test_platform;

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Error, Generation, ImageRef, ImageRequest,
    Incarnation, LogLine, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, NodeState, ObjectKind,
    Observation, Port, Power, Probe, Result, Scope, Volumes, Wake, WakeStream, kit,
};
use chainpool_agent_example::MemoryAgent;
use futures::{StreamExt, TryStreamExt, future};
use std::sync::Arc;
use test_platform::MemoryTestPlatform;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Names only the first candidate.
    Names,
    /// Ignores the tail of a log query.
    Tail,
    /// Merges both output streams.
    Streams,
    /// Reports no exit of a process.
    NoExits,
    /// Returns Refused for an unpublished port.
    Unpublished,
    /// Drops later generations too.
    Generation,
    /// Repeats a restart on each call.
    Restarts,
    /// Runs a completed job again.
    JobsAgain,
    /// Omits a job's output from its error.
    JobsWithoutOutput,
    /// Writes once files each time.
    Once,
    /// Keeps volumes that it should purge.
    Keeps,
    /// Claims to have machines.
    Machines,
    /// Claims to take no subnets.
    Subnets,
    /// Reports an unready node as running.
    Ready,
    /// Gives each node its own volume instead of a shared one.
    Unshared,
    /// Ignores the limit of processor time.
    Unlimited,
    /// Loses the log of a completed job.
    LostResults,
}

struct FaultyAgent {
    inner: MemoryAgent,
    fault: Fault,
}

impl FaultyAgent {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

#[async_trait]
impl Agent for FaultyAgent {
    fn capabilities(&self) -> Capabilities {
        let right = self.inner.capabilities();
        Capabilities {
            machines: self.is(Fault::Machines),
            subnets: !self.is(Fault::Subnets),
            ..right
        }
    }

    async fn probe(&self) -> Result<Probe> {
        self.inner.probe().await
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        let mut seen = self.inner.observe(scope).await?;
        if self.is(Fault::Ready) {
            let states = seen.objects.iter_mut().filter_map(|object| object.state.as_mut());
            states
                .filter(|state| **state == NodeState::Unready)
                .for_each(|state| *state = NodeState::Running);
        }
        Ok(seen)
    }

    fn watch(&self) -> WakeStream {
        let no_exits = self.is(Fault::NoExits);
        self.inner
            .watch()
            .filter(move |wake| future::ready(!(no_exits && matches!(wake, Wake::Died { .. }))))
            .boxed()
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        let found = self.inner.ensure_image(request).await;
        if self.is(Fault::Names) {
            found.map_err(|_| Error::Refused(format!("no image {:?}", request.candidates.first())))
        } else {
            found
        }
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        self.inner.ensure_network(key, network).await
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        let mut node = node.clone();
        if self.is(Fault::Once) {
            node.files.iter_mut().for_each(|file| file.once = false);
        }
        if self.is(Fault::Unshared) {
            node.volumes.iter_mut().for_each(|volume| volume.shared = false);
        }
        if self.is(Fault::Unlimited) {
            node.limits.cpu_millis = None;
        }
        if self.is(Fault::Restarts) && matches!(power, Power::On { after: Some(_) }) {
            self.inner.ensure_node(key, &node, image, &Power::Off).await?;
        }
        self.inner.ensure_node(key, &node, image, power).await
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let seen = self.inner.observe(Scope::Cluster(key.cluster)).await?.objects;
        let ended = seen
            .iter()
            .any(|object| object.kind == ObjectKind::Job && object.state == Some(NodeState::Exited(0)));
        if self.is(Fault::JobsAgain) && ended {
            self.inner.drop_node(key, &job.name, Volumes::Keep).await?;
        }
        match self.inner.ensure_job(key, job, image).await {
            Err(Error::Refused(_)) if self.is(Fault::JobsWithoutOutput) => {
                Err(Error::Refused("it exited with 77".into()))
            }
            done => done,
        }
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        self.inner.incarnation(key, node).await
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        self.inner
            .drop_node(
                key,
                node,
                if self.is(Fault::Keeps) {
                    Volumes::Keep
                } else {
                    volumes
                },
            )
            .await
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        self.inner
            .drop_cluster(
                cluster,
                if self.is(Fault::Generation) {
                    Generation::MAX
                } else {
                    through
                },
            )
            .await
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, mut query: LogQuery) -> Result<LogStream> {
        if self.is(Fault::Tail) && !query.follow {
            query.tail = None;
        }
        if self.is(Fault::LostResults) {
            let seen = self.inner.observe(Scope::Cluster(key.cluster)).await?.objects;
            let is_it = |object: &chainpool_agent::Object| {
                object.node.as_ref() == Some(node) && object.state == Some(NodeState::Exited(0))
            };
            if seen
                .iter()
                .any(|object| object.kind == ObjectKind::Job && is_it(object))
            {
                return Err(Error::Refused("its log is gone".into()));
            }
        }
        let (log, one) = (self.inner.logs(key, node, query).await?, self.is(Fault::Streams));
        Ok(log
            .map_ok(move |line| LogLine {
                stderr: line.stderr && !one,
                ..line
            })
            .boxed())
    }

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        if self.is(Fault::Unpublished) && port.published.is_none() {
            return Err(Error::Refused("it is not published".into()));
        }
        self.inner.dial(key, node, port).await
    }
}

macro_rules! faulty {
    ($($test:ident: $fault:ident fails $promises:expr;)*) => {
        $(#[tokio::test]
        async fn $test() {
            let platform = MemoryTestPlatform::new(|inner| Arc::new(FaultyAgent { inner, fault: Fault::$fault }));
            let report = kit::run(&platform, &kit::promises()).await;
            let broken: &[&str] = &$promises;
            assert_eq!(report.failed(), broken, "{report}");
        })*
    };
}

faulty! {
    an_error_with_one_candidate_only_is_detected: Names fails ["image-absent"];
    an_ignored_tail_is_detected: Tail fails ["log-tail"];
    mixed_streams_are_detected: Streams fails ["log-streams"];
    an_unreported_exit_is_detected: NoExits fails ["watch-died"];
    a_wrong_error_of_dial_is_detected: Unpublished fails ["port-unpublished"];
    a_dropped_later_generation_is_detected: Generation fails ["drop-generation"];
    a_second_restart_is_detected: Restarts fails ["restart-once", "every-verb-twice", "every-answer-lost"];
    a_job_that_runs_again_is_detected: JobsAgain fails
        ["job", "job-cut-off", "job-result", "every-verb-twice", "every-answer-lost", "platform-restarted"];
    a_job_without_output_is_detected: JobsWithoutOutput fails
        ["job", "job-waited-for", "job-failed", "job-replaced", "job-cut-off", "job-result"];
    a_rewritten_once_file_is_detected: Once fails ["file-once", "every-verb-twice", "every-verb-cut-off", "every-answer-lost"];
    a_kept_volume_is_detected: Keeps fails
        ["volumes-purged", "volume-shared", "job", "every-verb-twice", "every-verb-cut-off", "every-answer-lost", "platform-restarted"];
    claimed_machines_are_detected: Machines fails ["capability-machines"];
    denied_subnets_are_detected: Subnets fails ["subnet", "subnet-occupied"];
    an_unready_node_that_is_reported_as_running_is_detected: Ready fails ["readiness", "readiness-lost", "readiness-watched"];
    a_shared_volume_of_each_node_is_detected: Unshared fails ["volume-shared"];
    an_ignored_limit_of_processor_time_is_detected: Unlimited fails ["processor-limit"];
    a_lost_result_is_detected: LostResults fails ["job-result"];
}
