//! What is ours in the swarm: one label-filtered listing a kind of object, and one of the machines.

use super::{
    machine::Seen,
    manager::Manager,
    node::ports_of,
    record::Success,
    service::LABEL_PART,
    task::{Course, Task, newest},
};
use crate::observe::{Filter, network_object, object};
use bollard::models::{Network, Service};
use chainpool_agent::{LABEL_JOB, Labels, NodeState, Object, ObjectKind, Observation, Result, Scope, Taken};
use std::collections::{BTreeSet, HashMap};

impl Manager<'_> {
    pub(super) async fn objects_observe(&self, scope: Scope) -> Result<Observation> {
        let hands = self.hands;
        // Of a whole host, services and networks are listed without a filter: others' are in the way of ours.
        let (filter, asked) = match scope {
            Scope::Host => (Filter::instance(hands.instance), HashMap::new()),
            Scope::Cluster(cluster) => (
                Filter::cluster(hands.instance, cluster),
                Filter::cluster(hands.instance, cluster).as_map(),
            ),
        };
        let (services, tasks, machines, networks, records, secrets) = tokio::try_join!(
            self.services(&asked),
            self.tasks(&filter),
            self.machines(),
            hands.networks(&asked),
            self.records(&filter),
            self.secrets(&filter),
        )?;
        let taken = match scope {
            Scope::Host => self.taken(&services, &networks).await?,
            Scope::Cluster(_) => Taken::default(),
        };
        let networks = networks
            .into_iter()
            .filter(|network| hands.owns(network.labels.as_ref()));
        let services = services.into_iter().filter(|service| hands.owns(labels(service)));
        let away: HashMap<String, String> = machines
            .into_iter()
            .filter_map(|Seen { machine, away }| Some((machine.id, away?)))
            .collect();
        let mut objects: Vec<Object> = services
            .filter_map(|service| service_object(service, &tasks, &away))
            .collect();
        let success = |success: Success| {
            let Labels {
                instance: _,
                cluster,
                generation,
                node,
                hash,
            } = success.labels;
            let state = Some(NodeState::Exited(0));
            Object {
                kind: ObjectKind::Job,
                name: success.name,
                id: success.id,
                cluster,
                generation,
                node,
                hash,
                state,
            }
        };
        let successes: Vec<Object> = records.successes.into_iter().map(success).collect();
        // Until a job that ended well is removed, its service is no more than a part of it.
        for object in objects.iter_mut().filter(|object| object.kind == ObjectKind::Job) {
            let is_its = |s: &Object| {
                (s.cluster, s.generation, &s.node, &s.hash)
                    == (object.cluster, object.generation, &object.node, &object.hash)
            };
            if successes.iter().any(is_its) {
                (object.kind, object.state) = (ObjectKind::Part, None);
            }
        }
        objects.extend(successes);
        objects.extend(networks.filter_map(network_object));
        for record in records.volumes {
            let Labels {
                instance: _,
                cluster,
                generation,
                node,
                hash: _,
            } = record.labels.clone();
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
            let Labels {
                instance: _,
                cluster,
                generation,
                node,
                hash,
            } = piece.labels;
            Object {
                kind: ObjectKind::Part,
                name: piece.name,
                id: piece.id,
                cluster,
                generation,
                node,
                hash,
                state: None,
            }
        }));
        Ok(Observation { objects, taken })
    }

    /// What is in the way of ours: on the manager's own machine, and ports that services of others publish.
    async fn taken(&self, services: &[Service], networks: &[Network]) -> Result<Taken> {
        let mut taken = self
            .hands
            .taken(&self.hands.containers(&HashMap::new()).await?, networks)
            .await;
        let (ours, others): (Vec<_>, Vec<_>) = services
            .iter()
            .partition(|service| self.hands.owns(labels(service)));
        let published = |services: Vec<&Service>| {
            services
                .into_iter()
                .filter_map(|s| s.spec.clone())
                .flat_map(ports_of)
                .collect()
        };
        let ours: BTreeSet<u16> = published(ours);
        taken.ports = taken
            .ports
            .difference(&ours)
            .copied()
            .chain(published(others))
            .collect();
        Ok(taken)
    }
}

fn labels(service: &Service) -> Option<&HashMap<String, String>> {
    service.spec.as_ref()?.labels.as_ref()
}

fn service_object(service: Service, tasks: &[Task], away: &HashMap<String, String>) -> Option<Object> {
    let spec = service.spec?;
    let labels = spec.labels.unwrap_or_default();
    let part = labels.contains_key(LABEL_PART);
    let id = service.id.unwrap_or_default();
    let wanted = spec
        .mode
        .and_then(|m| m.replicated)
        .and_then(|r| r.replicas)
        .unwrap_or_default();
    let state = state(wanted, tasks.iter().filter(|t| t.service == id), away);
    let kind = match part {
        true => ObjectKind::Part,
        false if labels.contains_key(LABEL_JOB) => ObjectKind::Job,
        false => ObjectKind::Node,
    };
    object(
        kind,
        spec.name.unwrap_or_default(),
        Some(id),
        &labels,
        (!part).then_some(state),
    )
}

/// A node's state by its tasks. What a machine that is away did last is no state: nobody knows.
fn state<'a>(
    wanted: i64,
    tasks: impl Iterator<Item = &'a Task>,
    away: &HashMap<String, String>,
) -> NodeState {
    let tasks: Vec<_> = tasks.collect();
    let machine = |task: &Task| task.machine.as_ref().and_then(|id| away.get(id)).cloned();
    if let Some(why) = tasks.iter().filter(|t| !t.is_over()).find_map(|t| machine(t)) {
        return NodeState::Changing(why);
    }
    let Some(task) = newest(tasks.iter().copied()) else {
        return if wanted == 0 {
            NodeState::Created
        } else {
            NodeState::Changing("the swarm has not begun to start it".to_owned())
        };
    };
    match task.course() {
        Course::Runs if task.ending => NodeState::Changing("stopping".to_owned()),
        Course::Runs => NodeState::Running,
        Course::Ended(code) => NodeState::Exited(code),
        Course::Before | Course::Failed => NodeState::Changing(format!("{}: {}", task.state, task.words)),
    }
}
