//! What a swarm itself does not keep, in configs without content: which volumes a node has, and on which machine; and which jobs
//! have ended well.
//!
//! A swarm does not know the volumes of its machines, and a machine that we cannot speak to does not tell. Yet what was placed
//! there must be found again after the node's service is gone: to scrub it, and to make the node again on the same machine. So
//! each node with volumes has a config in the swarm, without content, whose labels say this. It is made before the first
//! volume and removed after the last.

use super::{manager::Manager, service::LABEL_PART};
use crate::{engine::absent_is_fine, observe::Filter};
use bollard::{
    models::{Config, ConfigSpec},
    query_parameters::{ListConfigsOptionsBuilder, UpdateConfigOptionsBuilder},
};
use chainpool_agent::{ClusterKey, Error, Labels, NodeName, NodeSpec, Result, node_object_name, volume_name};
use std::collections::{BTreeSet, HashMap};

/// The value of [`LABEL_PART`] on the record of a job's success.
const SUCCESS: &str = "success";
/// The same on a record of volumes.
const PART: &str = "volumes";
/// The machine that the volumes are on.
const LABEL_MACHINE: &str = "chainpool.machine";
/// The names of the volumes in their node, with commas between.
const LABEL_VOLUMES: &str = "chainpool.volumes";

/// What is known of a node's volumes.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) machine: String,
    volumes: BTreeSet<String>,
    version: i64,
}

/// A job of this name and hash has ended well.
#[derive(Debug, Clone)]
pub(super) struct Success {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
}

/// All that is on record.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) volumes: Vec<Record>,
    pub(super) successes: Vec<Success>,
}

impl Records {
    fn take(&mut self, config: Config) -> Option<()> {
        let labels = config.spec.as_ref()?.labels.as_ref()?;
        match labels.get(LABEL_PART)?.as_str() {
            PART => self.volumes.push(Record::read(config)?),
            SUCCESS => {
                let labels = Labels::from_map(labels)?;
                self.successes.push(Success {
                    id: config.id?,
                    name: config.spec?.name?,
                    labels,
                });
            }
            _ => {}
        }
        Some(())
    }
}

impl Record {
    fn read(config: Config) -> Option<Self> {
        let spec = config.spec?;
        let labels = spec.labels?;
        Some(Self {
            id: config.id?,
            name: spec.name?,
            labels: Labels::from_map(&labels)?,
            machine: labels.get(LABEL_MACHINE)?.clone(),
            volumes: labels.get(LABEL_VOLUMES)?.split(',').map(str::to_owned).collect(),
            version: config
                .version
                .and_then(|v| v.index)
                .and_then(|v| i64::try_from(v).ok())
                .unwrap_or_default(),
        })
    }

    pub(super) fn node(&self) -> Option<&NodeName> {
        self.labels.node.as_ref()
    }

    /// The volumes as a platform names them, and as the node does.
    pub(super) fn volumes(&self) -> Vec<(String, String)> {
        let key = ClusterKey {
            cluster: self.labels.cluster,
            generation: self.labels.generation,
        };
        let Some(node) = &self.labels.node else {
            return Vec::new();
        };
        self.volumes
            .iter()
            .map(|volume| (volume_name(&key, node, volume), volume.clone()))
            .collect()
    }
}

impl Manager<'_> {
    pub(super) async fn records(&self, filter: &Filter) -> Result<Records> {
        let docker = self.docker().await?;
        let options = ListConfigsOptionsBuilder::default()
            .filters(&filter.as_map())
            .build();
        let configs = self
            .call(docker.list_configs(Some(options)))
            .await
            .map_err(|f| f.into_error("list its configs"))?;
        let mut records = Records::default();
        // One that cannot be read is left alone.
        for config in configs {
            records.take(config);
        }
        Ok(records)
    }

    /// Where the node's volumes are known to be.
    pub(super) async fn record_machine(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<String>> {
        Ok(self
            .records(&self.node_filter(key, node))
            .await?
            .volumes
            .into_iter()
            .next()
            .map(|record| record.machine))
    }

    /// Sees to it that the node's volumes are on record, before they come to be.
    pub(super) async fn record_ensure(&self, key: &ClusterKey, node: &NodeSpec, machine: &str) -> Result<()> {
        if node.volumes.is_empty() {
            return Ok(());
        }
        let name = format!("{}-volumes", node_object_name(key, &node.name));
        let wanted: BTreeSet<String> = node.volumes.iter().map(|v| v.name.clone()).collect();
        let ours = Labels::of_cluster(self.hands.instance, key).node(&node.name);
        let docker = self.docker().await?;
        // The second time for a record that was made by another at this moment.
        for _ in 0..2 {
            if let Some(record) = self
                .records(&self.node_filter(key, &node.name))
                .await?
                .volumes
                .into_iter()
                .next()
            {
                if record.machine != machine {
                    return Err(Error::Refused(format!(
                        "node {} has volumes on machine {}, and cannot move to {machine}: reset the cluster, to make it elsewhere",
                        node.name, record.machine
                    )));
                }
                if record.volumes.is_superset(&wanted) {
                    return Ok(());
                }
                let all = record.volumes.union(&wanted).cloned().collect();
                let options = UpdateConfigOptionsBuilder::default()
                    .version(record.version)
                    .build();
                let call = docker.update_config(
                    &record.id,
                    record_spec(name.clone(), &ours, machine, &all),
                    options,
                );
                return self
                    .call(call)
                    .await
                    .map_err(|f| f.into_error(&format!("change the config {name}")));
            }
            match self
                .call(docker.create_config(record_spec(name.clone(), &ours, machine, &wanted)))
                .await
            {
                Ok(_) => return Ok(()),
                Err(fault) if fault.is(409) => {}
                Err(fault) => return Err(fault.into_error(&format!("make the config {name}"))),
            }
        }
        Err(Error::Foreign(format!("config {name}")))
    }

    pub(super) async fn record_remove(&self, record: &Record) -> Result<()> {
        self.config_remove(&record.id, &record.name).await
    }

    /// Writes down that a job has ended well.
    pub(super) async fn success_note(&self, key: &ClusterKey, job: &NodeSpec) -> Result<()> {
        let name = format!("{}-success", node_object_name(key, &job.name));
        let ours = Labels::of_cluster(self.hands.instance, key)
            .node(&job.name)
            .hash(&job.hash);
        let docker = self.docker().await?;
        match self
            .call(docker.create_config(empty(name.clone(), ours.to_map(), SUCCESS)))
            .await
        {
            Ok(_) => Ok(()),
            Err(fault) if fault.is(409) => {
                let found = self.records(&self.node_filter(key, &job.name)).await?.successes;
                match found.first() {
                    Some(success) if success.labels == ours => Ok(()),
                    // Another call of ours has run it with another hash meanwhile.
                    Some(success) => {
                        self.success_remove(success).await?;
                        Err(Error::Busy(format!(
                            "job {} was run as another one meanwhile",
                            job.name
                        )))
                    }
                    None => Err(Error::Foreign(format!("config {name}"))),
                }
            }
            Err(fault) => Err(fault.into_error(&format!("make the config {name}"))),
        }
    }

    pub(super) async fn success_remove(&self, success: &Success) -> Result<()> {
        self.config_remove(&success.id, &success.name).await
    }

    async fn config_remove(&self, id: &str, name: &str) -> Result<()> {
        let docker = self.docker().await?;
        absent_is_fine(self.call(docker.delete_config(id)).await)
            .map_err(|f| f.into_error(&format!("remove the config {name}")))
    }
}

fn record_spec(name: String, ours: &Labels, machine: &str, volumes: &BTreeSet<String>) -> ConfigSpec {
    let mut labels = ours.to_map();
    labels.insert(LABEL_MACHINE.to_owned(), machine.to_owned());
    labels.insert(
        LABEL_VOLUMES.to_owned(),
        volumes.iter().map(String::as_str).collect::<Vec<_>>().join(","),
    );
    empty(name, labels, PART)
}

fn empty(name: String, mut labels: HashMap<String, String>, part: &str) -> ConfigSpec {
    labels.insert(LABEL_PART.to_owned(), part.to_owned());
    // A config must have some content: `-`.
    ConfigSpec {
        name: Some(name),
        labels: Some(labels),
        data: Some("LQ==".to_owned()),
        ..ConfigSpec::default()
    }
}
