//! The platform: its state behind a lock, and what an agent does to it.

use crate::state::{Body, Entity, State};
use chainpool_agent::{Error, InstanceId, Labels, NodeState, ObjectKind, Place, Result};
use ipnet::Ipv4Net;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::watch;

/// A platform in memory.
pub struct World {
    pub(crate) me: Weak<World>,
    state: Mutex<State>,
    /// Notified after each change.
    changed: watch::Sender<()>,
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
