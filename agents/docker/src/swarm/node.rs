//! One node: converges its service from any state to the desired power.

use super::{
    helper_task::{Outcome, PLACEMENT},
    machine::MachineState,
    manager::Manager,
    service::{Found, node_service, replicas},
    task::{Progress, Task, newest},
};
use crate::{
    engine::{PULL, SETTLE, dependency, wait_for_retry},
    logs,
};
use bollard::{
    models::{EndpointPortConfig, Service, ServiceSpec, TaskState},
    query_parameters::{LogsOptions, LogsOptionsBuilder, UpdateServiceOptionsBuilder},
};
use chainpool_agent::{
    ClusterKey, Error, ImageRef, Incarnation, LabelFilter, Labels, LogQuery, LogStream, NodeName, NodeSpec,
    Place, Power, Result, network_name, node_object_name,
};
use futures::StreamExt;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

impl Manager<'_> {
    pub(super) fn node_filter(&self, key: &ClusterKey, node: &NodeName) -> LabelFilter {
        LabelFilter::node(self.agent.instance, key, node)
    }

    pub(super) fn node_filter_of(&self, labels: &Labels) -> LabelFilter {
        let key = ClusterKey {
            cluster: labels.cluster,
            generation: labels.generation,
        };
        match &labels.node {
            Some(node) => self.node_filter(&key, node),
            None => LabelFilter::generation(self.agent.instance, &key),
        }
    }

    /// The tasks of the node itself, without helper tasks.
    pub(super) async fn node_tasks(&self, key: &ClusterKey, node: &NodeName) -> Result<Vec<Task>> {
        let mut tasks = self.tasks(&self.node_filter(key, node)).await?;
        tasks.retain(|task| !task.part);
        Ok(tasks)
    }

    /// The node's service, if it exists; a foreign one of that name is an error.
    pub(super) async fn node_service(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Found>> {
        let name = node_object_name(key, node);
        let Some(found) = self.service_inspect(&name).await? else {
            return Ok(None);
        };
        let ours = Labels::of_cluster(self.agent.instance, key).node(node);
        if found.labels.clone().map(|labels| Labels { hash: None, ..labels }) != Some(ours) {
            return Err(Error::Foreign(format!("service {name}")));
        }
        Ok(Some(found))
    }

    /// Brings a node to `power`. Its files are placed before its service is created, so an existing service
    /// has them.
    pub(super) async fn node_ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            match self.node_service(key, &node.name).await? {
                Some(found) if found.labels.as_ref().and_then(|l| l.hash.as_ref()) == Some(&node.hash) => {
                    return self.power_set(key, node, found, power).await;
                }
                Some(stale) => self.node_remove_stale(key, node, &stale).await?,
                None => {}
            }
            if self.node_create(key, node, image, power).await? {
                return match power {
                    Power::On { .. } => self.node_wait_started(key, node, &BTreeSet::new()).await,
                    Power::Off => Ok(()),
                };
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "{} is still changing in the swarm",
                    node_object_name(key, &node.name)
                )));
            }
        }
    }

    /// Removes a stale service and waits for its process to end, before its volumes are written.
    pub(super) async fn node_remove_stale(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        stale: &Found,
    ) -> Result<()> {
        if let Some(machine) = stale.machine() {
            let object = node_object_name(key, &node.name);
            self.machine_of(Some(machine), &object)
                .await?
                .require_reachable(&format!("node {} cannot be replaced", node.name))?;
        }
        self.service_remove(&stale.id, &node_object_name(key, &node.name))
            .await?;
        self.node_wait_stopped(key, node).await
    }

    /// Creates the node's service. False: a concurrent call was faster; inspect its service.
    async fn node_create(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<bool> {
        let target = self.node_machine(key, node).await?;
        let network = self.network_id(key).await?;
        let mut spec = node_service(
            self.agent.instance,
            key,
            node,
            image,
            &target.machine.id,
            &network,
        )?;
        if !self.node_prepare(key, node, &target.machine.id).await? {
            return Ok(false);
        }
        if *power != Power::Off {
            spec.mode = Some(replicas(1));
        }
        let created = self.service_create(spec, &image.name).await?.is_some();
        if created {
            self.swarm
                .location_note(&node_object_name(key, &node.name), &target.machine.address);
        }
        Ok(created)
    }

    /// The machine for a node or job.
    pub(super) async fn node_machine(&self, key: &ClusterKey, node: &NodeSpec) -> Result<MachineState> {
        let known = match &node.machine {
            Some(machine) => Some(machine.clone()),
            None => self.record_machine(key, node).await?,
        };
        let target = self
            .machine_of(known.as_deref(), &node_object_name(key, &node.name))
            .await?;
        target.require_reachable(&format!("node {} cannot be created", node.name))?;
        Ok(target)
    }

    /// Prepares the volumes and files of a node or job. False: a concurrent call was faster.
    pub(super) async fn node_prepare(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        machine: &str,
    ) -> Result<bool> {
        self.record_ensure(key, node, machine).await?;
        if let Some(agent) = self.reachable_engines().await.get(machine) {
            // With direct access, a foreign volume of that name is detected before anything is written to it.
            agent.volumes_ensure(key, node).await?;
        }
        Ok(self.files_place(key, node, machine).await? == Outcome::Done)
    }

    /// Creates a service and returns its id; `None` if the name is in use. `image` selects the registry login
    /// for the pull.
    pub(super) async fn service_create(&self, spec: Box<ServiceSpec>, image: &str) -> Result<Option<String>> {
        let name = spec.name.clone().unwrap_or_default();
        let docker = self.docker().await?;
        match self
            .call(Box::pin(docker.create_service(*spec, self.agent.login(image))))
            .await
        {
            Ok(created) => Ok(Some(created.id.unwrap_or_default())),
            Err(fault) if fault.has_code(409) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("create the service {name}"))),
        }
    }

    /// Updates a service; false after a concurrent update.
    async fn service_update(&self, found: &Found, spec: Box<ServiceSpec>, image: &str) -> Result<bool> {
        let docker = self.docker().await?;
        let options = UpdateServiceOptionsBuilder::default()
            .version(found.version)
            .build();
        match self
            .call(Box::pin(docker.update_service(
                &found.id,
                *spec,
                options,
                self.agent.login(image),
            )))
            .await
        {
            Ok(_) => Ok(true),
            Err(fault) if fault.message_contains("out of sequence") => Ok(false),
            Err(fault) => Err(fault.into_error(&format!("update the service {}", found.id))),
        }
    }

    async fn power_set(&self, key: &ClusterKey, node: &NodeSpec, found: Found, power: &Power) -> Result<()> {
        let object = node_object_name(key, &node.name);
        let (mut found, deadline) = (found, Instant::now() + SETTLE);
        let target = self.machine_of(found.machine(), &object).await?;
        self.swarm.location_note(&object, &target.machine.address);
        loop {
            let tasks = self.node_tasks(key, &node.name).await?;
            let running = newest(&tasks).filter(|t| t.runs() && !t.stopping);
            let mut spec = found.spec.clone();
            let mut before: BTreeSet<String> = tasks.iter().map(|t| t.id.clone()).collect();
            let change = match power {
                Power::Off => found.replicas() != 0,
                Power::On { .. } if found.replicas() == 0 => true,
                Power::On { after: Some(after) } if running.is_some_and(|t| t.incarnation() == *after) => {
                    let template = spec.task_template.get_or_insert_default();
                    template.force_update = Some(template.force_update.unwrap_or_default() + 1);
                    true
                }
                Power::On { .. } if running.is_some() => {
                    return target.require_reachable(&format!("the state of node {} is unknown", node.name));
                }
                Power::On { .. } => {
                    before = tasks
                        .iter()
                        .filter(|t| t.is_finished())
                        .map(|t| t.id.clone())
                        .collect();
                    false
                }
            };
            spec.mode = Some(replicas(i64::from(*power != Power::Off)));
            if !change || self.service_update(&found, spec, "").await? {
                target.require_reachable(&format!("node {} cannot change", node.name))?;
                return match power {
                    Power::Off => self.node_wait_stopped(key, node).await,
                    Power::On { .. } => self.node_wait_started(key, node, &before).await,
                };
            }
            match self.node_service(key, &node.name).await? {
                Some(again) if wait_for_retry(deadline).await => found = again,
                _ => {
                    return Err(Error::Busy(format!(
                        "{object} was changed or removed by a concurrent call"
                    )));
                }
            }
        }
    }

    /// Waits until all processes of the node have ended.
    async fn node_wait_stopped(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        let deadline = Instant::now() + SETTLE + Duration::from_secs(node.stop_timeout.into());
        loop {
            let tasks = self.node_tasks(key, &node.name).await?;
            let Some(left) = tasks.iter().find(|t| !t.is_finished()) else {
                return Ok(());
            };
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "node {} does not stop: {}",
                    node.name, left.message
                )));
            }
        }
    }

    /// Waits until a new task, not one of these, has started.
    async fn node_wait_started(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        before: &BTreeSet<String>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let tasks = self.node_tasks(key, &node.name).await?;
            let fresh = || tasks.iter().filter(|t| !before.contains(&t.id));
            if fresh().any(|t| t.runs() || matches!(t.progress(), Progress::Exited(_))) {
                return Ok(());
            }
            if let Some(failed) = fresh().find(|t| t.is_permanent_failure()) {
                return Err(self.node_failed(key, node, failed).await);
            }
            let task = newest(fresh());
            let unplaced =
                task.filter(|t| t.state == TaskState::PENDING && t.message.contains("no suitable node"));
            let limit = match task {
                _ if unplaced.is_some() => PLACEMENT,
                Some(task) if task.state == TaskState::PREPARING => PULL,
                _ => SETTLE,
            };
            if !wait_for_retry(start + limit).await {
                if let Some(task) = unplaced.filter(|t| t.message.contains("port already in use")) {
                    return Err(self.node_failed(key, node, task).await);
                }
                let message = task.map_or("the swarm has not started it yet", |t| t.message.as_str());
                let text = format!("node {} does not start: {message}", node.name);
                return Err(dependency(&text).unwrap_or(Error::Busy(text)));
            }
        }
    }

    /// The error of a failed task. Scales the service to 0, because the swarm would retry without limit.
    async fn node_failed(&self, key: &ClusterKey, node: &NodeSpec, task: &Task) -> Error {
        match self.node_service(key, &node.name).await {
            Ok(Some(found)) => {
                let mut spec = found.spec.clone();
                spec.mode = Some(replicas(0));
                if let Err(error) = self.service_update(&found, spec, "").await {
                    return error;
                }
            }
            Ok(None) => {}
            Err(error) => return error,
        }
        let message = &task.message;
        if message.contains("No such image") {
            let machine = task.machine.as_deref().unwrap_or("its machine");
            return Error::Refused(format!(
                "node {}: {message} on machine {machine}: load or pull it there, then try again",
                node.name
            ));
        }
        let port_conflict = ["already in use", "port is already allocated"]
            .iter()
            .any(|text| message.contains(text));
        match if port_conflict {
            self.conflicting_port(key, node, message).await
        } else {
            Ok(None)
        } {
            Ok(Some(port)) => Error::Occupied {
                place: Place::Port(port),
                reason: format!(
                    "port {port} of node {}'s machine is in use by another program: free it or give the host other ports ({message})",
                    node.name
                ),
            },
            // The scheduler knows only ports of services, and no service has this one: a task that held it is
            // still stopping.
            Ok(None) if port_conflict && message.contains("no suitable node") => {
                Error::Busy(format!("node {} does not start yet: {message}", node.name))
            }
            Ok(None) => Error::Refused(format!("the swarm failed to start node {}: {message}", node.name)),
            Err(error) => error,
        }
    }

    /// The port of the error: named in the message, or published by another service.
    async fn conflicting_port(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        message: &str,
    ) -> Result<Option<u16>> {
        let published: Vec<u16> = node.ports.iter().filter_map(|p| p.published).collect();
        let named =
            |port: &&u16| message.contains(&format!(":{port}:")) || message.contains(&format!(":{port} "));
        if let Some(port) = published.iter().find(named) {
            return Ok(Some(*port));
        }
        let name = node_object_name(key, &node.name);
        let others = self.services(&HashMap::new()).await?;
        let mut others = others
            .into_iter()
            .filter_map(|s| s.spec)
            .filter(|s| s.name.as_deref() != Some(&name))
            .flat_map(ports_of);
        Ok(others.find(|port| published.contains(port)))
    }

    pub(super) async fn services(&self, filters: &HashMap<&str, Vec<String>>) -> Result<Vec<Service>> {
        let docker = self.docker().await?;
        let options = bollard::query_parameters::ListServicesOptionsBuilder::default()
            .filters(filters)
            .build();
        self.call(docker.list_services(Some(options)))
            .await
            .map_err(|f| f.into_error("list its services"))
    }

    pub(super) async fn node_incarnation(
        &self,
        key: &ClusterKey,
        node: &NodeName,
    ) -> Result<Option<Incarnation>> {
        self.node_service(key, node).await?;
        let tasks = self.node_tasks(key, node).await?;
        Ok(newest(tasks.iter().filter(|t| t.runs() && !t.stopping)).map(Task::incarnation))
    }

    pub(super) async fn node_logs(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        query: &LogQuery,
    ) -> Result<LogStream> {
        let LogQuery { tail, since, follow } = query;
        let object = node_object_name(key, node);
        if self.node_service(key, node).await?.is_none() {
            return Err(Error::Refused(format!(
                "node {node} has no service {object}: it was not created, was removed, or was a completed job, whose log the swarm removes"
            )));
        }
        let tasks = self.node_tasks(key, node).await?;
        let Some(task) = newest(tasks.iter().filter(|t| t.container.is_some())) else {
            return Err(Error::Refused(format!(
                "node {node} has no log: it was not started, or was stopped, which removes its log"
            )));
        };
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(*follow)
            .since(logs::since(*since))
            .tail(&logs::tail(*tail))
            .build();
        self.task_log(task, options, *follow).await
    }

    /// A task's log, from the machine itself with direct access: after the loss of its leader, a swarm may
    /// fail to read some machines' logs for minutes.
    pub(super) async fn task_log(
        &self,
        task: &Task,
        options: LogsOptions,
        follow: bool,
    ) -> Result<LogStream> {
        let near = match &task.machine {
            Some(machine) => self.engine_of(machine).await.zip(task.container.as_ref()),
            None => None,
        };
        let engine = near.map_or(&self.agent.engine, |(agent, _)| &agent.engine);
        let (docker, flow) = engine.docker_streaming().await?;
        let source = match near {
            Some((_, container)) => docker.logs(container, Some(options)).boxed(),
            None => docker.task_logs(&task.id, Some(options)).boxed(),
        };
        Ok(logs::lines(engine.clone(), flow, source, follow))
    }

    /// The network's id. On some machine another network may have its name.
    pub(super) async fn network_id(&self, key: &ClusterKey) -> Result<String> {
        let name = network_name(key);
        let ours = Labels::of_cluster(self.agent.instance, key);
        let found = self.agent.networks_named(&name).await?;
        let mine = found
            .into_iter()
            .find(|n| n.labels.as_ref().and_then(Labels::from_map).as_ref() == Some(&ours));
        mine.and_then(|n| n.id).ok_or_else(|| {
            Error::Refused(format!(
                "the network {name} does not exist: create it before its nodes"
            ))
        })
    }
}

/// The ports that a service publishes.
pub(super) fn ports_of(spec: ServiceSpec) -> Vec<u16> {
    let port = |port: EndpointPortConfig| port.published_port.and_then(|p| u16::try_from(p).ok());
    spec.endpoint_spec
        .and_then(|e| e.ports)
        .unwrap_or_default()
        .into_iter()
        .filter_map(port)
        .collect()
}
