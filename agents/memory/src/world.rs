//! The platform: all objects by kind and name, ours and foreign.

use crate::{
    fault::Script,
    ledger::{Copy, NodeBehavior},
    process::{Process, Program},
    program,
};
use chainpool_agent::{
    ClusterKey, Error, InstanceId, Labels, NodeState, Object, ObjectKind, Place, ResourcesInUse, Result,
    Wake, volume_name,
};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    time::Instant,
};

/// The initial images of every world.
pub(crate) const IMAGES: [&str; 2] = ["memory/busybox:1", "memory/ledger:1"];

/// A platform in memory.
pub struct World {
    me: Weak<World>,
    state: Mutex<State>,
    /// Notified after each change.
    changed: watch::Sender<()>,
}

pub(crate) struct State {
    pub(crate) engine_id: String,
    pub(crate) objects: BTreeMap<Name, Entity>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) script: Script,
    /// The time up to which the blocks of each ledger are counted.
    pub(crate) chains: BTreeMap<ClusterKey, Instant>,
    pub(crate) images: BTreeSet<String>,
    /// The reason while it is unreachable.
    pub(crate) unreachable: Option<String>,
    /// The frozen objects of stale listings.
    pub(crate) stale: Option<BTreeMap<Name, Entity>>,
    /// Ports that programs of the machine listen on.
    pub(crate) ports: BTreeSet<u16>,
    /// How far its ledgers are ahead of the clock.
    pub(crate) ahead: Duration,
    count: u64,
    /// The start by the wall clock (since 1970) and by tokio's clock.
    epoch: (Duration, Instant),
}

pub(crate) type Name = (ObjectKind, String);

pub(crate) struct Watcher {
    pub(crate) instance: InstanceId,
    pub(crate) sender: UnboundedSender<Wake>,
}

/// One object.
#[derive(Clone)]
pub(crate) struct Entity {
    pub(crate) id: String,
    /// `None`: foreign.
    pub(crate) labels: Option<Labels>,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Network(Option<Ipv4Net>),
    Volume(Volume),
    Node(Box<Process>),
}

/// The content of a volume: files, and a node's copy of its ledger.
#[derive(Clone, Default)]
pub(crate) struct Volume {
    pub(crate) files: Files,
    pub(crate) ledger: Option<Copy>,
}

/// Files by their paths in a node.
pub(crate) type Files = BTreeMap<String, FileEntry>;

#[derive(Clone)]
pub(crate) struct FileEntry {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// The namespace of a kind: nodes and jobs share one.
pub(crate) fn place(kind: ObjectKind) -> ObjectKind {
    if kind == ObjectKind::Job {
        ObjectKind::Node
    } else {
        kind
    }
}

impl Entity {
    /// The object as an observation lists it.
    pub(crate) fn object(&self, kind: ObjectKind, name: &str) -> Option<Object> {
        let Labels {
            instance: _,
            cluster,
            generation,
            node,
            hash,
        } = self.labels.clone()?;
        let (kind, state) = match &self.body {
            Body::Node(process) if process.job => (ObjectKind::Job, Some(process.state.clone())),
            Body::Node(process) => (kind, Some(process.state.clone())),
            Body::Network(_) | Body::Volume(_) => (kind, None),
        };
        Some(Object {
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

impl State {
    fn new(engine_id: String) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            engine_id,
            objects: BTreeMap::new(),
            watchers: Vec::new(),
            script: Script::default(),
            chains: BTreeMap::new(),
            images: IMAGES.map(str::to_owned).into(),
            unreachable: None,
            stale: None,
            ports: BTreeSet::new(),
            ahead: Duration::ZERO,
            count: 0,
            epoch: (wall, Instant::now()),
        }
    }

    /// The second (Unix time) by tokio's clock.
    pub(crate) fn second(&self) -> i64 {
        let (wall, instant) = self.epoch;
        i64::try_from((wall + instant.elapsed()).as_secs()).unwrap_or(i64::MAX)
    }

    /// Fails while the platform is unreachable.
    pub(crate) fn answers(&self) -> Result<()> {
        self.unreachable
            .as_ref()
            .map_or(Ok(()), |why| Err(Error::Unreachable(why.clone())))
    }

    pub(crate) fn has_image(&self, name: &str) -> bool {
        self.images.contains(name)
    }

    pub(crate) fn next_id(&mut self) -> String {
        self.count += 1;
        format!("object-{}", self.count)
    }

    pub(crate) fn process(&self, name: &str) -> Option<&Process> {
        match &self.objects.get(&(ObjectKind::Node, name.to_owned()))?.body {
            Body::Node(process) => Some(process),
            Body::Network(_) | Body::Volume(_) => None,
        }
    }

    pub(crate) fn process_mut(&mut self, name: &str) -> Option<&mut Process> {
        match &mut self.objects.get_mut(&(ObjectKind::Node, name.to_owned()))?.body {
            Body::Node(process) => Some(process),
            Body::Network(_) | Body::Volume(_) => None,
        }
    }

    pub(crate) fn volume_mut(&mut self, name: String) -> Option<&mut Volume> {
        match &mut self.objects.get_mut(&(ObjectKind::Volume, name))?.body {
            Body::Volume(volume) => Some(volume),
            Body::Network(_) | Body::Node(_) => None,
        }
    }

    /// The files that contain this path of a node: those of a volume, or of its root.
    pub(crate) fn files(&mut self, node: &str, path: &str) -> Option<&mut Files> {
        let process = self.process(node)?;
        let volume = process
            .spec
            .volumes
            .iter()
            .find(|volume| path.starts_with(&format!("{}/", volume.path)));
        match volume.map(|volume| volume_name(&process.key, &process.spec.name, &volume.name)) {
            Some(name) => self.volume_mut(name).map(|volume| &mut volume.files),
            None => self.process_mut(node).map(|process| &mut process.root),
        }
    }

    pub(crate) fn labels(&self, name: &str) -> Option<Labels> {
        self.objects
            .get(&(ObjectKind::Node, name.to_owned()))?
            .labels
            .clone()
    }

    /// Wakes the watchers of an instance; `died` is the exit code of a node's process.
    pub(crate) fn wake(&mut self, labels: Option<&Labels>, died: Option<i64>) {
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
            let mut wakes = died.iter().cloned().chain([Wake::Changed(*cluster)]);
            watcher.instance != *instance || wakes.all(|wake| watcher.sender.send(wake).is_ok())
        });
    }

    /// The objects as listed.
    fn listed(&self) -> &BTreeMap<Name, Entity> {
        self.stale.as_ref().unwrap_or(&self.objects)
    }

    /// Our matching objects, as listed.
    pub(crate) fn observed(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<Object> {
        let ours = self
            .listed()
            .iter()
            .filter(|(_, entity)| entity.labels.as_ref().is_some_and(&wanted));
        ours.filter_map(|((kind, name), entity)| entity.object(*kind, name))
            .collect()
    }

    /// Resources in use by others than this instance.
    pub(crate) fn resources_in_use(&self, instance: InstanceId) -> ResourcesInUse {
        let mut in_use = ResourcesInUse {
            networks: Vec::new(),
            ports: self.ports.clone(),
        };
        for entity in self.listed().values().filter(|entity| {
            entity
                .labels
                .as_ref()
                .is_none_or(|labels| labels.instance != instance)
        }) {
            match &entity.body {
                Body::Network(subnet) => in_use.networks.extend(subnet),
                Body::Node(process) if process.is_alive() => {
                    in_use
                        .ports
                        .extend(process.spec.ports.iter().filter_map(|port| port.published));
                }
                Body::Node(_) | Body::Volume(_) => {}
            }
        }
        in_use
    }

    /// A published port of a process that is in use by another, with its holder.
    fn port_conflict(&self, name: &str) -> Option<(u16, String)> {
        let wanted: BTreeSet<u16> = self
            .process(name)?
            .spec
            .ports
            .iter()
            .filter_map(|port| port.published)
            .collect();
        let own = wanted
            .intersection(&self.ports)
            .next()
            .map(|port| (*port, "a program of the machine".to_owned()));
        let held = |((kind, other), entity): (&Name, &Entity)| match &entity.body {
            Body::Node(process) if *kind == ObjectKind::Node && other != name && process.is_alive() => {
                process
                    .spec
                    .ports
                    .iter()
                    .filter_map(|port| port.published)
                    .find(|port| wanted.contains(port))
                    .map(|port| (port, other.clone()))
            }
            _ => None,
        };
        own.or_else(|| self.objects.iter().find_map(held))
    }
}

impl World {
    /// An empty platform.
    pub fn new() -> Arc<Self> {
        Self::with(State::new(format!("world-{}", InstanceId::new())))
    }

    fn with(state: State) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        })
    }

    /// A platform that never answers.
    pub(crate) fn unreachable(address: &str) -> Arc<Self> {
        let state = State {
            unreachable: Some(format!("nothing answers at {address}")),
            ..State::new(String::new())
        };
        Self::with(state)
    }

    /// An independent copy of the platform in its current state, with its scripted faults. Ledgers continue
    /// in it; running steps of the conformance kit do not.
    pub fn snapshot(&self) -> Arc<Self> {
        let state = self.state();
        let copy = State {
            objects: state.objects.clone(),
            script: state.script.clone(),
            chains: state.chains.clone(),
            images: state.images.clone(),
            ports: state.ports.clone(),
            ahead: state.ahead,
            count: state.count,
            epoch: state.epoch,
            ..State::new(state.engine_id.clone())
        };
        Self::with(copy)
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

    /// Creates an absent object. One with these labels stays; any other is foreign.
    pub(crate) fn adopt_or_create(
        &self,
        kind: ObjectKind,
        name: &str,
        ours: &Labels,
        create: impl FnOnce() -> Body,
    ) -> Result<()> {
        let mut state = self.state();
        match state.objects.get(&(kind, name.to_owned())) {
            Some(found) if found.labels.as_ref() == Some(ours) => Ok(()),
            Some(_) => Err(Error::Foreign(format!("{kind:?} {name}"))),
            None => {
                let id = state.next_id();
                state.catch_up_all();
                state.objects.insert(
                    (kind, name.to_owned()),
                    Entity {
                        id,
                        labels: Some(ours.clone()),
                        body: create(),
                    },
                );
                state.catch_up_all();
                state.wake(Some(ours), None);
                Ok(())
            }
        }
    }

    /// The same for a network. One of ours with another subnet is replaced.
    pub(crate) fn ensure_network(&self, name: &str, ours: &Labels, subnet: Option<Ipv4Net>) -> Result<()> {
        let mut state = self.state();
        let own = (ObjectKind::Network, name.to_owned());
        let outdated = |entity: &Entity| {
            entity.labels.as_ref() == Some(ours) && matches!(entity.body, Body::Network(now) if now != subnet)
        };
        if state.objects.get(&own).is_some_and(outdated) {
            state.objects.remove(&own);
        }
        let overlaps = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
        let holder = state
            .objects
            .iter()
            .find(|(other, entity)| match (&entity.body, &subnet) {
                (Body::Network(Some(used)), Some(wanted)) => **other != own && overlaps(used, wanted),
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

    /// Starts a stopped node. Its published ports must be free.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        let (key, was) = match state.process(name) {
            Some(process) => (process.key, process.state.clone()),
            None => return Err(Error::Busy(format!("{name} was just removed"))),
        };
        if was == NodeState::Running {
            return Ok(());
        }
        if let Some((port, holder)) = state.port_conflict(name) {
            let reason = format!("port {port} is in use by {holder}: free it or give the host other ports");
            return Err(Error::Occupied {
                place: Place::Port(port),
                reason,
            });
        }
        let (labels, at) = (state.labels(name), state.second());
        let world = self.me.upgrade().expect("the caller holds it");
        state.catch_up(key);
        if let Some(process) = state.process_mut(name) {
            process.state = NodeState::Running;
            if was != NodeState::Paused {
                process.starts += 1;
                process.behavior = NodeBehavior::default();
                match process.program.clone() {
                    Program::Steps(steps) => {
                        process.task = Some(
                            tokio::spawn(program::run(world, name.to_owned(), process.starts, steps))
                                .abort_handle(),
                        );
                    }
                    Program::Ledger(_) => process.say(at, false, "ledger node started"),
                    Program::Setup(code) => {
                        process.say(at, false, "setup done");
                        process.state = NodeState::Exited(code);
                    }
                    Program::Absent => {
                        let text = format!("not found: {:?}", process.spec.command);
                        process.say(at, true, &text);
                        process.state = NodeState::Exited(127);
                    }
                }
            }
        }
        state.catch_up(key);
        let ended = match state.process(name) {
            Some(Process {
                state: NodeState::Exited(code),
                job: false,
                ..
            }) => Some(*code),
            _ => None,
        };
        state.wake(labels.as_ref(), ended);
        drop(state);
        self.notify();
        Ok(())
    }

    /// Ends a node's process with this code.
    pub(crate) fn end(&self, name: &str, code: i64) {
        let mut state = self.state();
        let labels = state.labels(name);
        let Some(key) = state
            .process(name)
            .filter(|process| process.is_alive())
            .map(|process| process.key)
        else {
            return;
        };
        state.catch_up(key);
        let mut died = None;
        if let Some(process) = state.process_mut(name) {
            process.state = NodeState::Exited(code);
            process.echoes.clear();
            died = (!process.job).then_some(code);
            if let Some(task) = process.task.take() {
                task.abort();
            }
        }
        state.catch_up(key);
        state.wake(labels.as_ref(), died);
        drop(state);
        self.notify();
    }
}
