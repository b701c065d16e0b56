//! The named volumes of a node.

use crate::{
    DockerAgent,
    engine::{CALL, CallError},
};
use bollard::{models::VolumeCreateRequest, query_parameters::RemoveVolumeOptionsBuilder};
use chainpool_agent::{ClusterKey, Error, Labels, NodeSpec, Result, Volume, absent_is_fine};
use futures::future::try_join_all;
use std::collections::BTreeSet;

/// Identifies the call that created a volume: engines answer alike to the calls that found it.
const LABEL_CREATION: &str = "chainpool.making";

impl DockerAgent {
    /// Creates the node's volumes and returns the mount points of new ones. They are created explicitly,
    /// because engines do not label volumes that they create with a container.
    pub(crate) async fn volumes_ensure(&self, key: &ClusterKey, node: &NodeSpec) -> Result<BTreeSet<String>> {
        let created = try_join_all(
            node.volumes
                .iter()
                .map(|volume| self.volume_ensure(key, node, volume)),
        )
        .await?;
        Ok(node
            .volumes
            .iter()
            .zip(created)
            .filter(|(_, new)| *new)
            .map(|(volume, _)| volume.path.clone())
            .collect())
    }

    async fn volume_ensure(&self, key: &ClusterKey, node: &NodeSpec, volume: &Volume) -> Result<bool> {
        let docker = self.engine.docker().await?;
        let name = volume.object_name(key, &node.name);
        let ours = volume.labels(self.instance, key, &node.name);
        let creation = uuid::Uuid::new_v4().to_string();
        let mut labels = ours.to_map();
        labels.insert(LABEL_CREATION.to_owned(), creation.clone());
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        match self.engine.call(CALL, docker.create_volume(request)).await {
            Ok(volume) if Labels::from_map(&volume.labels).as_ref() == Some(&ours) => {
                Ok(volume.labels.get(LABEL_CREATION) == Some(&creation))
            }
            // A restarted engine answers without labels until the volume is inspected.
            Ok(_) if self.volume_labels(&name).await?.as_ref() == Some(&ours) => Ok(false),
            Ok(_) => Err(Error::Foreign(format!("volume {name}"))),
            Err(fault) if fault.has_code(409) => Err(Error::Foreign(format!("volume {name}"))),
            Err(fault) => Err(fault.into_error(&format!("create the volume {name}"))),
        }
    }

    /// The labels of a volume; `None` if foreign or absent.
    async fn volume_labels(&self, name: &str) -> Result<Option<Labels>> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_volume(name)).await {
            Ok(volume) => Ok(Labels::from_map(&volume.labels)),
            Err(fault) if fault.has_code(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("inspect the volume {name}"))),
        }
    }

    pub(crate) async fn volume_remove(&self, name: &str) -> Result<(), CallError> {
        let docker = self.engine.docker().await?;
        let options = RemoveVolumeOptionsBuilder::default().build();
        absent_is_fine(
            self.engine
                .call(CALL, docker.remove_volume(name, Some(options)))
                .await,
        )
    }
}
