//! What the test of one promise stands on: an instance of its own, and a census at its end.

use super::{
    Foreign, Ground, Kept,
    outcome::Stop,
    program::{self, Step},
    promised,
};
use crate::{
    Agent, Audience, Boot, ClusterId, ClusterKey, ClusterSpec, Error, ImageRef, Incarnation, InstanceId,
    Limits, LogConfig, LogQuery, NetworkSpec, NodeName, NodeSpec, NodeState, Object, ObjectKind, Observation,
    Port, Power, Protocol, Result, Scope, SpecHash, Volume,
};
use futures::TryStreamExt;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often something awaited is looked for.
const LOOK: Duration = Duration::from_millis(100);
pub(super) const RUN: Power = Power::On { after: None };

pub(super) struct Stand<'g> {
    pub(super) ground: &'g dyn Ground,
    pub(super) instance: InstanceId,
    pub(super) agent: Arc<dyn Agent>,
    pub(super) image: ImageRef,
    pub(super) machines: Vec<String>,
    pub(super) seed: u64,
    /// What was made, by the agent that made it.
    clusters: Mutex<Vec<(InstanceId, ClusterId)>>,
    /// What must still be there at the end, and what it was like.
    foreign: Mutex<Vec<(Foreign, String)>>,
}

impl<'g> Stand<'g> {
    pub(super) async fn open(ground: &'g dyn Ground, seed: u64) -> Kept<Self> {
        let instance = InstanceId::new();
        let agent = ground.connect(instance)?;
        let image = agent.ensure_image(&ground.images()).await?;
        let machines = ground.machines(&*agent).await?;
        Ok(Self {
            ground,
            instance,
            agent,
            image,
            machines,
            seed,
            clusters: Mutex::default(),
            foreign: Mutex::default(),
        })
    }

    /// Drops all that was made, as its owner would, and counts what is left.
    pub(super) async fn close(self) -> Kept {
        let clusters = std::mem::take(&mut *self.clusters.lock().unwrap_or_else(PoisonError::into_inner));
        let foreign = std::mem::take(&mut *self.foreign.lock().unwrap_or_else(PoisonError::into_inner));
        // Ours goes first, beside what is foreign; what could not go for its sake goes after it.
        let mut refused = Vec::new();
        for (instance, cluster) in &clusters {
            if let Err(error) = self.dropped(*instance, *cluster).await {
                refused.push(error);
            }
        }
        let mut touched = Vec::new();
        for (thing, before) in &foreign {
            match self.ground.foreign_look(thing).await {
                Ok(now) if now == *before => {}
                Ok(now) => touched.push(format!("{thing:?} was touched: {before} became {now}")),
                Err(error) => touched.push(format!("{thing:?} is gone: {error}")),
            }
            self.ground.foreign_remove(thing).await?;
        }
        for (instance, cluster) in &clusters {
            self.dropped(*instance, *cluster).await?;
        }
        promised!(touched.is_empty(), "{}", touched.join("; "));
        promised!(
            !foreign.is_empty() || refused.is_empty(),
            "a cluster could not be dropped at first: {refused:?}"
        );
        for instance in clusters
            .iter()
            .map(|(instance, _)| *instance)
            .chain([self.instance])
        {
            let seen = self.ground.connect(instance)?.observe(Scope::Host).await?;
            promised!(seen.objects.is_empty(), "left behind: {:?}", names(&seen));
            let left = self.ground.leftovers(instance).await?;
            promised!(left.is_empty(), "left behind, and not observed: {left:?}");
        }
        Ok(())
    }

    async fn dropped(&self, instance: InstanceId, cluster: ClusterId) -> Kept {
        let agent = self.ground.connect(instance)?;
        self.insist("drop_cluster", async || {
            agent.drop_cluster(cluster, u32::MAX).await
        })
        .await
    }

    /// A new cluster, dropped at the end.
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

    /// Has a foreign object watched from now on.
    pub(super) async fn guard(&self, foreign: Foreign) -> Kept {
        let now = self.ground.foreign_look(&foreign).await;
        self.foreign
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((foreign, now.as_ref().cloned().unwrap_or_default()));
        now?;
        Ok(())
    }

    /// A node that does these steps, with a volume `data` at `/data`, on the ground's first machine.
    pub(super) fn node(&self, name: &str, steps: &[Step]) -> NodeSpec {
        hashed(NodeSpec {
            name: NodeName::parse(name).expect("the kit's names are node names"),
            images: self.ground.images(),
            command: program::command(steps),
            user: Some("1000:1001".into()),
            env: BTreeMap::new(),
            files: vec![],
            volumes: vec![Volume {
                name: "data".into(),
                path: "/data".into(),
            }],
            ports: steps.iter().filter_map(echo_port).collect(),
            limits: Limits {
                memory_bytes: 32 << 20,
                processes: 64,
            },
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

    /// Makes the cluster's network.
    pub(super) async fn network(&self, key: &ClusterKey) -> Kept {
        Ok(self.agent.ensure_network(key, &self.ground.network()).await?)
    }

    /// Makes a node on a network that is there, and sees it run.
    pub(super) async fn start(&self, key: &ClusterKey, node: &NodeSpec) -> Kept {
        self.ensure(key, node, &RUN).await?;
        self.running(key, node).await
    }

    /// Makes a network and a node, and sees it run.
    pub(super) async fn up(&self, node: &NodeSpec) -> Kept<ClusterKey> {
        let key = self.key();
        self.network(&key).await?;
        self.start(&key, node).await?;
        Ok(key)
    }

    pub(super) async fn running(&self, key: &ClusterKey, node: &NodeSpec) -> Kept {
        self.state(key, node, "runs", |state| *state == NodeState::Running)
            .await
    }

    pub(super) async fn resting(&self, key: &ClusterKey, node: &NodeSpec) -> Kept {
        self.state(key, node, "rests", |state| {
            matches!(state, NodeState::Created | NodeState::Exited(_))
        })
        .await?;
        let life = self.agent.incarnation(key, &node.name).await?;
        promised!(life.is_none(), "a node that rests lives: {life:?}");
        Ok(())
    }

    async fn state(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        what: &str,
        wanted: fn(&NodeState) -> bool,
    ) -> Kept {
        let look = async || {
            let state = self
                .agent
                .observe(Scope::Cluster(key.cluster))
                .await?
                .node_state(key.generation, &node.name);
            Ok(wanted(&state).then_some(()).ok_or(format!("it is {state:?}")))
        };
        self.until(&format!("node {} {what}", node.name), look).await
    }

    /// The present life of a node that runs.
    pub(super) async fn life(&self, key: &ClusterKey, node: &NodeSpec) -> Kept<Incarnation> {
        let look = async || {
            Ok(self
                .agent
                .incarnation(key, &node.name)
                .await?
                .ok_or("it has no life".to_owned()))
        };
        self.until(&format!("node {} lives", node.name), look).await
    }

    /// Waits until a node lives another life than this one.
    pub(super) async fn another_life(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        than: &Incarnation,
    ) -> Kept<Incarnation> {
        let look = async || {
            let life = self.agent.incarnation(key, &node.name).await?;
            Ok(life.filter(|life| life != than).ok_or("it has not".to_owned()))
        };
        self.until(&format!("node {} has another life", node.name), look)
            .await
    }

    /// All that a node has said so far.
    pub(super) async fn said(&self, key: &ClusterKey, node: &NodeSpec, query: LogQuery) -> Result<String> {
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

    /// Waits until a node has said these words, and returns all it has said.
    pub(super) async fn says(&self, key: &ClusterKey, node: &NodeSpec, words: &str) -> Kept<String> {
        let deadline = Instant::now() + self.ground.patience();
        loop {
            // A node that is only coming up may have no log yet, which agents may tell as they like.
            let said = self.said(key, node, LogQuery::default()).await;
            match said {
                Ok(said) if said.contains(words) => return Ok(said),
                _ if Instant::now() < deadline => sleep(LOOK).await,
                said => {
                    let said = said.unwrap_or_else(|error| format!("nothing: {error}"));
                    return Err(Stop::Failed(format!(
                        "node {} did not say {words:?}, but {said:.300}",
                        node.name
                    )));
                }
            }
        }
    }

    pub(super) async fn objects(&self, scope: Scope) -> Kept<Vec<Object>> {
        let mut objects = self.agent.observe(scope).await?.objects;
        objects.sort_by(|a, b| (a.kind, &a.name, &a.id).cmp(&(b.kind, &b.name, &b.id)));
        Ok(objects)
    }

    /// Repeats a call for as long as its error is one that passes, as the executor does.
    pub(super) async fn insist<T>(&self, what: &str, call: impl AsyncFn() -> Result<T>) -> Kept<T> {
        self.until(what, async || call().await.map(Ok)).await
    }

    /// Looks again until something is so: `Ok(Err(why))` is not yet.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> Result<std::result::Result<T, String>>,
    ) -> Kept<T> {
        let deadline = Instant::now() + self.ground.patience();
        loop {
            let why = match look().await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(why)) => why,
                Err(error) if error.is_transient() => error.to_string(),
                Err(error) => return Err(Stop::Failed(format!("{what}: the agent said: {error}"))),
            };
            promised!(
                Instant::now() < deadline,
                "not within {} s: {what}: {why}",
                self.ground.patience().as_secs()
            );
            sleep(LOOK).await;
        }
    }
}

/// The same node with the hash of what it is now.
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

/// The values of all lines `PREFIX=VALUE` that a node said.
pub(super) fn values<'a>(said: &'a str, prefix: &str) -> Vec<&'a str> {
    said.lines()
        .filter_map(|line| line.strip_prefix(prefix)?.strip_prefix('='))
        .collect()
}

pub(super) fn is_foreign<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Foreign(_)))
}

/// Other nodes reach an echo.
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
