//! What a test does to a platform by hand: faults, and all that its owner could do to it.

use crate::{
    World,
    fault::{Fault, Verb},
    ledger::Conduct,
    world::{Body, Entity, Volume, place},
};
use chainpool_agent::{ClusterKey, InstanceId, NodeName, NodeState, Object, ObjectKind, node_object_name};
use ipnet::Ipv4Net;
use std::time::Duration;

impl World {
    /// Scripts the next call of a verb that has no fault scripted yet.
    pub fn next(&self, verb: Verb, fault: Fault) {
        self.state().script.push(verb, fault);
    }

    /// Scripts every call of a verb, until `None` lifts the fault.
    pub fn always(&self, verb: Verb, fault: Option<Fault>) {
        self.state().script.stand(verb, fault);
        self.notify();
    }

    /// Lifts all faults of a verb.
    pub fn forget_faults(&self, verb: Verb) {
        self.state().script.forget(verb);
        self.notify();
    }

    /// How many calls of a verb came.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.state().script.calls(verb)
    }

    /// Cuts the host off, or connects it again. Its nodes go on; watches are lost.
    pub fn set_reachable(&self, reachable: bool) {
        let mut state = self.state();
        state.away = (!reachable).then(|| "the host is cut off".to_owned());
        if !reachable {
            state.watchers.clear();
        }
        drop(state);
        self.notify();
    }

    /// From now on listings show the objects as they are now, until they are fresh again.
    pub fn set_stale(&self, frozen: bool) {
        let mut state = self.state();
        state.stale = frozen.then(|| state.objects.clone());
    }

    /// Lets time pass for the ledgers: blocks come as if they had waited for so long.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.settle_all();
        state.ahead += time;
        state.settle_all();
    }

    /// Another engine answers from now on, with the same objects, as a clone does.
    pub fn swap_engine(&self) {
        self.state().engine_id.push_str("-clone");
    }

    /// The engine that was there first answers again.
    pub fn swap_back(&self) {
        let mut state = self.state();
        state.engine_id = state.engine_id.replace("-clone", "");
    }

    /// Takes an image away, or brings it.
    pub fn set_image(&self, name: &str, present: bool) {
        let mut state = self.state();
        if present {
            state.images.insert(name.to_owned());
        } else {
            state.images.remove(name);
        }
    }

    /// A program of the machine listens on this port, or no more.
    pub fn set_port_taken(&self, port: u16, taken: bool) {
        let mut state = self.state();
        if taken {
            state.ports.insert(port);
        } else {
            state.ports.remove(&port);
        }
    }

    /// Makes something that is not Chainpool's; returns its id.
    pub fn foreign_make(&self, kind: ObjectKind, name: &str, subnet: Option<Ipv4Net>) -> String {
        let body = match place(kind) {
            ObjectKind::Network => Body::Network(subnet),
            _ => Body::Volume(Volume::default()),
        };
        let mut state = self.state();
        let id = state.next_id();
        state.objects.insert(
            (place(kind), name.to_owned()),
            Entity {
                id: id.clone(),
                labels: None,
                body,
            },
        );
        id
    }

    /// A text that differs once a foreign object was touched; `None` when it is gone.
    pub fn foreign_look(&self, kind: ObjectKind, name: &str) -> Option<String> {
        let state = self.state();
        let entity = state.objects.get(&(place(kind), name.to_owned()))?;
        let files = if let Body::Volume(volume) = &entity.body {
            volume.files.len()
        } else {
            0
        };
        Some(format!("{} {:?} {files}", entity.id, entity.labels))
    }

    /// Removes the object of this name, as its owner would by hand. Absent is success.
    pub fn remove(&self, kind: ObjectKind, name: &str) {
        if place(kind) == ObjectKind::Node {
            self.end(name, 137);
        }
        let mut state = self.state();
        let labels = state
            .objects
            .get(&(place(kind), name.to_owned()))
            .and_then(|entity| entity.labels.clone());
        state.settle_all();
        state.objects.remove(&(place(kind), name.to_owned()));
        state.settle_all();
        state.wake(labels.as_ref(), None);
        drop(state);
        self.notify();
    }

    /// Gives an object another name, as its owner may by hand; `false` when there is none.
    pub fn rename(&self, kind: ObjectKind, name: &str, to: &str) -> bool {
        let mut state = self.state();
        let Some(entity) = state.objects.remove(&(place(kind), name.to_owned())) else {
            return false;
        };
        let labels = entity.labels.clone();
        state.objects.insert((place(kind), to.to_owned()), entity);
        state.wake(labels.as_ref(), None);
        true
    }

    /// All objects of an instance, past every fault.
    pub fn objects(&self, instance: InstanceId) -> Vec<Object> {
        let state = self.state();
        let ours = state.objects.iter().filter(|(_, entity)| {
            entity
                .labels
                .as_ref()
                .is_some_and(|labels| labels.instance == instance)
        });
        ours.filter_map(|((kind, name), entity)| entity.object(*kind, name))
            .collect()
    }

    /// Names all that carries this instance's label.
    pub fn leftovers(&self, instance: InstanceId) -> Vec<String> {
        self.objects(instance)
            .into_iter()
            .map(|object| format!("{:?} {}", object.kind, object.name))
            .collect()
    }

    /// The subnets of an instance's networks.
    pub fn subnets(&self, instance: InstanceId) -> Vec<Ipv4Net> {
        let state = self.state();
        let ours = state.objects.values().filter(|entity| {
            entity
                .labels
                .as_ref()
                .is_some_and(|labels| labels.instance == instance)
        });
        ours.filter_map(|entity| {
            if let Body::Network(subnet) = entity.body {
                subnet
            } else {
                None
            }
        })
        .collect()
    }

    /// The present life of a node, by its object's id and how often it was started.
    pub fn life(&self, key: &ClusterKey, node: &NodeName) -> Option<(String, u64)> {
        let (state, name) = (self.state(), node_object_name(key, node));
        let life = state.process(&name)?.life()?;
        Some((state.objects.get(&(ObjectKind::Node, name))?.id.clone(), life))
    }

    /// Ends a node's process from outside, with this exit code. It stays down until somebody starts it.
    pub fn kill(&self, key: &ClusterKey, node: &NodeName, code: i64) {
        self.end(&node_object_name(key, node), code);
    }

    /// Freezes a node's process, or lets it go on.
    pub fn set_paused(&self, key: &ClusterKey, node: &NodeName, paused: bool) {
        let name = node_object_name(key, node);
        let mut state = self.state();
        let labels = state.labels(&name);
        state.settle(*key);
        if let Some(process) = state.process_mut(&name).filter(|process| process.lives_now()) {
            process.state = if paused {
                NodeState::Paused
            } else {
                NodeState::Running
            };
        }
        state.settle(*key);
        state.wake(labels.as_ref(), None);
        drop(state);
        self.notify();
    }

    /// Scripts a node of a ledger, until its process is started anew.
    pub fn set_conduct(&self, key: &ClusterKey, node: &NodeName, conduct: Conduct) {
        let mut state = self.state();
        state.settle(*key);
        if let Some(process) = state.process_mut(&node_object_name(key, node)) {
            process.conduct = conduct;
        }
        state.settle(*key);
    }

    /// Starts again, as a machine does: watches are lost, nodes that ran run in another life, and jobs that ran were killed.
    pub fn restart(&self) {
        let mut state = self.state();
        state.watchers.clear();
        let running = state
            .objects
            .iter()
            .filter_map(|((_, name), entity)| match &entity.body {
                Body::Node(process) if process.lives_now() => Some((name.clone(), process.job)),
                _ => None,
            });
        let running: Vec<_> = running.collect();
        drop(state);
        for (name, job) in running {
            self.end(&name, if job { 137 } else { 0 });
            if !job {
                // Its ports were its own a moment ago.
                self.start(&name).expect("a node that ran can run again");
            }
        }
    }
}
