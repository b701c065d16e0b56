//! A swarm as test platform of the kit.

use crate::bed::{self, Bed, change};
use anyhow::{Context, Result};
use async_trait::async_trait;
use bollard::{
    errors::Error as Bollard,
    models::{
        Ipam, IpamConfig, NetworkCreateRequest, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
        TaskSpec, TaskSpecContainerSpec, VolumeCreateRequest,
    },
    query_parameters::{InspectServiceOptions, RemoveVolumeOptionsBuilder},
};
use chainpool_agent::{
    Agent, ClusterKey, InstanceId, NetworkSpec, NodeSpec, ObjectKind,
    kit::{Foreign, TestPlatform, TestPlatformResult},
    network_name, node_object_name, volume_name,
};
use chainpool_agent_docker::SwarmAgent;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

/// The column of the table.
pub(crate) const NAME: &str = "Swarm";

pub(crate) struct SwarmTestPlatform {
    bed: Bed,
    /// Counts subnets and ports; a random start keeps two runs on one swarm apart.
    count: AtomicU16,
}

impl SwarmTestPlatform {
    pub(crate) fn new(bed: Bed) -> Self {
        Self {
            bed,
            count: AtomicU16::new(rand::random_range(0..1024)),
        }
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.bed.close().await
    }

    fn next(&self) -> u16 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn subnet(&self) -> String {
        let slot = self.next() % 1024;
        format!("10.211.{}.{}/26", slot / 4, slot % 4 * 64)
    }

    async fn foreign_service(&self, name: &str) -> Result<String> {
        let container = TaskSpecContainerSpec {
            image: Some(self.bed.image.pinned.clone()),
            command: Some(["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec()),
            ..TaskSpecContainerSpec::default()
        };
        let spec = ServiceSpec {
            name: Some(name.to_owned()),
            task_template: Some(TaskSpec {
                container_spec: Some(container),
                ..TaskSpec::default()
            }),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }),
                ..ServiceSpecMode::default()
            }),
            ..ServiceSpec::default()
        };
        self.bed.machines[0]
            .create_service(spec, None)
            .await?
            .id
            .context("a service has an id")
    }
}

#[async_trait]
impl TestPlatform for SwarmTestPlatform {
    fn name(&self) -> &str {
        NAME
    }

    fn connect(&self, instance: InstanceId) -> chainpool_agent::Result<Arc<dyn Agent>> {
        Ok(Arc::new(SwarmAgent::connect(
            &self.bed.connection(instance),
            &bed::tools(),
        )?))
    }

    fn images(&self) -> Vec<String> {
        vec![self.bed.image.name.clone()]
    }

    fn network(&self) -> NetworkSpec {
        NetworkSpec {
            subnet: Some(self.subnet().parse().expect("a valid subnet")),
        }
    }

    fn port(&self) -> u16 {
        20_000 + self.next() % 10_000
    }

    async fn foreign_create(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<Option<Foreign>> {
        let object = node_object_name(key, &node.name);
        let (name, id) = match kind {
            ObjectKind::Node | ObjectKind::Job => (object.clone(), self.foreign_service(&object).await?),
            ObjectKind::Part => {
                let name = format!("{object}-place");
                let id = self.foreign_service(&name).await?;
                (name, id)
            }
            ObjectKind::Network => {
                let config = IpamConfig {
                    subnet: Some(self.subnet()),
                    ..IpamConfig::default()
                };
                let name = network_name(key);
                let ipam = Ipam {
                    config: Some(vec![config]),
                    ..Ipam::default()
                };
                let driver = Some("overlay".to_owned());
                let request = NetworkCreateRequest {
                    name: name.clone(),
                    driver,
                    ipam: Some(ipam),
                    ..NetworkCreateRequest::default()
                };
                (name, self.bed.machines[0].create_network(request).await?.id)
            }
            // On the node's machine: single nodes of the kit run on the first.
            ObjectKind::Volume => {
                let name = volume_name(
                    key,
                    &node.name,
                    &node.volumes.first().context("the node has no volume")?.name,
                );
                let request = VolumeCreateRequest {
                    name: Some(name.clone()),
                    ..VolumeCreateRequest::default()
                };
                self.bed.machines[0].create_volume(request).await?;
                (name.clone(), name)
            }
        };
        Ok(Some(Foreign { kind, name, id }))
    }

    async fn foreign_state(&self, foreign: &Foreign) -> TestPlatformResult<String> {
        let manager = &self.bed.machines[0];
        Ok(match foreign.kind {
            ObjectKind::Node | ObjectKind::Job | ObjectKind::Part => {
                format!(
                    "{:?}",
                    manager
                        .inspect_service(&foreign.id, None::<InspectServiceOptions>)
                        .await?
                        .spec
                )
            }
            ObjectKind::Network => {
                let found = manager.inspect_network(&foreign.id, None).await?;
                format!("{:?} {:?} {:?}", found.name, found.labels, found.created)
            }
            ObjectKind::Volume => {
                let found = manager.inspect_volume(&foreign.id).await?;
                format!("{} {:?} {:?}", found.name, found.created_at, found.labels)
            }
        })
    }

    async fn foreign_remove(&self, foreign: &Foreign) -> TestPlatformResult<()> {
        let manager = &self.bed.machines[0];
        let removed = match foreign.kind {
            ObjectKind::Node | ObjectKind::Job | ObjectKind::Part => {
                manager.delete_service(&foreign.id).await
            }
            ObjectKind::Network => manager.remove_network(&foreign.id).await,
            ObjectKind::Volume => {
                manager
                    .remove_volume(&foreign.id, Some(RemoveVolumeOptionsBuilder::default().build()))
                    .await
            }
        };
        match removed {
            Ok(()) | Err(Bollard::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn restart(&self) -> TestPlatformResult<bool> {
        // The machine of the kit's nodes and of the manager in use.
        if !self.bed.ours {
            return Ok(false);
        }
        change(&["stop", "1"])?;
        change(&["start", "1"])?;
        Ok(true)
    }

    async fn leftovers(&self, instance: InstanceId) -> TestPlatformResult<Vec<String>> {
        Ok(self.bed.leak_check(instance).await?.0)
    }

    fn exempt(&self, promise: &str) -> Option<String> {
        let why = match promise {
            "file-outside-volumes" => {
                "a swarm stores files outside volumes, secrets included, only as its own objects: refused with the reason"
            }
            "volume-gone" => {
                "a swarm does not report the volumes of its machines; a restarted ledger is detected by its heights"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }

    fn step_timeout(&self) -> Duration {
        Duration::from_secs(90)
    }

    fn concurrency(&self) -> usize {
        2
    }
}
