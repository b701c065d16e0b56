//! Removal by label and id, until listings of the reachable machines and of the swarm show that nothing is
//! left.
//!
//! The engine of a machine removes its volumes if our address list has it. On another machine a helper task
//! empties them; the empty volumes stay, because a manager cannot remove them. If a machine is down, the
//! removal fails with that reason, and the record of its volumes stays until it is done.

use super::{
    helper_task::Outcome,
    manager::Manager,
    record::Record,
    service::{HelperTask, LABEL_PART, volume_mount},
    task::Task,
};
use crate::{
    DockerAgent,
    engine::{SETTLE, wait_for_retry},
    filter::as_map,
};
use chainpool_agent::{
    ClusterId, ClusterKey, Error, Generation, LabelFilter, Labels, NodeName, Object, Result, Volumes,
    network_name,
};
use tokio::time::Instant;

/// The scope of a removal.
struct Removal {
    filter: LabelFilter,
    /// Up to this generation.
    through: Generation,
    volumes: bool,
    networks: bool,
}

impl Manager<'_> {
    /// Removes everything of a cluster up to and including one generation.
    pub(super) async fn cluster_remove(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let filter = LabelFilter::cluster(self.agent.instance, cluster);
        self.remove_until_gone(&Removal {
            filter,
            through,
            volumes: true,
            networks: true,
        })
        .await
    }

    /// Removes one node.
    pub(super) async fn node_remove(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        volumes: Volumes,
    ) -> Result<()> {
        let filter = self.node_filter(key, node);
        let volumes = volumes == Volumes::Purge;
        self.remove_until_gone(&Removal {
            filter,
            through: key.generation,
            volumes,
            networks: false,
        })
        .await
    }

    async fn remove_until_gone(&self, removal: &Removal) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let left = self.remove_round(removal).await?;
            if left.is_empty() {
                return Ok(());
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "some objects could not be removed: {}",
                    left.join("; ")
                )));
            }
        }
    }

    /// Removes what it can, and returns the names of what is left.
    async fn remove_round(&self, removal: &Removal) -> Result<Vec<String>> {
        let mut left = self.services_remove(removal).await?;
        left.extend(self.tasks_left(removal).await?);
        for secret in self
            .secrets(&removal.filter)
            .await?
            .into_iter()
            .filter(|p| p.labels.generation <= removal.through)
        {
            self.secret_remove(&secret).await?;
            left.push(secret.name);
        }
        let mut records = self.records(&removal.filter).await?;
        records
            .successes
            .retain(|success| success.labels.generation <= removal.through);
        for success in records.successes {
            self.success_remove(&success).await?;
            left.push(success.name);
        }
        if !left.is_empty() {
            return Ok(left);
        }
        let reachable = self.reachable_engines().await;
        let tasks = self.tasks(&removal.filter).await?;
        for agent in reachable.values() {
            left.extend(self.engine_left(agent, removal, &tasks).await?);
        }
        if removal.volumes && left.is_empty() {
            for record in records
                .volumes
                .into_iter()
                .filter(|r| r.labels.generation <= removal.through)
            {
                if !reachable.contains_key(&record.machine) {
                    self.volumes_wipe(&record).await?;
                }
                self.record_remove(&record).await?;
            }
        }
        if removal.networks {
            left.extend(self.networks_remove(removal).await?);
        }
        Ok(left)
    }

    async fn services_remove(&self, removal: &Removal) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for service in self.services(&as_map(&removal.filter)).await? {
            let Some(spec) = service.spec else { continue };
            let Some(labels) = spec.labels.as_ref().and_then(Labels::from_map) else {
                continue;
            };
            if labels.generation > removal.through {
                continue;
            }
            let name = spec.name.unwrap_or_default();
            self.service_remove(service.id.as_deref().unwrap_or(&name), &name)
                .await?;
            left.push(name);
        }
        Ok(left)
    }

    /// The tasks that still run. Fails if one runs on an unreachable machine, which cannot stop it.
    async fn tasks_left(&self, removal: &Removal) -> Result<Vec<String>> {
        let tasks = self.tasks(&removal.filter).await?;
        let left: Vec<&Task> = tasks
            .iter()
            .filter(|t| t.labels.generation <= removal.through && !t.is_finished())
            .collect();
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let name = |task: &Task| {
            task.labels
                .node
                .as_ref()
                .map_or_else(|| "a task".to_owned(), |node| format!("node {node}"))
        };
        let machines = self.machines().await?;
        for task in &left {
            if let Some(state) = machines
                .iter()
                .find(|state| Some(&state.machine.id) == task.machine.as_ref())
            {
                state.require_reachable(&format!("{} cannot be stopped", name(task)))?;
            }
        }
        Ok(left
            .into_iter()
            .map(|task| format!("{} is stopping ({})", name(task), task.message))
            .collect())
    }

    /// Removes leftovers on one engine after all tasks ended: forgotten containers, then volumes. The swarm
    /// removes the containers of tasks that it knows. A container without a task was forgotten when the
    /// engine crashed.
    async fn engine_left(
        &self,
        agent: &DockerAgent,
        removal: &Removal,
        tasks: &[Task],
    ) -> Result<Vec<String>> {
        let in_scope = |objects: Result<Vec<Object>>| -> Result<Vec<Object>> {
            Ok(unreachable_is_busy(objects)?
                .into_iter()
                .filter(|object| object.generation <= removal.through)
                .collect())
        };
        let is_known = |container: &Object| {
            tasks
                .iter()
                .any(|task| container.name.ends_with(&format!(".{}", task.id)))
        };
        let (known, forgotten): (Vec<Object>, _) = in_scope(agent.containers_list(&removal.filter).await)?
            .into_iter()
            .partition(is_known);
        let mut left = unreachable_is_busy(agent.remove_all(forgotten).await)?;
        left.extend(known.into_iter().map(|container| container.name));
        if removal.volumes && left.is_empty() {
            left = unreachable_is_busy(
                agent
                    .remove_all(in_scope(agent.volumes_list(&removal.filter).await)?)
                    .await,
            )?;
        }
        Ok(left)
    }

    /// Empties a node's volumes with a helper task, on a machine without direct access.
    async fn volumes_wipe(&self, record: &Record) -> Result<()> {
        let object = record.name.clone();
        let doing = match record.node() {
            Some(node) => format!("the volumes of node {node} cannot be emptied"),
            None => format!(
                "the shared volumes of {} cannot be emptied",
                network_name(&record.key())
            ),
        };
        match self
            .machines()
            .await?
            .into_iter()
            .find(|state| state.machine.id == record.machine)
        {
            Some(state) => state.require_reachable(&doing)?,
            // The machine's owner has its disks.
            None => {
                tracing::warn!(record = %object, machine = %record.machine, "machine has left the swarm; leaving its volumes as they are");
                return Ok(());
            }
        }
        let mut labels = record.labels.to_map();
        labels.insert(LABEL_PART.to_owned(), "wipe".to_owned());
        let folders: Vec<(String, String)> = record
            .volumes()
            .into_iter()
            .enumerate()
            .map(|(at, volume)| (volume, format!("/wipe/{at}")))
            .collect();
        let helper = HelperTask {
            name: format!("{object}-wipe"),
            labels,
            image: self.tools_image().await?.pinned,
            machine: record.machine.clone(),
            command: ["/usr/bin/chainpool-place", "--wipe"]
                .into_iter()
                .chain(folders.iter().map(|(_, path)| path.as_str()))
                .map(str::to_owned)
                .collect(),
            mounts: folders
                .iter()
                .map(|(volume, path)| volume_mount(volume.clone(), &record.labels, path.clone()))
                .collect(),
            secrets: Vec::new(),
        };
        match self.helper_task_run(helper).await? {
            Outcome::Done => Ok(()),
            Outcome::Removed => Err(Error::Busy(format!("{doing}: the helper task was removed"))),
        }
    }

    async fn networks_remove(&self, removal: &Removal) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for network in self
            .agent
            .networks_list(&removal.filter)
            .await?
            .into_iter()
            .filter(|n| n.generation <= removal.through)
        {
            match self.agent.network_remove(&network.id).await {
                Ok(()) => left.push(network.name),
                Err(fault)
                    if fault.message_contains("in use by") || fault.message_contains("active endpoints") =>
                {
                    left.push(format!("{} is still in use", network.name));
                }
                Err(fault) => return Err(fault.into_error(&format!("remove {}", network.name))),
            }
        }
        Ok(left)
    }
}

/// Maps Unreachable to Busy: one unresponsive machine is no reason to try another manager.
fn unreachable_is_busy<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Unreachable(text) => Error::Busy(text),
        error => error,
    })
}
