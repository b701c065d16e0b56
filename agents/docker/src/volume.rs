//! The named volumes of a node.

use crate::{
    DockerAgent,
    engine::{CALL, Fault, absent_is_fine},
};
use bollard::{models::VolumeCreateRequest, query_parameters::RemoveVolumeOptionsBuilder};
use chainpool_agent::{ClusterKey, Error, Labels, NodeSpec, Result, Volume, volume_name};
use futures::future::try_join_all;
use std::collections::BTreeSet;

/// Tells the call that made a volume from the calls that found it there: engines answer both alike.
const LABEL_MAKING: &str = "chainpool.making";

impl DockerAgent {
    /// Makes the node's volumes and returns the mount points of those that are new. They are made by themselves,
    /// because an engine that makes them along with a container gives them no labels.
    pub(crate) async fn volumes_ensure(&self, key: &ClusterKey, node: &NodeSpec) -> Result<BTreeSet<String>> {
        let made = try_join_all(
            node.volumes
                .iter()
                .map(|volume| self.volume_ensure(key, node, volume)),
        )
        .await?;
        Ok(node
            .volumes
            .iter()
            .zip(made)
            .filter(|(_, new)| *new)
            .map(|(volume, _)| volume.path.clone())
            .collect())
    }

    async fn volume_ensure(&self, key: &ClusterKey, node: &NodeSpec, volume: &Volume) -> Result<bool> {
        let docker = self.engine.docker().await?;
        let name = volume_name(key, &node.name, &volume.name);
        let ours = Labels::of_cluster(self.instance, key).node(&node.name);
        let making = uuid::Uuid::new_v4().to_string();
        let mut labels = ours.to_map();
        labels.insert(LABEL_MAKING.to_owned(), making.clone());
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        match self.engine.call(CALL, docker.create_volume(request)).await {
            Ok(volume) if Labels::from_map(&volume.labels).as_ref() == Some(&ours) => {
                Ok(volume.labels.get(LABEL_MAKING) == Some(&making))
            }
            // An engine that was restarted answers without labels until it has looked at the volume.
            Ok(_) if self.volume_labels(&name).await?.as_ref() == Some(&ours) => Ok(false),
            Ok(_) => Err(Error::Foreign(format!("volume {name}"))),
            Err(fault) if fault.is(409) => Err(Error::Foreign(format!("volume {name}"))),
            Err(fault) => Err(fault.into_error(&format!("make the volume {name}"))),
        }
    }

    /// What a volume's labels say; `None` when they are not ours to read, or it is gone.
    async fn volume_labels(&self, name: &str) -> Result<Option<Labels>> {
        let docker = self.engine.docker().await?;
        match self.engine.call(CALL, docker.inspect_volume(name)).await {
            Ok(volume) => Ok(Labels::from_map(&volume.labels)),
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into_error(&format!("show the volume {name}"))),
        }
    }

    pub(crate) async fn volume_remove(&self, name: &str) -> Result<(), Fault> {
        let docker = self.engine.docker().await?;
        let options = RemoveVolumeOptionsBuilder::default().build();
        absent_is_fine(
            self.engine
                .call(CALL, docker.remove_volume(name, Some(options)))
                .await,
        )
    }
}
