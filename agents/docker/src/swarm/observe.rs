//! Our objects in the swarm: one label-filtered listing per kind, and one of the machines.

use super::{
    machine::MachineState,
    manager::Manager,
    node::ports_of,
    record::Success,
    service::LABEL_PART,
    task::{Progress, Task, newest},
};
use crate::{
    filter::as_map,
    observe::{network_object, object},
};
use bollard::models::{Network, Service};
use chainpool_agent::{
    LABEL_JOB, LabelFilter, Labels, NodeState, Object, ObjectKind, Observation, ResourcesInUse, Result, Scope,
};
use std::collections::{BTreeSet, HashMap};

impl Manager<'_> {
    pub(super) async fn objects_observe(&self, scope: Scope) -> Result<Observation> {
        let agent = self.agent;
        // For a whole host, list services and networks without a filter: others' may conflict with ours.
        let (filter, asked) = match scope {
            Scope::Host => (LabelFilter::instance(agent.instance), HashMap::new()),
            Scope::Cluster(cluster) => (
                LabelFilter::cluster(agent.instance, cluster),
                as_map(&LabelFilter::cluster(agent.instance, cluster)),
            ),
        };
        let (services, tasks, machines, networks, records, secrets) = tokio::try_join!(
            self.services(&asked),
            self.tasks(&filter),
            self.machines(),
            agent.networks(&asked),
            self.records(&filter),
            self.secrets(&filter),
        )?;
        let resources_in_use = match scope {
            Scope::Host => self.resources_in_use(&services, &networks).await?,
            Scope::Cluster(_) => ResourcesInUse::default(),
        };
        let networks = networks
            .into_iter()
            .filter(|network| agent.owns(network.labels.as_ref()));
        let services = services.into_iter().filter(|service| agent.owns(labels(service)));
        let unreachable: HashMap<String, String> = machines
            .into_iter()
            .filter_map(|MachineState { machine, unreachable }| Some((machine.id, unreachable?)))
            .collect();
        let mut objects: Vec<Object> = services
            .filter_map(|service| service_object(service, &tasks, &unreachable))
            .collect();
        let successes: Vec<Object> = records.successes.into_iter().map(completed_job_object).collect();
        // Until the service of a completed job is removed, it is only a part of it.
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
            objects.extend(record.volumes().into_iter().map(|name| Object {
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
        objects.extend(secrets.into_iter().map(|secret| {
            let Labels {
                instance: _,
                cluster,
                generation,
                node,
                hash,
            } = secret.labels;
            Object {
                kind: ObjectKind::Part,
                name: secret.name,
                id: secret.id,
                cluster,
                generation,
                node,
                hash,
                state: None,
            }
        }));
        Ok(Observation {
            objects,
            resources_in_use,
        })
    }

    /// Resources in use by others: on the manager's machine, and ports of others' services.
    async fn resources_in_use(&self, services: &[Service], networks: &[Network]) -> Result<ResourcesInUse> {
        let mut resources = self
            .agent
            .resources_in_use(&self.agent.containers(&HashMap::new()).await?, networks)
            .await;
        let (ours, others): (Vec<_>, Vec<_>) = services
            .iter()
            .partition(|service| self.agent.owns(labels(service)));
        let published = |services: Vec<&Service>| {
            services
                .into_iter()
                .filter_map(|s| s.spec.clone())
                .flat_map(ports_of)
                .collect()
        };
        let ours: BTreeSet<u16> = published(ours);
        resources.ports = resources
            .ports
            .difference(&ours)
            .copied()
            .chain(published(others))
            .collect();
        Ok(resources)
    }
}

/// A completed job, whose service may be gone.
fn completed_job_object(success: Success) -> Object {
    let Labels {
        instance: _,
        cluster,
        generation,
        node,
        hash,
    } = success.labels;
    Object {
        kind: ObjectKind::Job,
        name: success.name,
        id: success.id,
        cluster,
        generation,
        node,
        hash,
        state: Some(NodeState::Exited(0)),
    }
}

fn labels(service: &Service) -> Option<&HashMap<String, String>> {
    service.spec.as_ref()?.labels.as_ref()
}

fn service_object(service: Service, tasks: &[Task], unreachable: &HashMap<String, String>) -> Option<Object> {
    let spec = service.spec?;
    let labels = spec.labels.unwrap_or_default();
    let part = labels.contains_key(LABEL_PART);
    let id = service.id.unwrap_or_default();
    let wanted = spec
        .mode
        .and_then(|m| m.replicated)
        .and_then(|r| r.replicas)
        .unwrap_or_default();
    let state = state(wanted, tasks.iter().filter(|t| t.service == id), unreachable);
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

/// A node's state from its tasks. On an unreachable machine the state is unknown.
fn state<'a>(
    wanted: i64,
    tasks: impl Iterator<Item = &'a Task>,
    unreachable: &HashMap<String, String>,
) -> NodeState {
    let tasks: Vec<_> = tasks.collect();
    let machine = |task: &Task| task.machine.as_ref().and_then(|id| unreachable.get(id)).cloned();
    if let Some(why) = tasks.iter().filter(|t| !t.is_finished()).find_map(|t| machine(t)) {
        return NodeState::Changing(why);
    }
    let Some(task) = newest(tasks.iter().copied()) else {
        return if wanted == 0 {
            NodeState::Created
        } else {
            NodeState::Changing("the swarm has not started it yet".to_owned())
        };
    };
    match task.progress() {
        Progress::Running | Progress::Unready if task.stopping => NodeState::Changing("stopping".to_owned()),
        Progress::Running => NodeState::Running,
        Progress::Unready => NodeState::Unready,
        Progress::Exited(code) => NodeState::Exited(code),
        Progress::Pending | Progress::Failed => {
            NodeState::Changing(format!("{}: {}", task.state, task.message))
        }
    }
}
