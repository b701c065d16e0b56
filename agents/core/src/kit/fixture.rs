//! The fixture of one promise's test: an instance of its own, and a leak check at the end.

use super::{
    Foreign, TestPlatform,
    outcome::{Stop, TestResult, check},
    program::{self, Step},
};
use crate::{
    Agent, Audience, Boot, ClusterId, ClusterKey, ClusterSpec, Error, ImageRef, ImageRequest, Incarnation,
    InstanceId, Limits, LogConfig, LogQuery, NetworkSpec, NodeName, NodeSpec, NodeState, Object, ObjectKind,
    Observation, Port, Power, Protocol, Result, Scope, SpecHash, Volume,
};
use futures::TryStreamExt;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Pause between two checks of an awaited condition.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
pub(super) const RUN: Power = Power::On { after: None };

pub(super) struct Fixture<'g> {
    pub(super) platform: &'g dyn TestPlatform,
    pub(super) instance: InstanceId,
    pub(super) agent: Arc<dyn Agent>,
    pub(super) image: ImageRef,
    pub(super) machines: Vec<String>,
    pub(super) seed: u64,
    /// Clusters created so far, with their instance.
    clusters: Mutex<Vec<(InstanceId, ClusterId)>>,
    /// Foreign objects that must be untouched at the end, with their state.
    foreign: Mutex<Vec<(Foreign, String)>>,
}

impl<'g> Fixture<'g> {
    pub(super) async fn open(platform: &'g dyn TestPlatform, seed: u64) -> TestResult<Self> {
        let instance = InstanceId::new();
        let agent = platform.connect(instance)?;
        let image = agent.ensure_image(&ImageRequest::of(&platform.images())).await?;
        let machines = platform.machines(&*agent).await?;
        Ok(Self {
            platform,
            instance,
            agent,
            image,
            machines,
            seed,
            clusters: Mutex::default(),
            foreign: Mutex::default(),
        })
    }

    /// Drops all that was created, as its owner would, and checks for leaks.
    pub(super) async fn close(self) -> TestResult {
        let clusters = std::mem::take(&mut *self.clusters.lock().unwrap_or_else(PoisonError::into_inner));
        let foreign = std::mem::take(&mut *self.foreign.lock().unwrap_or_else(PoisonError::into_inner));
        // Ours goes first. What a foreign object holds back goes after that object.
        let mut refused = Vec::new();
        for (instance, cluster) in &clusters {
            if let Err(error) = self.drop_cluster(*instance, *cluster).await {
                refused.push(error);
            }
        }
        let mut touched = Vec::new();
        for (thing, before) in &foreign {
            match self.platform.foreign_state(thing).await {
                Ok(now) if now == *before => {}
                Ok(now) => touched.push(format!("{thing:?} was touched: {before} became {now}")),
                Err(error) => touched.push(format!("{thing:?} is gone: {error}")),
            }
            self.platform.foreign_remove(thing).await?;
        }
        for (instance, cluster) in &clusters {
            self.drop_cluster(*instance, *cluster).await?;
        }
        check!(touched.is_empty(), "{}", touched.join("; "));
        check!(
            !foreign.is_empty() || refused.is_empty(),
            "a cluster could not be dropped at the first attempt: {refused:?}"
        );
        for instance in clusters
            .iter()
            .map(|(instance, _)| *instance)
            .chain([self.instance])
        {
            let seen = self.platform.connect(instance)?.observe(Scope::Host).await?;
            check!(seen.objects.is_empty(), "left behind: {:?}", names(&seen));
            let left = self.platform.leftovers(instance).await?;
            check!(left.is_empty(), "left behind and not observed: {left:?}");
        }
        Ok(())
    }

    async fn drop_cluster(&self, instance: InstanceId, cluster: ClusterId) -> TestResult {
        let agent = self.platform.connect(instance)?;
        self.retry("drop_cluster", async || {
            agent.drop_cluster(cluster, u32::MAX).await
        })
        .await
    }

    /// The key of a new cluster, which is dropped at the end.
    pub(super) fn key(&self) -> ClusterKey {
        self.key_of(self.instance)
    }

    /// The same for another instance.
    pub(super) fn key_of(&self, instance: InstanceId) -> ClusterKey {
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: 1,
        };
        self.clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((instance, key.cluster));
        key
    }

    /// Records the state of a foreign object, to compare at the end.
    pub(super) async fn guard_foreign(&self, foreign: Foreign) -> TestResult {
        let now = self.platform.foreign_state(&foreign).await;
        self.foreign
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((foreign, now.as_ref().cloned().unwrap_or_default()));
        now?;
        Ok(())
    }

    /// A node that does these steps, with a volume `data` at `/data`, on the platform's first machine.
    pub(super) fn node(&self, name: &str, steps: &[Step]) -> NodeSpec {
        hashed(NodeSpec {
            name: NodeName::parse(name).expect("the kit's names are node names"),
            images: self.platform.images(),
            command: program::command(steps),
            user: Some("1000:1001".into()),
            env: BTreeMap::new(),
            files: vec![],
            volumes: vec![Volume {
                name: "data".into(),
                path: "/data".into(),
                shared: false,
            }],
            ports: steps.iter().filter_map(echo_port).collect(),
            limits: Limits {
                memory_bytes: 32 << 20,
                processes: 64,
                cpu_millis: None,
            },
            readiness: None,
            result: false,
            read_only_root: false,
            machine: self.machines.first().cloned(),
            log: LogConfig::default(),
            stop_signal: "SIGTERM".into(),
            stop_timeout: 1,
            hash: SpecHash(String::new()),
        })
    }

    pub(super) async fn ensure(&self, key: &ClusterKey, node: &NodeSpec, power: &Power) -> Result<()> {
        self.agent.ensure_node(key, node, &self.image, power).await
    }

    /// Creates the cluster's network.
    pub(super) async fn network(&self, key: &ClusterKey) -> TestResult {
        Ok(self.agent.ensure_network(key, &self.platform.network()).await?)
    }

    /// Creates a node on an existing network and waits until it runs.
    pub(super) async fn start(&self, key: &ClusterKey, node: &NodeSpec) -> TestResult {
        self.ensure(key, node, &RUN).await?;
        self.wait_until_running(key, node).await
    }

    /// Creates a network and a node and waits until it runs.
    pub(super) async fn start_cluster(&self, node: &NodeSpec) -> TestResult<ClusterKey> {
        let key = self.key();
        self.network(&key).await?;
        self.start(&key, node).await?;
        Ok(key)
    }

    pub(super) async fn wait_until_running(&self, key: &ClusterKey, node: &NodeSpec) -> TestResult {
        self.state(key, node, "runs", |state| *state == NodeState::Running)
            .await
    }

    pub(super) async fn wait_until_stopped(&self, key: &ClusterKey, node: &NodeSpec) -> TestResult {
        self.state(key, node, "is stopped", |state| {
            matches!(state, NodeState::Created | NodeState::Exited(_))
        })
        .await?;
        let incarnation = self.agent.incarnation(key, &node.name).await?;
        check!(
            incarnation.is_none(),
            "a stopped node has an incarnation: {incarnation:?}"
        );
        Ok(())
    }

    pub(super) async fn state(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        what: &str,
        wanted: fn(&NodeState) -> bool,
    ) -> TestResult {
        let poll = async || {
            let state = self.node_state(key, node).await?;
            Ok(wanted(&state).then_some(()).ok_or(format!("it is {state:?}")))
        };
        self.wait_until(&format!("node {} {what}", node.name), poll).await
    }

    /// The observed state of a node.
    pub(super) async fn node_state(&self, key: &ClusterKey, node: &NodeSpec) -> Result<NodeState> {
        let seen = self.agent.observe(Scope::Cluster(key.cluster)).await?;
        Ok(seen.node_state(key.generation, &node.name))
    }

    /// The incarnation of a running node.
    pub(super) async fn incarnation(&self, key: &ClusterKey, node: &NodeSpec) -> TestResult<Incarnation> {
        let poll = async || {
            Ok(self
                .agent
                .incarnation(key, &node.name)
                .await?
                .ok_or("it has no incarnation".to_owned()))
        };
        self.wait_until(&format!("node {} has an incarnation", node.name), poll)
            .await
    }

    /// Waits until a node has an incarnation other than this one.
    pub(super) async fn next_incarnation(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        previous: &Incarnation,
    ) -> TestResult<Incarnation> {
        let poll = async || {
            let incarnation = self.agent.incarnation(key, &node.name).await?;
            Ok(incarnation
                .filter(|incarnation| incarnation != previous)
                .ok_or("it has not".to_owned()))
        };
        self.wait_until(&format!("node {} has a new incarnation", node.name), poll)
            .await
    }

    /// The output of a node so far.
    pub(super) async fn output(&self, key: &ClusterKey, node: &NodeSpec, query: LogQuery) -> Result<String> {
        let lines: Vec<_> = self
            .agent
            .logs(key, &node.name, query)
            .await?
            .try_collect()
            .await?;
        Ok(lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
            .collect())
    }

    /// Waits until a node has printed this text, and returns its whole output.
    pub(super) async fn wait_for_output(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        text: &str,
    ) -> TestResult<String> {
        let deadline = Instant::now() + self.platform.step_timeout();
        loop {
            // A starting node may have no log yet; agents may answer that as they like.
            let output = self.output(key, node, LogQuery::default()).await;
            match output {
                Ok(output) if output.contains(text) => return Ok(output),
                _ if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
                output => {
                    let output = output.unwrap_or_else(|error| format!("nothing: {error}"));
                    return Err(Stop::Failed(format!(
                        "node {} did not print {text:?}, but {output:.300}",
                        node.name
                    )));
                }
            }
        }
    }

    pub(super) async fn objects(&self, scope: Scope) -> TestResult<Vec<Object>> {
        let mut objects = self.agent.observe(scope).await?.objects;
        objects.sort_by(|a, b| (a.kind, &a.name, &a.id).cmp(&(b.kind, &b.name, &b.id)));
        Ok(objects)
    }

    /// Repeats a call while its error is transient, as the executor does.
    pub(super) async fn retry<T>(&self, what: &str, call: impl AsyncFn() -> Result<T>) -> TestResult<T> {
        self.wait_until(what, async || call().await.map(Ok)).await
    }

    /// Polls a condition until it holds; `Ok(Err(why))`: not yet.
    pub(super) async fn wait_until<T>(
        &self,
        what: &str,
        poll: impl AsyncFn() -> Result<std::result::Result<T, String>>,
    ) -> TestResult<T> {
        let deadline = Instant::now() + self.platform.step_timeout();
        loop {
            let why = match poll().await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(why)) => why,
                Err(error) if error.is_transient() => error.to_string(),
                Err(error) => return Err(Stop::Failed(format!("{what}: the agent returned: {error}"))),
            };
            check!(
                Instant::now() < deadline,
                "not within {} s: {what}: {why}",
                self.platform.step_timeout().as_secs()
            );
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// The same node with its current hash.
pub(super) fn hashed(node: NodeSpec) -> NodeSpec {
    let boot = vec![Boot::Start(vec![node.name.clone()])];
    let spec = ClusterSpec {
        nodes: vec![node],
        jobs: vec![],
        boot,
        network: NetworkSpec { subnet: None },
        facts: serde_json::Value::Null,
        keys: BTreeMap::new(),
    };
    spec.with_hashes().nodes.pop().expect("one node was given")
}

/// The values of all lines `PREFIX=VALUE` in a node's output.
pub(super) fn values<'a>(output: &'a str, prefix: &str) -> Vec<&'a str> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix(prefix)?.strip_prefix('='))
        .collect()
}

pub(super) fn is_foreign<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Foreign(_)))
}

/// Accepts success and transient errors: a call may find the previous, cut-off one still in progress.
pub(super) fn transient_at_most(done: Result<()>) -> TestResult {
    match done {
        Err(error) if !error.is_transient() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The port of an echo, which other nodes reach.
fn echo_port(step: &Step) -> Option<Port> {
    let Step::Echo(inside) = step else { return None };
    Some(Port {
        name: "echo".into(),
        inside: *inside,
        protocol: Protocol::Tcp,
        audience: Audience::Peers,
        published: None,
    })
}

fn names(seen: &Observation) -> Vec<(ObjectKind, &str)> {
    seen.objects
        .iter()
        .map(|object| (object.kind, object.name.as_str()))
        .collect()
}
