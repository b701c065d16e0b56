//! What is ours in the swarm: one label-filtered listing a kind of object, and one of the machines.

use super::{
    machine::Seen,
    manager::Manager,
    service::LABEL_PART,
    task::{Course, Task, newest},
};
use crate::observe::{Filter, object};
use bollard::models::Service;
use chainpool_agent::{Labels, NodeState, Object, ObjectKind, Observation, Result, Scope};
use std::collections::HashMap;

impl Manager<'_> {
    pub(super) async fn objects_observe(&self, scope: Scope) -> Result<Observation> {
        let filter = match scope {
            Scope::Host => Filter::instance(self.hands.instance),
            Scope::Cluster(cluster) => Filter::cluster(self.hands.instance, cluster),
        };
        let labels = filter.as_map();
        let (services, tasks, machines, networks, records, secrets) = tokio::try_join!(
            self.services(&labels),
            self.tasks(&filter),
            self.machines(),
            self.hands.networks_list(&filter),
            self.records(&filter),
            self.secrets(&filter),
        )?;
        let away: HashMap<String, String> = machines.into_iter().filter_map(|Seen { machine, away }| Some((machine.id, away?))).collect();
        let mut objects: Vec<Object> = services.into_iter().filter_map(|service| service_object(service, &tasks, &away)).collect();
        objects.extend(networks);
        for record in records {
            let Labels { instance: _, cluster, generation, node, hash: _ } = record.labels.clone();
            objects.extend(record.volumes().into_iter().map(|(name, _)| Object {
                kind: ObjectKind::Volume,
                id: name.clone(),
                name,
                cluster,
                generation,
                node: node.clone(),
                hash: None,
                state: None,
            }));
        }
        objects.extend(secrets.into_iter().map(|piece| {
            let Labels { instance: _, cluster, generation, node, hash } = piece.labels;
            Object { kind: ObjectKind::Part, name: piece.name, id: piece.id, cluster, generation, node, hash, state: None }
        }));
        Ok(Observation { objects })
    }
}

fn service_object(service: Service, tasks: &[Task], away: &HashMap<String, String>) -> Option<Object> {
    let spec = service.spec?;
    let labels = spec.labels.unwrap_or_default();
    let part = labels.contains_key(LABEL_PART);
    let id = service.id.unwrap_or_default();
    let wanted = spec.mode.and_then(|m| m.replicated).and_then(|r| r.replicas).unwrap_or_default();
    let state = state(wanted, tasks.iter().filter(|t| t.service == id), away);
    let kind = if part { ObjectKind::Part } else { ObjectKind::Node };
    object(kind, spec.name.unwrap_or_default(), Some(id), &labels, (!part).then_some(state))
}

/// A node's state by its tasks. What a machine that is away did last is no state: nobody knows.
fn state<'a>(wanted: i64, tasks: impl Iterator<Item = &'a Task>, away: &HashMap<String, String>) -> NodeState {
    let tasks: Vec<_> = tasks.collect();
    let machine = |task: &Task| task.machine.as_ref().and_then(|id| away.get(id)).cloned();
    if let Some(why) = tasks.iter().filter(|t| !t.is_over()).find_map(|t| machine(t)) {
        return NodeState::Changing(why);
    }
    let Some(task) = newest(tasks.iter().copied()) else {
        return if wanted == 0 { NodeState::Created } else { NodeState::Changing("the swarm has not begun to start it".to_owned()) };
    };
    match task.course() {
        Course::Runs if task.ending => NodeState::Changing("stopping".to_owned()),
        Course::Runs => NodeState::Running,
        Course::Ended(code) => NodeState::Exited(code),
        Course::Before | Course::Failed => NodeState::Changing(format!("{}: {}", task.state, task.words)),
    }
}
