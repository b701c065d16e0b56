//! An example of a Chainpool agent, for a platform that is a table in memory.
//!
//! [`World`] is the platform with its objects, ours and foreign. [`MemoryAgent`] is the agent of one instance
//! on it. A real agent has an API client in place of the world and follows the same rules; see
//! `docs/agents.md`. The kit's nodes carry their programs as data, so the world runs them without a shell.

mod program;
mod start;
mod state;
mod world;

pub use world::World;

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Error, Generation, ImageRef, ImageRequest,
    Incarnation, InstanceId, Labels, LogLine, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec,
    NodeState, ObjectKind, Observation, PlatformKind, Port, Power, Probe, Result, Scope, SwarmRole, Volumes,
    Wake, WakeStream, network_name, node_object_name,
};
use futures::{FutureExt, StreamExt, stream};
use state::{Body, Entity, Process, Watcher};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};

/// The kind of this platform.
const KIND: PlatformKind = PlatformKind::new("example");

/// Time limit of waiting for a job.
const SETTLE: Duration = Duration::from_secs(2);

/// The agent of one instance on a world. It is stateless: everything is read from the platform, so any
/// process may repeat any verb.
pub struct MemoryAgent {
    world: Arc<World>,
    instance: InstanceId,
}

impl MemoryAgent {
    /// Connects an instance to a world.
    pub fn connect(world: Arc<World>, instance: InstanceId) -> Self {
        Self { world, instance }
    }

    /// Finds the node's process by name; a foreign one is an error.
    fn find<T>(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        read: impl FnOnce(&str, &Process) -> T,
    ) -> Result<Option<T>> {
        let name = node_object_name(key, node);
        let state = self.world.state();
        let Some(entity) = state.entities.get(&(ObjectKind::Node, name.clone())) else {
            return Ok(None);
        };
        let ours = Labels::of_cluster(self.instance, key).node(node);
        match (&entity.labels, &entity.body) {
            (Some(labels), Body::Node(process))
                if (Labels {
                    hash: None,
                    ..labels.clone()
                }) == ours =>
            {
                Ok(Some(read(&entity.id, process)))
            }
            _ => Err(Error::Foreign(format!("node {name}"))),
        }
    }

    /// Creates the node's volumes; existing ones of ours stay as they are.
    fn ensure_volumes(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        for volume in &node.volumes {
            let ours = volume.labels(self.instance, key, &node.name);
            let name = volume.object_name(key, &node.name);
            self.world.adopt_or_create(ObjectKind::Volume, &name, &ours, || {
                Body::Volume(Default::default())
            })?;
        }
        Ok(())
    }

    /// Creates the process of a node or job, adopts it, or replaces one of another hash.
    fn ensure_process(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        create: fn(&ClusterKey, &NodeSpec) -> Process,
    ) -> Result<()> {
        let name = node_object_name(key, &node.name);
        let ours = Labels::of_cluster(self.instance, key)
            .node(&node.name)
            .hash(&node.hash);
        let stale = self.find(key, &node.name, |_, _| ())?.is_some()
            && !self.world.has_labels(ObjectKind::Node, &name, &ours);
        if stale {
            self.world.remove(ObjectKind::Node, &name);
        }
        self.world.adopt_or_create(ObjectKind::Node, &name, &ours, || {
            Body::Node(Box::new(create(key, node)))
        })
    }

    fn drop_where(&self, doomed: impl Fn(ObjectKind, &Labels) -> bool) {
        let instance = self.instance;
        let names: Vec<_> = self
            .world
            .list(|labels| labels.instance == instance)
            .into_iter()
            .collect();
        for (kind, name, labels) in names {
            if doomed(kind, &labels) {
                self.world.remove(kind, &name);
            }
        }
    }
}

#[async_trait]
impl Agent for MemoryAgent {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subnets: true,
            machines: false,
            ports: (20_000, 29_999),
            concurrency: 8,
            queues: false,
        }
    }

    async fn probe(&self) -> Result<Probe> {
        Ok(Probe {
            kind: KIND,
            engine_id: self.world.id().to_owned(),
            name: "memory".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            api_version: "1".into(),
            storage_driver: "memory".into(),
            architecture: std::env::consts::ARCH.into(),
            swarm: SwarmRole::None,
            cpus: 1,
            memory_bytes: 1 << 30,
            disk: None,
            skew_ms: Some(0),
            machines: Vec::new(),
        })
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        let (instance, wanted) = (self.instance, |cluster: ClusterId| match scope {
            Scope::Host => true,
            Scope::Cluster(only) => only == cluster,
        });
        let objects = self
            .world
            .objects(|labels| labels.instance == instance && wanted(labels.cluster));
        Ok(Observation {
            objects,
            ..Observation::default()
        })
    }

    fn watch(&self) -> WakeStream {
        let (world, instance) = (self.world.clone(), self.instance);
        // Opened at its first poll.
        stream::once(async move {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            world.state().watchers.push(Watcher { instance, sender });
            let wakes = stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|wake| (wake, receiver))
            });
            let lost = stream::once(async { Wake::Lost("the world was restarted".into()) });
            stream::once(async { Wake::Connected }).chain(wakes).chain(lost)
        })
        .flatten()
        .boxed()
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        let found = request
            .candidates
            .iter()
            .find(|candidate| self.world.images().contains(&candidate.as_str()));
        let missing = || {
            let absent = |name: &String| format!("{name}: this platform pulls none");
            let reasons: Vec<_> = request.candidates.iter().map(absent).collect();
            request.unavailable("on this platform", &reasons)
        };
        found
            .map(|name| ImageRef {
                name: name.clone(),
                pinned: format!("memory:{name}"),
            })
            .ok_or_else(missing)
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        let (name, ours) = (network_name(key), Labels::of_cluster(self.instance, key));
        yield_now().await;
        self.world.ensure_network(&name, &ours, network.subnet)
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        check_image(image)?;
        // The call may be cut off between two steps; the next call continues from there.
        self.ensure_volumes(key, node)?;
        yield_now().await;
        self.ensure_process(key, node, Process::new)?;
        yield_now().await;
        let name = node_object_name(key, &node.name);
        self.world.place_files(&name, node);
        yield_now().await;
        match power {
            Power::Off => self.world.stop(&name),
            Power::On { after } => {
                let current = self.incarnation(key, &node.name).await?;
                if after.is_some() && current == *after {
                    self.world.stop(&name);
                    yield_now().await;
                }
                self.world.start(&name)?;
            }
        }
        Ok(())
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        check_image(image)?;
        let (name, deadline) = (node_object_name(key, &job.name), Instant::now() + SETTLE);
        let ours = Labels::of_cluster(self.instance, key)
            .node(&job.name)
            .hash(&job.hash);
        let state = || self.find(key, &job.name, |_, process| process.state.clone());
        match state()?.filter(|_| self.world.has_labels(ObjectKind::Node, &name, &ours)) {
            Some(NodeState::Exited(0)) => return Ok(()),
            // It failed while no call waited for it, or its failure was reported before.
            Some(NodeState::Exited(_)) => self.world.remove(ObjectKind::Node, &name),
            _ => {}
        }
        self.ensure_volumes(key, job)?;
        yield_now().await;
        self.ensure_process(key, job, Process::of_job)?;
        yield_now().await;
        self.world.place_files(&name, job);
        yield_now().await;
        if state()? == Some(NodeState::Created) {
            self.world.start(&name)?;
        }
        let mut changes = self.world.changes();
        loop {
            changes.borrow_and_update();
            match self.find(key, &job.name, |_, process| {
                (process.state.clone(), process.last_output())
            })? {
                Some((NodeState::Exited(0), _)) => return Ok(()),
                Some((NodeState::Exited(code), output)) => {
                    return Err(Error::Refused(format!(
                        "job {} exited with {code}: {output}",
                        job.name
                    )));
                }
                Some(_) if timeout_at(deadline, changes.changed()).await.is_ok() => {}
                Some(_) => return Err(Error::Busy(format!("job {} is still running", job.name))),
                None => return Err(Error::Busy(format!("job {} was removed while it ran", job.name))),
            }
        }
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        let incarnation = self.find(key, node, |id, process| {
            process
                .incarnation()
                .map(|number| Incarnation(format!("{id}@{number}")))
        })?;
        Ok(incarnation.flatten())
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        self.drop_where(|kind, labels| {
            let its = labels.cluster == key.cluster
                && labels.generation == key.generation
                && labels.node.as_ref() == Some(node);
            its && (kind == ObjectKind::Node || volumes == Volumes::Purge)
        });
        Ok(())
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        self.drop_where(|_, labels| labels.cluster == cluster && labels.generation <= through);
        Ok(())
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream> {
        let LogQuery { tail, since, follow } = query;
        let absent = || Error::Refused(format!("node {node} does not exist"));
        let (id, first, lines) = self
            .find(key, node, |id, process| {
                let lines: Vec<_> = process.lines().filter(|line| line.at >= since).cloned().collect();
                let skip = tail.map_or(0, |tail| {
                    lines
                        .len()
                        .saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX))
                });
                (
                    id.to_owned(),
                    process.written(),
                    lines.into_iter().skip(skip).collect::<Vec<_>>(),
                )
            })?
            .ok_or_else(absent)?;
        let lines_so_far = stream::iter(lines).map(|line| {
            Ok(LogLine {
                stderr: line.stderr,
                bytes: line.bytes,
            })
        });
        if !follow {
            return Ok(lines_so_far.boxed());
        }
        let name = node_object_name(key, node);
        let changes = self.world.changes();
        let more = stream::unfold(
            (self.world.clone(), changes, first),
            move |(world, mut changes, mut next)| {
                let (name, id) = (name.clone(), id.clone());
                async move {
                    loop {
                        changes.borrow_and_update();
                        match world.line(&name, &id, next) {
                            // It was removed or replaced.
                            None => return None,
                            Some(Some(line)) => {
                                next += 1;
                                return Some((
                                    Ok(LogLine {
                                        stderr: line.stderr,
                                        bytes: line.bytes,
                                    }),
                                    (world, changes, next),
                                ));
                            }
                            Some(None) => changes.changed().await.ok()?,
                        }
                    }
                }
            },
        );
        Ok(lines_so_far.chain(more).boxed())
    }

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        let echoes = self.find(key, node, |_, process| {
            process.state == NodeState::Running && process.echoes.contains(&port.inside)
        })?;
        if echoes != Some(true) {
            return Err(Error::Unreachable(format!(
                "nothing listens on port {} of node {node}",
                port.name
            )));
        }
        let (ours, theirs) = tokio::io::duplex(4096);
        let (mut reader, mut writer) = tokio::io::split(theirs);
        // Ends when the caller closes its end.
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut writer).await }.map(drop));
        Ok(Box::new(ours))
    }
}

fn check_image(image: &ImageRef) -> Result<()> {
    if image.pinned == format!("memory:{}", image.name) {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the image {} is no longer present",
        image.name
    )))
}

impl Entity {
    /// The object as an observation lists it.
    fn object(&self, kind: ObjectKind, name: &str) -> Option<chainpool_agent::Object> {
        let Labels {
            instance: _,
            cluster,
            generation,
            node,
            hash,
        } = self.labels.clone()?;
        let (kind, state) = match &self.body {
            Body::Node(process) if process.job => (ObjectKind::Job, Some(process.state.clone())),
            Body::Node(process) => (kind, Some(process.reported_state())),
            _ => (kind, None),
        };
        Some(chainpool_agent::Object {
            kind,
            name: name.to_owned(),
            id: self.id.clone(),
            cluster,
            generation,
            node,
            hash,
            state,
        })
    }
}
