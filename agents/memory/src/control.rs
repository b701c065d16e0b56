//! Test controls of a platform: faults, and everything that its owner could do by hand.

use crate::{
    World,
    fault::{Fault, Verb},
    ledger::NodeBehavior,
    state::{Body, Entity, place},
};
use chainpool_agent::{ClusterKey, InstanceId, NodeName, NodeState, Object, ObjectKind, node_object_name};
use ipnet::Ipv4Net;
use std::time::Duration;

impl World {
    /// Scripts the next call of a verb without a scripted fault.
    pub fn next(&self, verb: Verb, fault: Fault) {
        self.state().script.push(verb, fault);
    }

    /// Scripts every call of a verb; `None` clears the fault.
    pub fn always(&self, verb: Verb, fault: Option<Fault>) {
        self.state().script.set_standing(verb, fault);
        self.notify();
    }

    /// Clears all faults of a verb.
    pub fn clear_faults(&self, verb: Verb) {
        self.state().script.clear(verb);
        self.notify();
    }

    /// The number of calls of a verb.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.state().script.calls(verb)
    }

    /// Disconnects or reconnects the host. Its nodes keep running; watches are lost.
    pub fn set_reachable(&self, reachable: bool) {
        let mut state = self.state();
        state.unreachable = (!reachable).then(|| "the host is cut off".to_owned());
        if !reachable {
            state.watchers.clear();
        }
        drop(state);
        self.notify();
    }

    /// Freezes listings at the current objects, or unfreezes them.
    pub fn set_stale(&self, frozen: bool) {
        let mut state = self.state();
        state.stale = frozen.then(|| state.objects.clone());
    }

    /// Advances the ledgers by this time: their blocks come at once.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.catch_up_all();
        state.ahead += time;
        state.catch_up_all();
    }

    /// Replaces the engine by a clone with the same objects and another id.
    pub fn swap_engine(&self) {
        self.state().engine_id.push_str("-clone");
    }

    /// Restores the first engine.
    pub fn swap_back(&self) {
        let mut state = self.state();
        state.engine_id = state.engine_id.replace("-clone", "");
    }

    /// Adds or removes an image.
    pub fn set_image(&self, name: &str, present: bool) {
        let mut state = self.state();
        if present {
            state.images.insert(name.to_owned());
        } else {
            state.images.remove(name);
        }
    }

    /// Occupies or frees a port, as another program of the machine.
    pub fn set_port_in_use(&self, port: u16, in_use: bool) {
        let mut state = self.state();
        if in_use {
            state.ports.insert(port);
        } else {
            state.ports.remove(&port);
        }
    }

    /// Creates a foreign object and returns its id.
    pub fn foreign_create(&self, kind: ObjectKind, name: &str, subnet: Option<Ipv4Net>) -> String {
        let body = match place(kind) {
            ObjectKind::Network => Body::Network(subnet),
            _ => Body::Volume(Box::default()),
        };
        let mut state = self.state();
        let id = state.next_id();
        state.objects.insert(
            (place(kind), name.to_owned()),
            Entity {
                id,
                labels: None,
                body,
            },
        );
        id.to_string()
    }

    /// The state of a foreign object as a text that changes when the object is touched; `None` when it is
    /// gone.
    pub fn foreign_state(&self, kind: ObjectKind, name: &str) -> Option<String> {
        let state = self.state();
        let entity = state.objects.get(&(place(kind), name.to_owned()))?;
        let files = if let Body::Volume(volume) = &entity.body {
            volume.files.len()
        } else {
            0
        };
        Some(format!("{} {:?} {files}", entity.id, entity.labels))
    }

    /// Removes an object by name, as its owner may. Absent is success.
    pub fn remove(&self, kind: ObjectKind, name: &str) {
        if place(kind) == ObjectKind::Node {
            self.end(name, 137);
        }
        let mut state = self.state();
        let labels = state
            .objects
            .get(&(place(kind), name.to_owned()))
            .and_then(|entity| entity.labels.clone());
        state.catch_up_all();
        state.objects.remove(&(place(kind), name.to_owned()));
        state.catch_up_all();
        state.wake(labels.as_ref(), None);
        drop(state);
        self.notify();
    }

    /// Renames an object, as its owner may; `false` when it does not exist.
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

    /// All objects of an instance, regardless of faults.
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

    /// Names all objects with this instance's label.
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

    /// The current incarnation of a node: its object's id and number of starts.
    pub fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Option<(String, u64)> {
        let (state, name) = (self.state(), node_object_name(key, node));
        let number = state.process(&name)?.incarnation()?;
        Some((
            state.objects.get(&(ObjectKind::Node, name))?.id.to_string(),
            number,
        ))
    }

    /// Kills a node's process with this exit code. It stays down until started.
    pub fn kill(&self, key: &ClusterKey, node: &NodeName, code: i64) {
        self.end(&node_object_name(key, node), code);
    }

    /// Pauses or resumes a node's process.
    pub fn set_paused(&self, key: &ClusterKey, node: &NodeName, paused: bool) {
        let name = node_object_name(key, node);
        let mut state = self.state();
        let labels = state.labels(&name);
        state.catch_up(*key);
        if let Some(process) = state.process_mut(&name).filter(|process| process.is_alive()) {
            process.state = if paused {
                NodeState::Paused
            } else {
                NodeState::Running
            };
        }
        state.catch_up(*key);
        state.wake(labels.as_ref(), None);
        drop(state);
        self.notify();
    }

    /// Scripts the behavior of a ledger node until its next start.
    pub fn set_behavior(&self, key: &ClusterKey, node: &NodeName, behavior: NodeBehavior) {
        let mut state = self.state();
        state.catch_up(*key);
        if let Some(process) = state.process_mut(&node_object_name(key, node)) {
            process.behavior = behavior;
        }
        state.catch_up(*key);
    }

    /// Reboots the machine: watches are lost, running nodes restart, running jobs are killed.
    pub fn restart(&self) {
        let mut state = self.state();
        state.watchers.clear();
        let running = state
            .objects
            .iter()
            .filter_map(|((_, name), entity)| match &entity.body {
                Body::Node(process) if process.is_alive() => Some((name.clone(), process.job)),
                _ => None,
            });
        let running: Vec<_> = running.collect();
        drop(state);
        for (name, job) in running {
            self.end(&name, if job { 137 } else { 0 });
            if !job {
                // Its ports cannot be in use: it held them until now.
                self.start(&name).expect("a node that ran can run again");
            }
        }
    }
}
