//! The agent of one instance on a world. It is stateless: everything is read from the platform.

use crate::{
    World,
    fault::{Fault, Verb},
    files::FileEntry,
    ledger,
    process::Process,
    state::{Body, Entity, Watcher},
};
use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Error, Generation, ImageRef, ImageRequest,
    Incarnation, InstanceId, Labels, LogLine, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec,
    NodeState, ObjectKind, Observation, PlatformKind, Port, Power, Probe, Result, Scope, SwarmRole, Volumes,
    Wake, WakeStream, network_name, node_object_name,
};
use futures::{StreamExt, stream};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout_at},
};

/// The kind of this platform. No other crate names it: they know it from the platform alone, as any kind.
pub const KIND: PlatformKind = PlatformKind::new("memory");

/// Time limit of waiting for a job.
const SETTLE: Duration = Duration::from_secs(2);

/// The agent of one instance.
pub struct MemoryAgent {
    world: Arc<World>,
    instance: InstanceId,
}

impl MemoryAgent {
    /// Connects an instance to a world.
    pub fn connect(world: Arc<World>, instance: InstanceId) -> Self {
        Self { world, instance }
    }

    /// Runs a call with its scripted fault. It may be cut off at any await, as on any platform.
    async fn call<T>(&self, verb: Verb, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fault = self.world.state().script.call(verb);
        match &fault {
            None | Some(Fault::AnswerLost) => {}
            Some(Fault::Unreachable) => return Err(Error::Unreachable("unreachable on purpose".to_owned())),
            Some(Fault::Busy) => return Err(Error::Busy("busy on purpose".to_owned())),
            Some(Fault::Refused(why)) => return Err(Error::Refused(why.clone())),
            Some(Fault::Hang) => self.wait_until_lifted(verb).await,
            Some(Fault::Slow(time)) => sleep(*time).await,
            Some(Fault::Panic) => panic!("a defect of {verb:?}, on purpose"),
        }
        self.world.state().answers()?;
        yield_now().await;
        let response = work.await;
        self.world.state().answers()?;
        match fault {
            Some(Fault::AnswerLost) => Err(Error::Unreachable(
                "the response was dropped on purpose".to_owned(),
            )),
            _ => response,
        }
    }

    /// Waits until calls of this verb no longer hang.
    async fn wait_until_lifted(&self, verb: Verb) {
        let mut changes = self.world.changes();
        while self.world.state().script.hangs(verb) && changes.changed().await.is_ok() {}
    }

    /// Finds a node's process by name; a foreign one is an error.
    fn find<T>(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        read: impl FnOnce(&Entity, &Process) -> T,
    ) -> Result<Option<T>> {
        let name = node_object_name(key, node);
        let state = self.world.state();
        let Some(entity) = state.objects.get(&(ObjectKind::Node, name.clone())) else {
            return Ok(None);
        };
        let is_ours = |labels: &Labels| {
            labels.instance == self.instance
                && labels.cluster == key.cluster
                && labels.generation == key.generation
                && labels.node.as_ref() == Some(node)
        };
        match (&entity.labels, &entity.body) {
            (Some(labels), Body::Node(process)) if is_ours(labels) => Ok(Some(read(entity, process))),
            _ => Err(Error::Foreign(format!("node {name}"))),
        }
    }

    /// Compares the hash of the node or job of this name; `None` when absent.
    fn has_hash(&self, key: &ClusterKey, node: &NodeSpec) -> Result<Option<bool>> {
        self.find(key, &node.name, |entity, _| {
            let labels = entity.labels.as_ref();
            labels.and_then(|labels| labels.hash.as_ref()) == Some(&node.hash)
        })
    }

    /// Creates the node's volumes; existing ones of ours stay as they are.
    fn ensure_volumes(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        for volume in &node.volumes {
            let ours = volume.labels(self.instance, key, &node.name);
            let name = volume.object_name(key, &node.name);
            self.world
                .adopt_or_create(ObjectKind::Volume, &name, &ours, || Body::Volume(Box::default()))?;
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
        if self.has_hash(key, node)? == Some(false) {
            self.world.remove(ObjectKind::Node, &name);
        }
        let ours = Labels::of_cluster(self.instance, key)
            .node(&node.name)
            .hash(&node.hash);
        self.world.adopt_or_create(ObjectKind::Node, &name, &ours, || {
            Body::Node(Box::new(create(key, node)))
        })
    }

    /// Writes the files of a node that was never started, unless its program reads none. A previous call may have been
    /// cut off before.
    fn place_files(&self, key: &ClusterKey, node: &NodeSpec) {
        let name = node_object_name(key, &node.name);
        let mut state = self.world.state();
        if state
            .process(&name)
            .is_none_or(|process| process.state != NodeState::Created || !process.program.reads_files())
        {
            return;
        }
        for file in &node.files {
            let entry = FileEntry {
                content: file.content.expose().clone(),
                mode: file.mode,
                owner: file.owner,
            };
            let Some(files) = state.files(&name, &file.path) else {
                continue;
            };
            if !(file.once && files.contains_key(&file.path)) {
                files.insert(file.path.clone(), entry);
            }
        }
    }

    /// Removes the matching objects of this instance.
    fn drop_where(&self, doomed: impl Fn(ObjectKind, &Labels) -> bool) {
        let instance = self.instance;
        let of_ours = |labels: &&Labels| labels.instance == instance;
        let names: Vec<_> = {
            let state = self.world.state();
            let ours = state.objects.iter().filter_map(|(name, entity)| {
                Some((name.clone(), entity.labels.as_ref().filter(of_ours)?.clone()))
            });
            ours.filter(|((kind, _), labels)| doomed(*kind, labels))
                .map(|(name, _)| name)
                .collect()
        };
        names
            .iter()
            .for_each(|(kind, name)| self.world.remove(*kind, name));
    }

    async fn node(&self, key: &ClusterKey, node: &NodeSpec, image: &ImageRef, power: &Power) -> Result<()> {
        if self.has_hash(key, node)? != Some(true) {
            self.check_image(image)?;
        }
        // The call may be cut off between two steps; the next call continues from there.
        self.ensure_volumes(key, node)?;
        yield_now().await;
        self.ensure_process(key, node, Process::of_node)?;
        yield_now().await;
        self.place_files(key, node);
        yield_now().await;
        let name = node_object_name(key, &node.name);
        match power {
            Power::Off => self.world.end(&name, 0),
            Power::On { after } => {
                if after.is_some() && self.current_incarnation(key, &node.name)? == *after {
                    self.world.end(&name, 0);
                    yield_now().await;
                }
                self.world.start(&name)?;
            }
        }
        Ok(())
    }

    async fn job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        self.check_image(image)?;
        let (name, deadline) = (node_object_name(key, &job.name), Instant::now() + SETTLE);
        let state = || self.find(key, &job.name, |_, process| process.state.clone());
        if self.has_hash(key, job)? == Some(true) {
            match state()? {
                Some(NodeState::Exited(0)) => return Ok(()),
                // It failed while no call waited for it, or its failure was reported before.
                Some(NodeState::Exited(_)) => self.world.remove(ObjectKind::Node, &name),
                _ => {}
            }
        }
        self.ensure_volumes(key, job)?;
        yield_now().await;
        self.ensure_process(key, job, Process::of_job)?;
        yield_now().await;
        self.place_files(key, job);
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

    fn current_incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        let incarnation = self.find(key, node, |entity, process| {
            process
                .incarnation()
                .map(|number| Incarnation(format!("{}@{number}", entity.id)))
        })?;
        Ok(incarnation.flatten())
    }

    fn log(&self, key: &ClusterKey, node: &NodeName, query: &LogQuery) -> Result<LogStream> {
        let LogQuery { tail, since, follow } = *query;
        let found = self.find(key, node, |entity, process| {
            let lines: Vec<_> = process.lines().filter(|line| line.at >= since).cloned().collect();
            let skip = tail.map_or(0, |tail| {
                lines
                    .len()
                    .saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX))
            });
            (
                entity.id,
                process.written(),
                lines.into_iter().skip(skip).collect::<Vec<_>>(),
            )
        })?;
        let (id, first, lines) =
            found.ok_or_else(|| Error::Refused(format!("node {node} does not exist")))?;
        let lines_so_far = stream::iter(lines).map(|line| {
            Ok(LogLine {
                stderr: line.stderr,
                bytes: line.bytes,
            })
        });
        if !follow {
            return Ok(lines_so_far.boxed());
        }
        let from = (Arc::clone(&self.world), self.world.changes(), first);
        let name = (ObjectKind::Node, node_object_name(key, node));
        let more = stream::unfold(from, move |(world, mut changes, next)| {
            let name = name.clone();
            async move {
                loop {
                    changes.borrow_and_update();
                    let line = match world.state().objects.get(&name) {
                        Some(entity) if entity.id == id => match &entity.body {
                            Body::Node(process) => process.line(next).cloned(),
                            Body::Network(_) | Body::Volume(_) => return None,
                        },
                        // It was removed or replaced.
                        _ => return None,
                    };
                    if let Some(line) = line {
                        return Some((
                            Ok(LogLine {
                                stderr: line.stderr,
                                bytes: line.bytes,
                            }),
                            (world, changes, next + 1),
                        ));
                    }
                    changes.changed().await.ok()?;
                }
            }
        });
        Ok(lines_so_far.chain(more).boxed())
    }

    fn connection(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        let echoes = self.find(key, node, |_, process| {
            process.runs() && process.echoes.contains(&port.inside)
        })?;
        if let Some(stream) = ledger::serve(&self.world, key, node, port) {
            return stream;
        }
        if echoes != Some(true) {
            return Err(Error::Unreachable(format!(
                "nothing listens on port {} of node {node}",
                port.name
            )));
        }
        let (ours, theirs) = tokio::io::duplex(4096);
        let (mut reader, mut writer) = tokio::io::split(theirs);
        // Ends when the caller closes its end.
        tokio::spawn(async move { drop(tokio::io::copy(&mut reader, &mut writer).await) });
        Ok(Box::new(ours))
    }

    fn check_image(&self, image: &ImageRef) -> Result<()> {
        if self.world.state().has_image(&image.name) && image.pinned == pinned(&image.name) {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "the image {} is no longer present",
            image.name
        )))
    }
}

fn pinned(image: &str) -> String {
    format!("memory:{image}")
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
        let probe = async {
            Ok(Probe {
                kind: KIND,
                engine_id: self.world.state().engine_id.clone(),
                name: "memory".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                api_version: "1".to_owned(),
                storage_driver: "memory".to_owned(),
                architecture: std::env::consts::ARCH.to_owned(),
                swarm: SwarmRole::None,
                cpus: 4,
                memory_bytes: 64 << 30,
                disk: Some((800 << 30, 1000 << 30)),
                skew_ms: Some(0),
                machines: Vec::new(),
            })
        };
        self.call(Verb::Probe, probe).await
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        let instance = self.instance;
        let observe = async {
            let state = self.world.state();
            let wanted =
                |labels: &Labels| labels.instance == instance && matches_scope(scope, labels.cluster);
            let resources_in_use = if scope == Scope::Host {
                state.resources_in_use(instance)
            } else {
                chainpool_agent::ResourcesInUse::default()
            };
            Ok(Observation {
                objects: state.observed(wanted),
                resources_in_use,
            })
        };
        self.call(Verb::Observe, observe).await
    }

    fn watch(&self) -> WakeStream {
        let (world, instance) = (Arc::clone(&self.world), self.instance);
        // Opened at its first poll.
        stream::once(async move {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let fault = {
                let mut state = world.state();
                let scripted = state.script.call(Verb::Watch);
                assert!(
                    scripted != Some(Fault::Panic),
                    "a defect of {:?}, on purpose",
                    Verb::Watch
                );
                let fault = scripted.map(|fault| format!("{fault:?} on purpose"));
                let fault = fault.or_else(|| state.answers().err().map(|error| error.to_string()));
                if fault.is_none() {
                    state.watchers.push(Watcher { instance, sender });
                }
                fault
            };
            let connected = stream::iter(fault.is_none().then_some(Wake::Connected));
            let wakes = stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|wake| (wake, receiver))
            });
            let lost = stream::iter([Wake::Lost(
                fault.unwrap_or_else(|| "the platform closed the connection".to_owned()),
            )]);
            connected.chain(wakes).chain(lost)
        })
        .flatten()
        .boxed()
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        let find = async {
            let state = self.world.state();
            let candidates = &request.candidates;
            let found = candidates.iter().find(|candidate| state.has_image(candidate));
            let missing = || {
                let absent = |name: &String| format!("{name}: this platform pulls none");
                let reasons: Vec<_> = candidates.iter().map(absent).collect();
                request.unavailable("on this platform", &reasons)
            };
            found
                .map(|name| ImageRef {
                    name: name.clone(),
                    pinned: pinned(name),
                })
                .ok_or_else(missing)
        };
        self.call(Verb::EnsureImage, find).await
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        let ours = Labels::of_cluster(self.instance, key);
        self.call(Verb::EnsureNetwork, async {
            self.world
                .ensure_network(&network_name(key), &ours, network.subnet)
        })
        .await
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        self.call(Verb::EnsureNode, self.node(key, node, image, power))
            .await
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        self.call(Verb::EnsureJob, self.job(key, job, image)).await
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        self.call(Verb::Incarnation, async { self.current_incarnation(key, node) })
            .await
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        let drop = async {
            self.drop_where(|kind, labels| {
                let its = labels.cluster == key.cluster
                    && labels.generation == key.generation
                    && labels.node.as_ref() == Some(node);
                its && (kind == ObjectKind::Node || volumes == Volumes::Purge)
            });
            Ok(())
        };
        self.call(Verb::DropNode, drop).await
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let drop = async {
            // Nodes go before what they use. A call that is cut off leaves the rest to the next call.
            for doomed in [ObjectKind::Node, ObjectKind::Volume, ObjectKind::Network] {
                self.drop_where(|kind, labels| {
                    kind == doomed && labels.cluster == cluster && labels.generation <= through
                });
                yield_now().await;
            }
            Ok(())
        };
        self.call(Verb::DropCluster, drop).await
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream> {
        self.call(Verb::Logs, async { self.log(key, node, &query) }).await
    }

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        self.call(Verb::Dial, async { self.connection(key, node, port) })
            .await
    }
}

fn matches_scope(scope: Scope, cluster: ClusterId) -> bool {
    match scope {
        Scope::Host => true,
        Scope::Cluster(only) => only == cluster,
    }
}
