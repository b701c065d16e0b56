//! The platform: a table of things, each with a name, whoever made it.

use crate::program;
use bytes::Bytes;
use chainpool_agent::{
    ClusterKey, Error, InstanceId, Labels, NodeSpec, NodeState, Object, ObjectKind, Place, Result, Wake, network_name, volume_name,
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
    /// Told after each change.
    changed: watch::Sender<()>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) things: BTreeMap<(ObjectKind, String), Thing>,
    pub(crate) watchers: Vec<Watcher>,
    count: u64,
}

pub(crate) struct Watcher {
    pub(crate) instance: InstanceId,
    pub(crate) sender: UnboundedSender<Wake>,
}

/// Something on the platform.
pub(crate) struct Thing {
    pub(crate) id: String,
    /// `None`: it is not Chainpool's.
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
    /// Whether it is a job: it is run to its end, and never started again by the world itself.
    pub(crate) job: bool,
    pub(crate) state: NodeState,
    /// Files outside every volume.
    pub(crate) root: Files,
    /// Ports at which it gives back what comes.
    pub(crate) echoes: BTreeSet<u16>,
    log: VecDeque<Line>,
    log_bytes: u64,
    /// How many lines were ever written.
    written: usize,
    life: u64,
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
            life: 0,
            task: None,
        }
    }

    /// The process of a job; nobody reaches its ports.
    pub(crate) fn of_job(key: &ClusterKey, spec: &NodeSpec) -> Self {
        let mut process = Self { job: true, ..Self::new(key, spec) };
        process.spec.ports.clear();
        process
    }

    pub(crate) fn life(&self) -> Option<u64> {
        (self.state == NodeState::Running).then_some(self.life)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.log.iter()
    }

    /// The newest lines.
    pub(crate) fn last_words(&self) -> String {
        let lines: Vec<_> =
            self.log.iter().skip(self.log.len().saturating_sub(5)).map(|line| String::from_utf8_lossy(&line.bytes)).collect();
        lines.concat().trim().to_owned()
    }

    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Writes a line, and forgets the oldest beyond the limits.
    pub(crate) fn say(&mut self, stderr: bool, text: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
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
    /// The files among which this path of a node lies, of a volume or of its root.
    pub(crate) fn files(&mut self, node: &str, path: &str) -> Option<&mut Files> {
        let Body::Node(process) = &self.things.get(&(ObjectKind::Node, node.to_owned()))?.body else { return None };
        let volume = process.spec.volumes.iter().find(|volume| path.starts_with(&format!("{}/", volume.path)));
        match volume.map(|volume| volume_name(&process.key, &process.spec.name, &volume.name)) {
            Some(name) => match &mut self.things.get_mut(&(ObjectKind::Volume, name))?.body {
                Body::Volume(files) => Some(files),
                _ => None,
            },
            None => self.process(node).map(|process| &mut process.root),
        }
    }

    pub(crate) fn process(&mut self, node: &str) -> Option<&mut Process> {
        match &mut self.things.get_mut(&(ObjectKind::Node, node.to_owned()))?.body {
            Body::Node(process) => Some(process),
            _ => None,
        }
    }

    fn wake(&mut self, labels: Option<&Labels>, died: Option<i64>) {
        let Some(Labels { instance, cluster, node, .. }) = labels else { return };
        let died = died.zip(node.clone()).map(|(code, node)| Wake::Died { cluster: *cluster, node, code });
        self.watchers.retain(|watcher| {
            let wakes = died.iter().cloned().chain([Wake::Changed(*cluster)]);
            watcher.instance != *instance || wakes.into_iter().all(|wake| watcher.sender.send(wake).is_ok())
        });
    }
}

impl World {
    /// A platform with nothing on it.
    pub fn new() -> Arc<Self> {
        let id = format!("world-{}", InstanceId::new());
        Arc::new_cyclic(|me| Self { me: me.clone(), id, state: Mutex::default(), changed: watch::Sender::new(()) })
    }

    /// The images that every world has.
    pub fn images(&self) -> &'static [&'static str] {
        &["memory/busybox:1"]
    }

    /// Makes something that is not Chainpool's; returns its id.
    pub fn foreign_make(&self, kind: ObjectKind, name: &str) -> String {
        let kind = place(kind);
        let body = match kind {
            ObjectKind::Network => Body::Network(None),
            _ => Body::Volume(Files::new()),
        };
        let mut state = self.state();
        let id = state.next_id();
        state.things.insert((kind, name.to_owned()), Thing { id: id.clone(), labels: None, body });
        id
    }

    /// What something that is not Chainpool's is like; `None` when it is gone.
    pub fn foreign_look(&self, kind: ObjectKind, name: &str) -> Option<String> {
        let state = self.state();
        let thing = state.things.get(&(place(kind), name.to_owned()))?;
        let files = if let Body::Volume(files) = &thing.body { files.len() } else { 0 };
        Some(format!("{} {:?} {files}", thing.id, thing.labels))
    }

    /// Removes whatever has this name, as its owner would.
    pub fn remove(&self, kind: ObjectKind, name: &str) {
        self.stop(name);
        let mut state = self.state();
        if let Some(thing) = state.things.remove(&(place(kind), name.to_owned())) {
            state.wake(thing.labels.as_ref(), None);
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Names all that carries this instance's label.
    pub fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        self.list(|labels| labels.instance == instance).into_iter().map(|(kind, name, _)| format!("{kind:?} {name}")).collect()
    }

    /// Starts again: watchers are lost, nodes that ran run in another life, and jobs that ran were killed.
    pub fn restart(&self) {
        let mut state = self.state();
        state.watchers.clear();
        let running = |thing: &Thing| matches!(&thing.body, Body::Node(process) if process.state == NodeState::Running);
        let names: Vec<_> = state.things.iter().filter(|(_, thing)| running(thing)).map(|((_, name), _)| name.clone()).collect();
        drop(state);
        for name in names {
            if self.state().process(&name).is_some_and(|process| process.job) {
                self.end(&name, 137);
                continue;
            }
            self.stop(&name);
            // Its port was its own a moment ago.
            self.start(&name).expect("what ran can run again");
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

    pub(crate) fn tell_change(&self) {
        self.changed.send_replace(());
    }

    pub(crate) fn list(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<(ObjectKind, String, Labels)> {
        let state = self.state();
        let ours = state.things.iter().filter_map(|((kind, name), thing)| Some((*kind, name.clone(), thing.labels.clone()?)));
        ours.filter(|(.., labels)| wanted(labels)).collect()
    }

    pub(crate) fn objects(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<Object> {
        let state = self.state();
        let ours = state.things.iter().filter(|(_, thing)| thing.labels.as_ref().is_some_and(&wanted));
        ours.filter_map(|((kind, name), thing)| thing.object(*kind, name)).collect()
    }

    pub(crate) fn carries(&self, kind: ObjectKind, name: &str, labels: &Labels) -> bool {
        self.state().things.get(&(kind, name.to_owned())).is_some_and(|thing| thing.labels.as_ref() == Some(labels))
    }

    /// Makes what is not there; what is there with these labels stays; anything else is foreign.
    pub(crate) fn adopt_or_make(&self, kind: ObjectKind, name: &str, ours: &Labels, make: impl FnOnce() -> Body) -> Result<()> {
        let mut state = self.state();
        match state.things.get(&(kind, name.to_owned())) {
            Some(found) if found.labels.as_ref() == Some(ours) => Ok(()),
            Some(_) => Err(Error::Foreign(format!("{kind:?} {name}"))),
            None => {
                let id = state.next_id();
                state.things.insert((kind, name.to_owned()), Thing { id, labels: Some(ours.clone()), body: make() });
                state.wake(Some(ours), None);
                Ok(())
            }
        }
    }

    /// The same for a network; one of ours with other addresses is replaced.
    pub(crate) fn ensure_network(&self, name: &str, ours: &Labels, subnet: Option<Ipv4Net>) -> Result<()> {
        let mut state = self.state();
        let found = state.things.get(&(ObjectKind::Network, name.to_owned()));
        if found.is_some_and(|thing| thing.labels.as_ref() == Some(ours) && matches!(thing.body, Body::Network(now) if now != subnet)) {
            state.things.remove(&(ObjectKind::Network, name.to_owned()));
        }
        let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
        let holder = state.things.iter().find(|((_, other), thing)| match (&thing.body, &subnet) {
            (Body::Network(Some(taken)), Some(wanted)) => other != name && overlaps(taken, wanted),
            _ => false,
        });
        if let (Some(((_, holder), _)), Some(subnet)) = (holder, subnet) {
            let words = format!("the subnet {subnet} overlaps the network {holder}: remove that, or give the host other subnets");
            return Err(Error::Occupied { place: Place::Subnet(subnet), words });
        }
        drop(state);
        self.adopt_or_make(ObjectKind::Network, name, ours, || Body::Network(subnet))
    }

    /// Writes the files of a node that was never started: whoever made it may have been cut off before they were there.
    pub(crate) fn place_files(&self, name: &str, node: &NodeSpec) {
        let mut state = self.state();
        if state.process(name).is_none_or(|process| process.state != NodeState::Created) {
            return;
        }
        for file in &node.files {
            let entry = Entry { content: file.content.expose().clone(), mode: file.mode, owner: file.owner };
            let Some(files) = state.files(name, &file.path) else { continue };
            if !(file.once && files.contains_key(&file.path)) {
                files.insert(file.path.clone(), entry);
            }
        }
    }

    /// Starts a node that does not run; its published ports must be free.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        let Some(process) = state.process(name) else { return Err(Error::Busy(format!("{name} was just removed"))) };
        if process.state == NodeState::Running {
            return Ok(());
        }
        let wanted: BTreeSet<u16> = process.spec.ports.iter().filter_map(|port| port.published).collect();
        let running = state.things.iter().filter_map(|((_, name), thing)| match &thing.body {
            Body::Node(process) if process.state == NodeState::Running => Some((name, process)),
            _ => None,
        });
        let mut taken = running.flat_map(|(name, process)| process.spec.ports.iter().filter_map(move |port| Some((port.published?, name))));
        if let Some((port, holder)) = taken.find(|(port, _)| wanted.contains(port)) {
            let words = format!("port {port} is taken by {holder}: free it or give the host other ports");
            return Err(Error::Occupied { place: Place::Port(port), words });
        }
        let labels = state.things.get(&(ObjectKind::Node, name.to_owned())).and_then(|thing| thing.labels.clone());
        let world = self.me.upgrade().expect("it is being used");
        if let Some(process) = state.process(name) {
            process.life += 1;
            process.state = NodeState::Running;
            process.task =
                Some(tokio::spawn(program::run(world, name.to_owned(), process.life, process.spec.command.clone())).abort_handle());
        }
        state.wake(labels.as_ref(), None);
        Ok(())
    }

    /// Ends a node that runs.
    pub(crate) fn stop(&self, name: &str) {
        self.end(name, 0);
    }

    /// A node's process ended with this code.
    pub(crate) fn end(&self, name: &str, code: i64) {
        let mut state = self.state();
        let labels = state.things.get(&(ObjectKind::Node, name.to_owned())).and_then(|thing| thing.labels.clone());
        let Some(process) = state.process(name).filter(|process| process.state == NodeState::Running) else { return };
        process.state = NodeState::Exited(code);
        process.echoes.clear();
        let died = (!process.job).then_some(code);
        if let Some(task) = process.task.take() {
            task.abort();
        }
        state.wake(labels.as_ref(), died);
        drop(state);
        self.tell_change();
    }

    /// One line of a node's log by its number: `None` when that node is gone, `Some(None)` while it is not written.
    pub(crate) fn line(&self, name: &str, id: &str, number: usize) -> Option<Option<Line>> {
        let state = self.state();
        let thing = state.things.get(&(ObjectKind::Node, name.to_owned())).filter(|thing| thing.id == id)?;
        let Body::Node(process) = &thing.body else { return None };
        let oldest = process.written - process.log.len();
        Some(process.log.get(number.saturating_sub(oldest)).cloned())
    }

    /// The subnet of the network of a node's cluster.
    pub(crate) fn subnet(&self, key: &ClusterKey) -> Option<Ipv4Net> {
        match self.state().things.get(&(ObjectKind::Network, network_name(key)))?.body {
            Body::Network(subnet) => subnet,
            _ => None,
        }
    }
}

/// Nodes and jobs have one place, as their names are of one kind.
fn place(kind: ObjectKind) -> ObjectKind {
    if kind == ObjectKind::Job { ObjectKind::Node } else { kind }
}

impl State {
    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("thing-{}", self.count)
    }
}
