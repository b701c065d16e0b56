//! Records that a swarm does not keep, as empty configs: the volumes of a node with their machine, and the
//! success of jobs.
//!
//! A swarm does not know the volumes of its machines, and a machine without direct access cannot be asked.
//! Yet the volumes must be found after the node's service is gone: to empty them, and to recreate the node on
//! the same machine. So each node with volumes has an empty config whose labels record them. It is created
//! before the first volume and removed after the last. A shared volume, which belongs to no node, has a config
//! of its own.

use super::{manager::Manager, service::LABEL_PART};
use crate::filter::as_map;
use bollard::{
    models::{Config, ConfigSpec},
    query_parameters::{ListConfigsOptionsBuilder, UpdateConfigOptionsBuilder},
};
use chainpool_agent::{
    ClusterKey, Error, LabelFilter, Labels, NodeName, NodeSpec, Result, absent_is_fine, node_object_name,
    shared_volume_name, volume_name,
};
use std::collections::{BTreeSet, HashMap};

/// The value of [`LABEL_PART`] on the record of a job's success.
const SUCCESS: &str = "success";
/// The value of [`LABEL_PART`] on a record of volumes.
const PART: &str = "volumes";
/// Label: the machine of the volumes.
const LABEL_MACHINE: &str = "chainpool.machine";
/// Label: the node's names of the volumes, comma-separated.
const LABEL_VOLUMES: &str = "chainpool.volumes";

/// The record of a node's volumes, or of a shared volume.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) machine: String,
    volumes: BTreeSet<String>,
    version: i64,
}

/// The record of a successful job of this name and hash.
#[derive(Debug, Clone)]
pub(super) struct Success {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: Labels,
}

/// All records.
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

    /// The volumes' names on the platform.
    pub(super) fn volumes(&self) -> Vec<String> {
        let key = self.key();
        let name = |volume: &String| match self.node() {
            Some(node) => volume_name(&key, node, volume),
            None => shared_volume_name(&key, volume),
        };
        self.volumes.iter().map(name).collect()
    }

    pub(super) fn key(&self) -> ClusterKey {
        ClusterKey {
            cluster: self.labels.cluster,
            generation: self.labels.generation,
        }
    }
}

impl Manager<'_> {
    pub(super) async fn records(&self, filter: &LabelFilter) -> Result<Records> {
        let docker = self.docker().await?;
        let options = ListConfigsOptionsBuilder::default()
            .filters(&as_map(filter))
            .build();
        let configs = self
            .call(docker.list_configs(Some(options)))
            .await
            .map_err(|f| f.into_error("list its configs"))?;
        let mut records = Records::default();
        // Unreadable configs are ignored.
        for config in configs {
            records.take(config);
        }
        Ok(records)
    }

    /// The recorded machine of the node's volumes, or of a shared one among them.
    pub(super) async fn record_machine(&self, key: &ClusterKey, node: &NodeSpec) -> Result<Option<String>> {
        let filter = LabelFilter::generation(self.agent.instance, key);
        let mut records = self.records(&filter).await?.volumes;
        records.retain(|record| match record.node() {
            Some(owner) => *owner == node.name,
            None => node
                .volumes
                .iter()
                .any(|v| v.shared && record.volumes.contains(&v.name)),
        });
        Ok(records.into_iter().next().map(|record| record.machine))
    }

    /// Records the node's volumes before they are created.
    pub(super) async fn record_ensure(&self, key: &ClusterKey, node: &NodeSpec, machine: &str) -> Result<()> {
        let (shared, own): (Vec<_>, Vec<_>) = node.volumes.iter().partition(|volume| volume.shared);
        let ours = Labels::of_cluster(self.agent.instance, key);
        if !own.is_empty() {
            let wanted = own.into_iter().map(|volume| volume.name.clone()).collect();
            let labels = ours.clone().node(&node.name);
            let object = node_object_name(key, &node.name);
            self.volumes_record(&object, &labels, machine, &wanted).await?;
        }
        for volume in shared {
            let wanted = BTreeSet::from([volume.name.clone()]);
            let object = shared_volume_name(key, &volume.name);
            self.volumes_record(&object, &ours, machine, &wanted).await?;
        }
        Ok(())
    }

    /// Records volumes with these labels on a machine, in the config of an object.
    async fn volumes_record(
        &self,
        object: &str,
        ours: &Labels,
        machine: &str,
        wanted: &BTreeSet<String>,
    ) -> Result<()> {
        let name = format!("{object}-volumes");
        let docker = self.docker().await?;
        // The second pass finds a record from a concurrent call.
        for _ in 0..2 {
            let records = self.records(&self.node_filter_of(ours)).await?.volumes;
            if let Some(record) = records.into_iter().find(|record| record.name == name) {
                if record.machine != machine {
                    return Err(Error::Refused(format!(
                        "the volumes of {object} are on machine {}, so its nodes cannot run on {machine}: reset the cluster to create it elsewhere",
                        record.machine
                    )));
                }
                if record.volumes.is_superset(wanted) {
                    return Ok(());
                }
                let all = record.volumes.union(wanted).cloned().collect();
                let options = UpdateConfigOptionsBuilder::default()
                    .version(record.version)
                    .build();
                let call = docker.update_config(
                    &record.id,
                    record_spec(name.clone(), ours, machine, &all),
                    options,
                );
                return self
                    .call(call)
                    .await
                    .map_err(|f| f.into_error(&format!("change the config {name}")));
            }
            match self
                .call(docker.create_config(record_spec(name.clone(), ours, machine, wanted)))
                .await
            {
                Ok(_) => return Ok(()),
                Err(fault) if fault.has_code(409) => {}
                Err(fault) => return Err(fault.into_error(&format!("create the config {name}"))),
            }
        }
        Err(Error::Foreign(format!("config {name}")))
    }

    pub(super) async fn record_remove(&self, record: &Record) -> Result<()> {
        self.config_remove(&record.id, &record.name).await
    }

    /// Records the success of a job.
    pub(super) async fn success_record(&self, key: &ClusterKey, job: &NodeSpec) -> Result<()> {
        let name = format!("{}-success", node_object_name(key, &job.name));
        let ours = Labels::of_cluster(self.agent.instance, key)
            .node(&job.name)
            .hash(&job.hash);
        let docker = self.docker().await?;
        match self
            .call(docker.create_config(empty(name.clone(), ours.to_map(), SUCCESS)))
            .await
        {
            Ok(_) => Ok(()),
            Err(fault) if fault.has_code(409) => {
                let found = self.records(&self.node_filter(key, &job.name)).await?.successes;
                match found.first() {
                    Some(success) if success.labels == ours => Ok(()),
                    // A concurrent call has run it with another hash.
                    Some(success) => {
                        self.success_remove(success).await?;
                        Err(Error::Busy(format!(
                            "job {} was run with another spec by a concurrent call",
                            job.name
                        )))
                    }
                    None => Err(Error::Foreign(format!("config {name}"))),
                }
            }
            Err(fault) => Err(fault.into_error(&format!("create the config {name}"))),
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
    // A config cannot be empty: `-`.
    ConfigSpec {
        name: Some(name),
        labels: Some(labels),
        data: Some("LQ==".to_owned()),
        ..ConfigSpec::default()
    }
}
