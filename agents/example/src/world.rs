//! The platform: a table of named objects, ours and foreign.

use crate::program;
use bytes::Bytes;
use chainpool_agent::{
    ClusterKey, Error, InstanceId, Labels, NodeSpec, NodeState, Object, ObjectKind, Place, Result, Wake,
    network_name, volume_name,
};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::AbortHandle,
};

/// A platform in memory.
pub struct World {
    me: Weak<World>,
    id: String,
    state: Mutex<State>,
    /// Notified after each change.
    changed: watch::Sender<()>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) entities: BTreeMap<(ObjectKind, String), Entity>,
    pub(crate) watchers: Vec<Watcher>,
    count: u64,
}

pub(crate) struct Watcher {
    pub(crate) instance: InstanceId,
    pub(crate) sender: UnboundedSender<Wake>,
}

/// One object on the platform.
pub(crate) struct Entity {
    pub(crate) id: String,
    /// `None`: foreign.
    pub(crate) labels: Option<Labels>,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Network(Option<Ipv4Net>),
    Volume(Files),
    Node(Box<Process>),
}

/// Files by their paths in a node.
pub(crate) type Files = BTreeMap<String, Entry>;

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// A node's process, running or not.
pub(crate) struct Process {
    pub(crate) key: ClusterKey,
    pub(crate) spec: NodeSpec,
    /// A job: it runs to completion, and the world never restarts it.
    pub(crate) job: bool,
    pub(crate) state: NodeState,
    /// Files outside every volume.
    pub(crate) root: Files,
    /// Ports with an echo server.
    pub(crate) echoes: BTreeSet<u16>,
    log: VecDeque<Line>,
    log_bytes: u64,
    /// Number of lines ever written.
    written: usize,
    starts: u64,
    task: Option<AbortHandle>,
}

#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) at: i64,
    pub(crate) stderr: bool,
    pub(crate) bytes: Bytes,
}

impl Process {
    pub(crate) fn new(key: &ClusterKey, spec: &NodeSpec) -> Self {
        Self {
            key: *key,
            spec: spec.clone(),
            job: false,
            state: NodeState::Created,
            root: Files::new(),
            echoes: BTreeSet::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            written: 0,
            starts: 0,
            task: None,
        }
    }

    /// The process of a job. Its ports are unreachable.
    pub(crate) fn of_job(key: &ClusterKey, spec: &NodeSpec) -> Self {
        let mut process = Self {
            job: true,
            ..Self::new(key, spec)
        };
        process.spec.ports.clear();
        process
    }

    pub(crate) fn incarnation(&self) -> Option<u64> {
        (self.state == NodeState::Running).then_some(self.starts)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.log.iter()
    }

    /// The newest lines.
    pub(crate) fn last_output(&self) -> String {
        let lines: Vec<_> = self
            .log
            .iter()
            .skip(self.log.len().saturating_sub(5))
            .map(|line| String::from_utf8_lossy(&line.bytes))
            .collect();
        lines.concat().trim().to_owned()
    }

    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Writes a line, and drops the oldest beyond the limits.
    pub(crate) fn say(&mut self, stderr: bool, text: &str) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let bytes = Bytes::from(format!("{text}\n"));
        self.log_bytes += bytes.len() as u64;
        self.log.push_back(Line { at, stderr, bytes });
        self.written += 1;
        let most = self.spec.log.max_bytes * u64::from(self.spec.log.max_files);
        while self.log_bytes > most {
            let Some(oldest) = self.log.pop_front() else { break };
            self.log_bytes -= oldest.bytes.len() as u64;
        }
    }
}

impl State {
    /// The files that contain this path of a node: those of a volume, or of its root.
    pub(crate) fn files(&mut self, node: &str, path: &str) -> Option<&mut Files> {
        let Body::Node(process) = &self.entities.get(&(ObjectKind::Node, node.to_owned()))?.body else {
            return None;
        };
        let volume = process
            .spec
            .volumes
            .iter()
            .find(|volume| path.starts_with(&format!("{}/", volume.path)));
        match volume.map(|volume| volume_name(&process.key, &process.spec.name, &volume.name)) {
            Some(name) => match &mut self.entities.get_mut(&(ObjectKind::Volume, name))?.body {
                Body::Volume(files) => Some(files),
                _ => None,
            },
            None => self.process(node).map(|process| &mut process.root),
        }
    }

    pub(crate) fn process(&mut self, node: &str) -> Option<&mut Process> {
        match &mut self.entities.get_mut(&(ObjectKind::Node, node.to_owned()))?.body {
            Body::Node(process) => Some(process),
            _ => None,
        }
    }

    fn wake(&mut self, labels: Option<&Labels>, died: Option<i64>) {
        let Some(Labels {
            instance,
            cluster,
            node,
            ..
        }) = labels
        else {
            return;
        };
        let died = died.zip(node.clone()).map(|(code, node)| Wake::Died {
            cluster: *cluster,
            node,
            code,
        });
        self.watchers.retain(|watcher| {
            let wakes = died.iter().cloned().chain([Wake::Changed(*cluster)]);
            watcher.instance != *instance || wakes.into_iter().all(|wake| watcher.sender.send(wake).is_ok())
        });
    }
}

impl World {
    /// An empty platform.
    pub fn new() -> Arc<Self> {
        let id = format!("world-{}", InstanceId::new());
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id,
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// The images of every world.
    pub fn images(&self) -> &'static [&'static str] {
        &["memory/busybox:1"]
    }

    /// Creates a foreign object and returns its id.
    pub fn foreign_create(&self, kind: ObjectKind, name: &str) -> String {
        let kind = place(kind);
        let body = match kind {
            ObjectKind::Network => Body::Network(None),
            _ => Body::Volume(Files::new()),
        };
        let mut state = self.state();
        let id = state.next_id();
        state.entities.insert(
            (kind, name.to_owned()),
            Entity {
                id: id.clone(),
                labels: None,
                body,
            },
        );
        id
    }

    /// The state of a foreign object as a text that changes when the object is touched; `None` when it is
    /// gone.
    pub fn foreign_state(&self, kind: ObjectKind, name: &str) -> Option<String> {
        let state = self.state();
        let entity = state.entities.get(&(place(kind), name.to_owned()))?;
        let files = if let Body::Volume(files) = &entity.body {
            files.len()
        } else {
            0
        };
        Some(format!("{} {:?} {files}", entity.id, entity.labels))
    }

    /// Removes the object of this name, as its owner may.
    pub fn remove(&self, kind: ObjectKind, name: &str) {
        self.stop(name);
        let mut state = self.state();
        if let Some(entity) = state.entities.remove(&(place(kind), name.to_owned())) {
            state.wake(entity.labels.as_ref(), None);
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Names all objects with this instance's label.
    pub fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        self.list(|labels| labels.instance == instance)
            .into_iter()
            .map(|(kind, name, _)| format!("{kind:?} {name}"))
            .collect()
    }

    /// Reboots the machine: watchers are lost, running nodes restart, running jobs are killed.
    pub fn restart(&self) {
        let mut state = self.state();
        state.watchers.clear();
        let running = |entity: &Entity| matches!(&entity.body, Body::Node(process) if process.state == NodeState::Running);
        let names: Vec<_> = state
            .entities
            .iter()
            .filter(|(_, entity)| running(entity))
            .map(|((_, name), _)| name.clone())
            .collect();
        drop(state);
        for name in names {
            if self.state().process(&name).is_some_and(|process| process.job) {
                self.end(&name, 137);
                continue;
            }
            self.stop(&name);
            // Its ports cannot be in use: it held them until now.
            self.start(&name).expect("a node that ran can run again");
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn notify(&self) {
        self.changed.send_replace(());
    }

    pub(crate) fn list(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<(ObjectKind, String, Labels)> {
        let state = self.state();
        let ours = state
            .entities
            .iter()
            .filter_map(|((kind, name), entity)| Some((*kind, name.clone(), entity.labels.clone()?)));
        ours.filter(|(.., labels)| wanted(labels)).collect()
    }

    pub(crate) fn objects(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<Object> {
        let state = self.state();
        let ours = state
            .entities
            .iter()
            .filter(|(_, entity)| entity.labels.as_ref().is_some_and(&wanted));
        ours.filter_map(|((kind, name), entity)| entity.object(*kind, name))
            .collect()
    }

    pub(crate) fn has_labels(&self, kind: ObjectKind, name: &str, labels: &Labels) -> bool {
        self.state()
            .entities
            .get(&(kind, name.to_owned()))
            .is_some_and(|entity| entity.labels.as_ref() == Some(labels))
    }

    /// Creates an absent object. One with these labels stays; any other is foreign.
    pub(crate) fn adopt_or_create(
        &self,
        kind: ObjectKind,
        name: &str,
        ours: &Labels,
        create: impl FnOnce() -> Body,
    ) -> Result<()> {
        let mut state = self.state();
        match state.entities.get(&(kind, name.to_owned())) {
            Some(found) if found.labels.as_ref() == Some(ours) => Ok(()),
            Some(_) => Err(Error::Foreign(format!("{kind:?} {name}"))),
            None => {
                let id = state.next_id();
                state.entities.insert(
                    (kind, name.to_owned()),
                    Entity {
                        id,
                        labels: Some(ours.clone()),
                        body: create(),
                    },
                );
                state.wake(Some(ours), None);
                Ok(())
            }
        }
    }

    /// The same for a network. One of ours with another subnet is replaced.
    pub(crate) fn ensure_network(&self, name: &str, ours: &Labels, subnet: Option<Ipv4Net>) -> Result<()> {
        let mut state = self.state();
        let found = state.entities.get(&(ObjectKind::Network, name.to_owned()));
        if found.is_some_and(|entity| {
            entity.labels.as_ref() == Some(ours) && matches!(entity.body, Body::Network(now) if now != subnet)
        }) {
            state.entities.remove(&(ObjectKind::Network, name.to_owned()));
        }
        let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
        let holder = state
            .entities
            .iter()
            .find(|((_, other), entity)| match (&entity.body, &subnet) {
                (Body::Network(Some(in_use)), Some(wanted)) => other != name && overlaps(in_use, wanted),
                _ => false,
            });
        if let (Some(((_, holder), _)), Some(subnet)) = (holder, subnet) {
            let reason = format!(
                "the subnet {subnet} overlaps the network {holder}: remove that, or give the host other subnets"
            );
            return Err(Error::Occupied {
                place: Place::Subnet(subnet),
                reason,
            });
        }
        drop(state);
        self.adopt_or_create(ObjectKind::Network, name, ours, || Body::Network(subnet))
    }

    /// Writes the files of a node that was never started. A previous call may have been cut off before.
    pub(crate) fn place_files(&self, name: &str, node: &NodeSpec) {
        let mut state = self.state();
        if state
            .process(name)
            .is_none_or(|process| process.state != NodeState::Created)
        {
            return;
        }
        for file in &node.files {
            let entry = Entry {
                content: file.content.expose().clone(),
                mode: file.mode,
                owner: file.owner,
            };
            let Some(files) = state.files(name, &file.path) else {
                continue;
            };
            if !(file.once && files.contains_key(&file.path)) {
                files.insert(file.path.clone(), entry);
            }
        }
    }

    /// Starts a stopped node. Its published ports must be free.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        let Some(process) = state.process(name) else {
            return Err(Error::Busy(format!("{name} was just removed")));
        };
        if process.state == NodeState::Running {
            return Ok(());
        }
        let wanted: BTreeSet<u16> = process
            .spec
            .ports
            .iter()
            .filter_map(|port| port.published)
            .collect();
        let running = state
            .entities
            .iter()
            .filter_map(|((_, name), entity)| match &entity.body {
                Body::Node(process) if process.state == NodeState::Running => Some((name, process)),
                _ => None,
            });
        let mut in_use = running.flat_map(|(name, process)| {
            process
                .spec
                .ports
                .iter()
                .filter_map(move |port| Some((port.published?, name)))
        });
        if let Some((port, holder)) = in_use.find(|(port, _)| wanted.contains(port)) {
            let reason = format!("port {port} is in use by {holder}: free it or give the host other ports");
            return Err(Error::Occupied {
                place: Place::Port(port),
                reason,
            });
        }
        let labels = state
            .entities
            .get(&(ObjectKind::Node, name.to_owned()))
            .and_then(|entity| entity.labels.clone());
        let world = self.me.upgrade().expect("the caller holds it");
        if let Some(process) = state.process(name) {
            process.starts += 1;
            process.state = NodeState::Running;
            process.task = Some(
                tokio::spawn(program::run(
                    world,
                    name.to_owned(),
                    process.starts,
                    process.spec.command.clone(),
                ))
                .abort_handle(),
            );
        }
        state.wake(labels.as_ref(), None);
        Ok(())
    }

    /// Stops a running node.
    pub(crate) fn stop(&self, name: &str) {
        self.end(name, 0);
    }

    /// Ends a node's process with this code.
    pub(crate) fn end(&self, name: &str, code: i64) {
        let mut state = self.state();
        let labels = state
            .entities
            .get(&(ObjectKind::Node, name.to_owned()))
            .and_then(|entity| entity.labels.clone());
        let Some(process) = state
            .process(name)
            .filter(|process| process.state == NodeState::Running)
        else {
            return;
        };
        process.state = NodeState::Exited(code);
        process.echoes.clear();
        let died = (!process.job).then_some(code);
        if let Some(task) = process.task.take() {
            task.abort();
        }
        state.wake(labels.as_ref(), died);
        drop(state);
        self.notify();
    }

    /// One line of a node's log by number: `None` when the node is gone, `Some(None)` while the line is not
    /// written yet.
    pub(crate) fn line(&self, name: &str, id: &str, number: usize) -> Option<Option<Line>> {
        let state = self.state();
        let entity = state
            .entities
            .get(&(ObjectKind::Node, name.to_owned()))
            .filter(|entity| entity.id == id)?;
        let Body::Node(process) = &entity.body else {
            return None;
        };
        let oldest = process.written - process.log.len();
        Some(process.log.get(number.saturating_sub(oldest)).cloned())
    }

    /// The subnet of the network of a node's cluster.
    pub(crate) fn subnet(&self, key: &ClusterKey) -> Option<Ipv4Net> {
        match self
            .state()
            .entities
            .get(&(ObjectKind::Network, network_name(key)))?
            .body
        {
            Body::Network(subnet) => subnet,
            _ => None,
        }
    }
}

/// The namespace of a kind: nodes and jobs share one.
fn place(kind: ObjectKind) -> ObjectKind {
    if kind == ObjectKind::Job {
        ObjectKind::Node
    } else {
        kind
    }
}

impl State {
    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("entity-{}", self.count)
    }
}
