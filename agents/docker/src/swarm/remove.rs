//! Removal: by label and id, until listings show that nothing is left, on the machines that we can speak to and in the swarm.
//!
//! Volumes are removed by the engine of their machine where our address list has it. On another machine an errand of ours empties
//! them; the empty volume stays, because no manager can remove it. A machine that is down can do neither: that is told, and
//! the record of what is there stays until it was done.

use super::{
    errand::Outcome,
    manager::Manager,
    record::Record,
    service::{Errand, LABEL_PART, volume_mount},
    task::Task,
};
use crate::{
    DockerAgent,
    engine::{SETTLE, look_again},
    observe::Filter,
};
use chainpool_agent::{
    ClusterId, ClusterKey, Error, Generation, Labels, NodeName, Object, Result, Volumes, node_object_name,
};
use tokio::time::Instant;

/// What shall go.
struct Doomed {
    filter: Filter,
    /// Not what is of a later generation.
    through: Generation,
    volumes: bool,
    networks: bool,
}

impl Manager<'_> {
    /// Removes everything of a cluster up to and including one generation.
    pub(super) async fn cluster_remove(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        let filter = Filter::cluster(self.hands.instance, cluster);
        self.remove_until_gone(&Doomed {
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
        self.remove_until_gone(&Doomed {
            filter,
            through: key.generation,
            volumes,
            networks: false,
        })
        .await
    }

    async fn remove_until_gone(&self, doomed: &Doomed) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let left = self.remove_round(doomed).await?;
            if left.is_empty() {
                return Ok(());
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "not all could be removed: {}",
                    left.join("; ")
                )));
            }
        }
    }

    /// Removes what can be removed now, and returns what is still there, in words.
    async fn remove_round(&self, doomed: &Doomed) -> Result<Vec<String>> {
        let mut left = self.services_remove(doomed).await?;
        left.extend(self.tasks_left(doomed).await?);
        for piece in self
            .secrets(&doomed.filter)
            .await?
            .into_iter()
            .filter(|p| p.labels.generation <= doomed.through)
        {
            self.secret_remove(&piece).await?;
            left.push(piece.name);
        }
        let mut records = self.records(&doomed.filter).await?;
        records
            .successes
            .retain(|success| success.labels.generation <= doomed.through);
        for success in records.successes {
            self.success_remove(&success).await?;
            left.push(success.name);
        }
        if !left.is_empty() {
            return Ok(left);
        }
        let reached = self.reached().await;
        let tasks = self.tasks(&doomed.filter).await?;
        for hands in reached.values() {
            left.extend(self.engine_left(hands, doomed, &tasks).await?);
        }
        if doomed.volumes && left.is_empty() {
            for record in records
                .volumes
                .into_iter()
                .filter(|r| r.labels.generation <= doomed.through)
            {
                if !reached.contains_key(&record.machine) {
                    self.volumes_wipe(&record).await?;
                }
                self.record_remove(&record).await?;
            }
        }
        if doomed.networks {
            left.extend(self.networks_remove(doomed).await?);
        }
        Ok(left)
    }

    async fn services_remove(&self, doomed: &Doomed) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for service in self.services(&doomed.filter.as_map()).await? {
            let Some(spec) = service.spec else { continue };
            let Some(labels) = spec.labels.as_ref().and_then(Labels::from_map) else {
                continue;
            };
            if labels.generation > doomed.through {
                continue;
            }
            let name = spec.name.unwrap_or_default();
            self.service_remove(service.id.as_deref().unwrap_or(&name), &name)
                .await?;
            left.push(name);
        }
        Ok(left)
    }

    /// What still runs. What runs on a machine that is away cannot be ended, however long one waits.
    async fn tasks_left(&self, doomed: &Doomed) -> Result<Vec<String>> {
        let tasks = self.tasks(&doomed.filter).await?;
        let left: Vec<&Task> = tasks
            .iter()
            .filter(|t| t.labels.generation <= doomed.through && !t.is_over())
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
            if let Some(seen) = machines
                .iter()
                .find(|seen| Some(&seen.machine.id) == task.machine.as_ref())
            {
                seen.must_be_here(&format!("{} cannot be ended", name(task)))?;
            }
        }
        Ok(left
            .into_iter()
            .map(|task| format!("{} ends ({})", name(task), task.words))
            .collect())
    }

    /// Removes what is left on one engine when the swarm has ended all tasks: the volumes, once no container is left. A container
    /// is the swarm's to remove while it knows the task; one of no task may have been forgotten, because the engine died.
    async fn engine_left(&self, hands: &DockerAgent, doomed: &Doomed, tasks: &[Task]) -> Result<Vec<String>> {
        let doomed_of = |objects: Result<Vec<Object>>| -> Result<Vec<Object>> {
            Ok(silent_is_busy(objects)?
                .into_iter()
                .filter(|object| object.generation <= doomed.through)
                .collect())
        };
        let is_known = |container: &Object| {
            tasks
                .iter()
                .any(|task| container.name.ends_with(&format!(".{}", task.id)))
        };
        let (known, forgotten): (Vec<Object>, _) = doomed_of(hands.containers_list(&doomed.filter).await)?
            .into_iter()
            .partition(is_known);
        let mut left = silent_is_busy(hands.remove_all(forgotten).await)?;
        left.extend(known.into_iter().map(|container| container.name));
        if doomed.volumes && left.is_empty() {
            left = silent_is_busy(
                hands
                    .remove_all(doomed_of(hands.volumes_list(&doomed.filter).await)?)
                    .await,
            )?;
        }
        Ok(left)
    }

    /// Has an errand empty a node's volumes on a machine whose engine we cannot speak to.
    async fn volumes_wipe(&self, record: &Record) -> Result<()> {
        let Some(node) = record.node() else { return Ok(()) };
        let key = ClusterKey {
            cluster: record.labels.cluster,
            generation: record.labels.generation,
        };
        let object = node_object_name(&key, node);
        let doing = format!("the volumes of node {node} cannot be scrubbed");
        match self
            .machines()
            .await?
            .into_iter()
            .find(|seen| seen.machine.id == record.machine)
        {
            Some(seen) => seen.must_be_here(&doing)?,
            // Whoever took the machine out of the swarm has its disks.
            None => {
                tracing::warn!(node = %object, machine = %record.machine, "the machine has left the swarm: the volumes there are no longer ours to scrub");
                return Ok(());
            }
        }
        let instance = self.hands.instance;
        let mut labels = record.labels.to_map();
        labels.insert(LABEL_PART.to_owned(), "wipe".to_owned());
        let folders: Vec<(String, String)> = record
            .volumes()
            .into_iter()
            .enumerate()
            .map(|(at, (_, volume))| (volume, format!("/wipe/{at}")))
            .collect();
        let errand = Errand {
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
                .map(|(volume, path)| volume_mount(instance, &key, node, volume, path))
                .collect(),
            secrets: Vec::new(),
        };
        match self.errand_run(errand).await? {
            Outcome::Done => Ok(()),
            Outcome::Removed => Err(Error::Busy(format!("{doing}: the errand was removed"))),
        }
    }

    async fn networks_remove(&self, doomed: &Doomed) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for network in self
            .hands
            .networks_list(&doomed.filter)
            .await?
            .into_iter()
            .filter(|n| n.generation <= doomed.through)
        {
            match self.hands.network_remove(&network.id).await {
                Ok(()) => left.push(network.name),
                Err(fault) if fault.says("in use by") || fault.says("active endpoints") => {
                    left.push(format!("{} is still in use", network.name));
                }
                Err(fault) => return Err(fault.into_error(&format!("remove {}", network.name))),
            }
        }
        Ok(left)
    }
}

/// A machine of several that is silent is no reason to ask another manager.
fn silent_is_busy<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Unreachable(text) => Error::Busy(text),
        error => error,
    })
}
