//! The kit can fail: each of these agents breaks one rule, and fails the promises that say so, and no others.

mod ground;

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Error, Generation, ImageRef, Incarnation, LogLine, LogQuery, LogStream,
    NetworkSpec, NodeName, NodeSpec, NodeState, ObjectKind, Observation, Port, Power, Probe, Result, Scope, Volumes, Wake, WakeStream, kit,
};
use chainpool_agent_example::MemoryAgent;
use futures::{StreamExt, TryStreamExt, future};
use ground::MemoryGround;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Names only the first candidate.
    Names,
    /// Gives all lines, whatever tail was asked for.
    Tail,
    /// Takes both outputs for one.
    Streams,
    /// Never tells that a process ended.
    Deaf,
    /// Calls an unpublished port refused.
    Unpublished,
    /// Drops later generations too.
    Generation,
    /// Restarts each time it is asked.
    Restarts,
    /// Runs a job again that has ended well.
    JobsAgain,
    /// Does not say what a job said.
    JobsMute,
    /// Writes once files each time.
    Once,
    /// Keeps volumes that it should purge.
    Keeps,
    /// Says that it has machines.
    Machines,
    /// Says that it takes no subnets, and takes them.
    Subnets,
}

struct Wrong {
    inner: MemoryAgent,
    fault: Fault,
}

impl Wrong {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

#[async_trait]
impl Agent for Wrong {
    fn capabilities(&self) -> Capabilities {
        let right = self.inner.capabilities();
        Capabilities { machines: self.is(Fault::Machines), subnets: !self.is(Fault::Subnets), ..right }
    }

    async fn probe(&self) -> Result<Probe> {
        self.inner.probe().await
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        self.inner.observe(scope).await
    }

    fn watch(&self) -> WakeStream {
        let deaf = self.is(Fault::Deaf);
        self.inner.watch().filter(move |wake| future::ready(!(deaf && matches!(wake, Wake::Died { .. })))).boxed()
    }

    async fn ensure_image(&self, candidates: &[String]) -> Result<ImageRef> {
        let found = self.inner.ensure_image(candidates).await;
        if self.is(Fault::Names) { found.map_err(|_| Error::Refused(format!("no image {:?}", candidates.first()))) } else { found }
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        self.inner.ensure_network(key, network).await
    }

    async fn ensure_node(&self, key: &ClusterKey, node: &NodeSpec, image: &ImageRef, power: &Power) -> Result<()> {
        let mut node = node.clone();
        if self.is(Fault::Once) {
            node.files.iter_mut().for_each(|file| file.once = false);
        }
        if self.is(Fault::Restarts) && matches!(power, Power::On { after: Some(_) }) {
            self.inner.ensure_node(key, &node, image, &Power::Off).await?;
        }
        self.inner.ensure_node(key, &node, image, power).await
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        let seen = self.inner.observe(Scope::Cluster(key.cluster)).await?.objects;
        let ended = seen.iter().any(|object| object.kind == ObjectKind::Job && object.state == Some(NodeState::Exited(0)));
        if self.is(Fault::JobsAgain) && ended {
            self.inner.drop_node(key, &job.name, Volumes::Keep).await?;
        }
        match self.inner.ensure_job(key, job, image).await {
            Err(Error::Refused(_)) if self.is(Fault::JobsMute) => Err(Error::Refused("it ended with 77".into())),
            done => done,
        }
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        self.inner.incarnation(key, node).await
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        self.inner.drop_node(key, node, if self.is(Fault::Keeps) { Volumes::Keep } else { volumes }).await
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        self.inner.drop_cluster(cluster, if self.is(Fault::Generation) { Generation::MAX } else { through }).await
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, mut query: LogQuery) -> Result<LogStream> {
        if self.is(Fault::Tail) && !query.follow {
            query.tail = None;
        }
        let (log, one) = (self.inner.logs(key, node, query).await?, self.is(Fault::Streams));
        Ok(log.map_ok(move |line| LogLine { stderr: line.stderr && !one, ..line }).boxed())
    }

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        if self.is(Fault::Unpublished) && port.published.is_none() {
            return Err(Error::Refused("it is not published".into()));
        }
        self.inner.dial(key, node, port).await
    }
}

macro_rules! wrong {
    ($($test:ident: $fault:ident fails $promises:expr;)*) => {
        $(#[tokio::test]
        async fn $test() {
            let ground = MemoryGround::new(|inner| Arc::new(Wrong { inner, fault: Fault::$fault }));
            let report = kit::run(&ground, &kit::promises()).await;
            let broken: &[&str] = &$promises;
            assert_eq!(report.failed(), broken, "{report}");
        })*
    };
}

wrong! {
    an_error_that_names_one_candidate_is_found_out: Names fails ["image-absent"];
    a_tail_that_is_all_is_found_out: Tail fails ["log-tail"];
    mixed_streams_are_found_out: Streams fails ["log-streams"];
    a_silent_death_is_found_out: Deaf fails ["watch-died"];
    a_wrong_error_of_dial_is_found_out: Unpublished fails ["port-unpublished"];
    a_later_generation_that_goes_is_found_out: Generation fails ["drop-generation"];
    a_second_restart_is_found_out: Restarts fails ["restart-once", "every-verb-twice", "every-answer-lost"];
    a_job_that_runs_again_is_found_out: JobsAgain fails
        ["job", "job-cut-off", "every-verb-twice", "every-answer-lost", "platform-restarted"];
    a_job_without_last_words_is_found_out: JobsMute fails ["job", "job-waited-for", "job-failed", "job-replaced", "job-cut-off"];
    a_once_file_written_again_is_found_out: Once fails ["file-once", "every-verb-twice", "every-verb-cut-off", "every-answer-lost"];
    a_volume_that_stays_is_found_out: Keeps fails
        ["volumes-purged", "job", "every-verb-twice", "every-verb-cut-off", "every-answer-lost", "platform-restarted"];
    machines_that_are_not_there_are_found_out: Machines fails ["capability-machines"];
    subnets_that_are_denied_are_found_out: Subnets fails ["subnet", "subnet-occupied"];
}
