//! A Docker engine as test platform of the kit.

use crate::{busybox, engine::OwnEngine};
use anyhow::{Context, Result};
use async_trait::async_trait;
use bollard::{
    Docker,
    errors::Error as Bollard,
    models::{
        ContainerCreateBody, Ipam, IpamConfig, NetworkCreateRequest, NetworkDisconnectRequest,
        VolumeCreateRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        RemoveVolumeOptionsBuilder, RenameContainerOptionsBuilder,
    },
};
use chainpool_agent::{
    Agent, ClusterKey, Connection, ImageRef, InstanceId, LABEL_CLUSTER, LABEL_GENERATION, LABEL_INSTANCE,
    LABEL_NODE, NetworkSpec, NodeSpec, ObjectKind,
    kit::{Foreign, Interference, TestPlatform, TestPlatformResult},
    network_name, node_object_name, volume_name,
};
use chainpool_agent_docker::DockerAgent;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

/// The column of the table.
pub(crate) const NAME: &str = "Docker";

pub(crate) struct DockerTestPlatform {
    docker: Docker,
    address: String,
    bind: Ipv4Addr,
    image: ImageRef,
    /// Counts subnets and ports; a random start keeps two runs on one engine apart.
    count: AtomicU16,
    /// The engine, if the test owns it and may restart it.
    own: Option<OwnEngine>,
}

impl DockerTestPlatform {
    pub(crate) async fn open(address: String, bind: Ipv4Addr, own: Option<OwnEngine>) -> Result<Self> {
        let docker = Docker::connect_with_host(&address)?
            .negotiate_version()
            .await
            .context("start dockerd, as `make test` does")?;
        let image = busybox::import(&docker, InstanceId::new()).await?;
        Ok(Self {
            docker,
            address,
            bind,
            image,
            count: AtomicU16::new(rand::random_range(0..1024)),
            own,
        })
    }

    /// Removes the image.
    pub(crate) async fn close(self) -> Result<()> {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        self.docker
            .remove_image(&self.image.name, Some(options), None)
            .await?;
        Ok(())
    }

    fn next(&self) -> u16 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    fn subnet(&self) -> String {
        let slot = self.next() % 1024;
        format!("10.211.{}.{}/26", slot / 4, slot % 4 * 64)
    }
}

#[async_trait]
impl TestPlatform for DockerTestPlatform {
    fn name(&self) -> &str {
        NAME
    }

    fn connect(&self, instance: InstanceId) -> chainpool_agent::Result<Arc<dyn Agent>> {
        Ok(Arc::new(DockerAgent::connect(&Connection {
            instance,
            address: self.address.clone(),
            kubeconfig: None,
            storage_class: None,
            tls: None,
            insecure: false,
            bind: self.bind.into(),
            mirror: None,
            registry: None,
        })?))
    }

    fn images(&self) -> Vec<String> {
        vec![self.image.name.clone()]
    }

    fn network(&self) -> NetworkSpec {
        NetworkSpec {
            subnet: Some(self.subnet().parse().expect("a valid subnet")),
        }
    }

    fn port(&self) -> u16 {
        // Within the capabilities' range, without ports that local programs use.
        std::iter::repeat_with(|| 20_000 + self.next() % 10_000)
            .find(|port| self.own.is_some() || TcpListener::bind((self.bind, *port)).is_ok())
            .expect("an endless list")
    }

    async fn foreign_create(
        &self,
        kind: ObjectKind,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<Option<Foreign>> {
        let (name, id) = match kind {
            ObjectKind::Node | ObjectKind::Job => {
                let name = node_object_name(key, &node.name);
                let body = ContainerCreateBody {
                    image: Some(self.image.pinned.clone()),
                    cmd: Some(["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec()),
                    ..ContainerCreateBody::default()
                };
                let options = CreateContainerOptionsBuilder::default().name(&name).build();
                let id = self.docker.create_container(Some(options), body).await?.id;
                self.docker.start_container(&id, None).await?;
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
                let request = NetworkCreateRequest {
                    name: name.clone(),
                    ipam: Some(ipam),
                    ..NetworkCreateRequest::default()
                };
                (name, self.docker.create_network(request).await?.id)
            }
            ObjectKind::Volume => {
                let name = volume_name(
                    key,
                    &node.name,
                    &node.volumes.first().context("the node has no volume")?.name,
                );
                self.docker
                    .create_volume(VolumeCreateRequest {
                        name: Some(name.clone()),
                        ..VolumeCreateRequest::default()
                    })
                    .await?;
                (name.clone(), name)
            }
            // An engine places files in the container itself.
            ObjectKind::Part => return Ok(None),
        };
        Ok(Some(Foreign { kind, name, id }))
    }

    async fn foreign_state(&self, foreign: &Foreign) -> TestPlatformResult<String> {
        Ok(match foreign.kind {
            ObjectKind::Node | ObjectKind::Job => {
                let found = self.docker.inspect_container(&foreign.id, None).await?;
                format!(
                    "{:?} {:?} {:?}",
                    found.name,
                    found.state,
                    found.config.and_then(|c| c.labels)
                )
            }
            ObjectKind::Network => {
                let found = self.docker.inspect_network(&foreign.id, None).await?;
                format!(
                    "{:?} {:?} {:?} {:?}",
                    found.name, found.ipam, found.labels, found.containers
                )
            }
            ObjectKind::Volume | ObjectKind::Part => {
                let found = self.docker.inspect_volume(&foreign.id).await?;
                format!("{} {:?} {:?}", found.name, found.created_at, found.labels)
            }
        })
    }

    async fn foreign_remove(&self, foreign: &Foreign) -> TestPlatformResult<()> {
        let removed = match foreign.kind {
            ObjectKind::Node | ObjectKind::Job => {
                let options = RemoveContainerOptionsBuilder::default().force(true).build();
                self.docker.remove_container(&foreign.id, Some(options)).await
            }
            ObjectKind::Network => self.docker.remove_network(&foreign.id).await,
            ObjectKind::Volume | ObjectKind::Part => {
                self.docker
                    .remove_volume(&foreign.id, Some(RemoveVolumeOptionsBuilder::default().build()))
                    .await
            }
        };
        match removed {
            Ok(()) | Err(Bollard::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn interfere(
        &self,
        interference: Interference,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> TestPlatformResult<bool> {
        let label = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}");
        let labels = vec![
            label(LABEL_CLUSTER, &key.cluster),
            label(LABEL_GENERATION, &key.generation),
            label(LABEL_NODE, &node.name),
        ];
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.docker.list_containers(Some(options)).await?;
        let container = listed.into_iter().find_map(|container| container.id);
        let container = || container.clone().context("the node has a container");
        match interference {
            Interference::Rename => {
                let name = format!("somebodys-{}", InstanceId::new());
                let options = RenameContainerOptionsBuilder::default().name(&name).build();
                self.docker.rename_container(&container()?, options).await?;
            }
            Interference::Disconnect => {
                let request = NetworkDisconnectRequest {
                    container: container()?,
                    force: Some(true),
                };
                self.docker
                    .disconnect_network(&network_name(key), request)
                    .await?;
            }
            Interference::LoseVolume => {
                let name = volume_name(
                    key,
                    &node.name,
                    &node.volumes.first().context("the node has no volume")?.name,
                );
                self.docker
                    .remove_volume(&name, Some(RemoveVolumeOptionsBuilder::default().build()))
                    .await?;
            }
        }
        Ok(true)
    }

    async fn restart(&self) -> TestPlatformResult<bool> {
        let Some(engine) = &self.own else { return Ok(false) };
        engine.restart().await?;
        Ok(true)
    }

    async fn leftovers(&self, instance: InstanceId) -> TestPlatformResult<Vec<String>> {
        let filters = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={instance}")])]);
        let containers = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let containers = self
            .docker
            .list_containers(Some(containers))
            .await?
            .into_iter()
            .filter_map(|c| c.names?.pop());
        let networks = self
            .docker
            .list_networks(Some(networks))
            .await?
            .into_iter()
            .filter_map(|n| n.name);
        let volumes = self
            .docker
            .list_volumes(Some(volumes))
            .await?
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|v| v.name);
        Ok(containers.chain(networks).chain(volumes).collect())
    }
}
