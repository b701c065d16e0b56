//! The state of the platform: all objects by kind and name, ours and foreign.

use crate::{fault::Script, files::Files, ledger::Copy, process::Process};
use chainpool_agent::{
    ClusterKey, Error, InstanceId, Labels, Object, ObjectKind, ResourcesInUse, Result, Wake,
};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

/// The initial images of every world.
pub(crate) const IMAGES: [&str; 2] = ["memory/busybox:1", "memory/ledger:1"];

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
    pub(crate) count: u64,
    /// The start by the wall clock (since 1970) and by tokio's clock.
    pub(crate) epoch: (Duration, Instant),
}

pub(crate) type Name = (ObjectKind, String);

pub(crate) struct Watcher {
    pub(crate) instance: InstanceId,
    pub(crate) sender: UnboundedSender<Wake>,
}

/// One object.
#[derive(Clone)]
pub(crate) struct Entity {
    pub(crate) id: EntityId,
    /// `None`: foreign.
    pub(crate) labels: Option<Labels>,
    pub(crate) body: Body,
}

/// The platform's own id of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityId(u64);

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object-{}", self.0)
    }
}

#[derive(Clone)]
pub(crate) enum Body {
    Network(Option<Ipv4Net>),
    Volume(Box<Volume>),
    Node(Box<Process>),
}

/// The content of a volume: files, and a node's copy of its ledger.
#[derive(Clone, Default)]
pub(crate) struct Volume {
    pub(crate) files: Files,
    pub(crate) ledger: Option<Copy>,
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
            Body::Node(process) => (kind, Some(process.reported_state())),
            Body::Network(_) | Body::Volume(_) => (kind, None),
        };
        Some(Object {
            kind,
            name: name.to_owned(),
            id: self.id.to_string(),
            cluster,
            generation,
            node,
            hash,
            state,
        })
    }
}

impl State {
    pub(crate) fn new(engine_id: String) -> Self {
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

    pub(crate) fn next_id(&mut self) -> EntityId {
        self.count += 1;
        EntityId(self.count)
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
        match volume.map(|volume| volume.object_name(&process.key, &process.spec.name)) {
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
                    in_use.ports.extend(&process.spec.published);
                }
                Body::Node(_) | Body::Volume(_) => {}
            }
        }
        in_use
    }

    /// A published port of a process that is in use by another, with its holder.
    pub(crate) fn port_conflict(&self, name: &str) -> Option<(u16, String)> {
        let wanted = &self.process(name)?.spec.published;
        let own = wanted
            .iter()
            .find(|port| self.ports.contains(port))
            .map(|port| (*port, "a program of the machine".to_owned()));
        let held = |((kind, other), entity): (&Name, &Entity)| match &entity.body {
            Body::Node(process) if *kind == ObjectKind::Node && other != name && process.is_alive() => {
                let taken = process.spec.published.iter().find(|port| wanted.contains(port));
                taken.map(|port| (*port, other.clone()))
            }
            _ => None,
        };
        own.or_else(|| self.objects.iter().find_map(held))
    }
}
