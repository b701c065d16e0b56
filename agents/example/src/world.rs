//! The platform: its state behind a lock, and what an agent does to it.

use crate::state::{Body, Entity, Entry, Files, Line, State};
use chainpool_agent::{
    ClusterKey, Error, InstanceId, Labels, NodeSpec, NodeState, Object, ObjectKind, Place, Result,
    network_name,
};
use ipnet::Ipv4Net;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::watch;

/// A platform in memory.
pub struct World {
    pub(crate) me: Weak<World>,
    id: String,
    state: Mutex<State>,
    /// Notified after each change.
    changed: watch::Sender<()>,
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
