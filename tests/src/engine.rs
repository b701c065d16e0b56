//! The real engine beside Chainpool: faults are made here, and what exists is counted here.

use anyhow::{Context, Result};
use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerCreateBody, Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
        ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    },
};
use std::collections::{BTreeSet, HashMap};

/// The image that the ledgers run when no official one can be pulled; foreign containers are made from it too.
pub(crate) const IMAGE: &str = "chainpool/cometbft:0.38.21";

/// The chaincode that tests deploy: as a parameter of a Fabric network.
pub const CHAINCODE: &str = "basic:1.0=chainpool/fabric-chaincode:0.1.0";

/// A connection to the engine.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    /// Its address.
    pub address: String,
}

/// Objects that are not Chainpool's, with the names that it would use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Container ids.
    pub containers: BTreeSet<String>,
    /// Network ids.
    pub networks: BTreeSet<String>,
    /// Volume names.
    pub volumes: BTreeSet<String>,
}

impl Engine {
    /// The engine that the tests run on: `CHAINPOOL_TEST_DOCKER`, else the local one.
    pub async fn local() -> Result<Self> {
        Self::at(
            &std::env::var("CHAINPOOL_TEST_DOCKER")
                .unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned()),
        )
        .await
    }

    /// The engine at an address.
    pub async fn at(address: &str) -> Result<Self> {
        let docker = match address.strip_prefix("unix://") {
            Some(socket) => Docker::connect_with_unix(socket, 30, API_DEFAULT_VERSION)?,
            None => Docker::connect_with_http(address, 30, API_DEFAULT_VERSION)?,
        };
        let docker = docker
            .negotiate_version()
            .await
            .with_context(|| format!("no engine answers at {address}: run `make engine`"))?;
        Ok(Self {
            docker,
            address: address.to_owned(),
        })
    }

    /// The engine's API.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// What carries an instance's label: kind and name of each object.
    pub async fn ours(&self, instance: &str) -> Result<Vec<String>> {
        let filters = HashMap::from([("label", vec![format!("chainpool.instance={instance}")])]);
        let containers = self
            .docker
            .list_containers(Some(
                ListContainersOptionsBuilder::new()
                    .all(true)
                    .filters(&filters)
                    .build(),
            ))
            .await?;
        let networks = self
            .docker
            .list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filters).build()))
            .await?;
        let volumes = self
            .docker
            .list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filters).build()))
            .await?;
        let mut names: Vec<String> = containers
            .into_iter()
            .flat_map(|c| c.names.unwrap_or_default())
            .map(|n| format!("container {n}"))
            .collect();
        names.extend(
            networks
                .into_iter()
                .filter_map(|n| n.name)
                .map(|n| format!("network {n}")),
        );
        names.extend(
            volumes
                .volumes
                .unwrap_or_default()
                .into_iter()
                .map(|v| format!("volume {}", v.name)),
        );
        Ok(names)
    }

    /// Removes what carries an instance's label, and says how many objects that were.
    pub(crate) async fn sweep(&self, instance: &str) -> Result<usize> {
        let all = self.ours(instance).await?;
        for object in &all {
            let (kind, name) = object.split_once(' ').context("kind and name")?;
            match kind {
                "container" => self.remove(name.trim_start_matches('/')).await?,
                "network" => self.docker.remove_network(name).await?,
                _ => {
                    self.docker
                        .remove_volume(name, None::<RemoveVolumeOptions>)
                        .await?
                }
            }
        }
        Ok(all.len())
    }

    /// The containers of one generation of a cluster with their labels: name and node.
    pub async fn containers_of(&self, cluster: uuid::Uuid) -> Result<Vec<(String, HashMap<String, String>)>> {
        let filters = HashMap::from([("label", vec![format!("chainpool.cluster={cluster}")])]);
        let listed = self
            .docker
            .list_containers(Some(
                ListContainersOptionsBuilder::new()
                    .all(true)
                    .filters(&filters)
                    .build(),
            ))
            .await?;
        let name = |c: &bollard::models::ContainerSummary| {
            c.names
                .clone()
                .unwrap_or_default()
                .first()
                .map(|n| n.trim_start_matches('/').to_owned())
        };
        Ok(listed
            .into_iter()
            .filter_map(|c| Some((name(&c)?, c.labels.unwrap_or_default())))
            .collect())
    }

    /// The name of a node's container.
    pub fn container(cluster: &chainpool_api::Cluster, node: &str) -> String {
        format!("{}-{node}", Self::network(cluster))
    }

    /// The name of a cluster's network.
    pub fn network(cluster: &chainpool_api::Cluster) -> String {
        format!(
            "cp-{}-{}",
            &cluster.id.simple().to_string()[20..],
            cluster.generation
        )
    }

    /// Freezes a container.
    pub async fn pause(&self, name: &str) -> Result<()> {
        Ok(self.docker.pause_container(name).await?)
    }

    /// Thaws a container.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        Ok(self.docker.unpause_container(name).await?)
    }

    /// Kills a container's process; the engine does not start it again.
    pub async fn kill(&self, name: &str) -> Result<()> {
        Ok(self
            .docker
            .kill_container(
                name,
                Some(KillContainerOptionsBuilder::new().signal("SIGKILL").build()),
            )
            .await?)
    }

    /// Removes a container by hand.
    pub async fn remove(&self, name: &str) -> Result<()> {
        Ok(self
            .docker
            .remove_container(
                name,
                Some(RemoveContainerOptionsBuilder::new().force(true).build()),
            )
            .await?)
    }

    /// A container's id and start.
    pub async fn life(&self, name: &str) -> Result<(String, String)> {
        let seen = self
            .docker
            .inspect_container(name, None::<bollard::query_parameters::InspectContainerOptions>)
            .await?;
        Ok((
            seen.id.unwrap_or_default(),
            seen.state.and_then(|s| s.started_at).unwrap_or_default(),
        ))
    }

    /// What a container has said until now.
    pub async fn said(&self, name: &str) -> Result<String> {
        use futures::TryStreamExt;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        Ok(self
            .docker
            .logs(name, Some(options))
            .map_ok(|line| line.to_string())
            .try_collect()
            .await?)
    }

    /// The content of the file of this name in a container's ledger data.
    pub async fn file(&self, name: &str, file: &str) -> Result<Vec<u8>> {
        use futures::TryStreamExt;
        let options = bollard::query_parameters::DownloadFromContainerOptionsBuilder::new()
            .path(&format!("/cometbft/home/data/{file}"))
            .build();
        let archive: Vec<u8> = self
            .docker
            .download_from_container(name, Some(options))
            .map_ok(|b| b.to_vec())
            .try_concat()
            .await?;
        // One file in a tar: a header block of 512 bytes with the size in octal, then the content.
        let size = std::str::from_utf8(archive.get(124..135).context("a tar header")?)?;
        let size = usize::from_str_radix(size.trim_matches(|c: char| c == '\0' || c == ' '), 8)?;
        Ok(archive
            .get(512..512 + size)
            .context("the file's content")?
            .to_vec())
    }

    /// The names of a cluster's volumes.
    pub async fn volumes_of(&self, cluster: uuid::Uuid) -> Result<Vec<String>> {
        let filters = HashMap::from([("label", vec![format!("chainpool.cluster={cluster}")])]);
        let listed = self
            .docker
            .list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filters).build()))
            .await?;
        Ok(listed
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|v| v.name)
            .collect())
    }

    /// The subnets of an instance's networks.
    pub async fn subnets(&self, instance: &str) -> Result<Vec<String>> {
        let filters = HashMap::from([("label", vec![format!("chainpool.instance={instance}")])]);
        let listed = self
            .docker
            .list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filters).build()))
            .await?;
        Ok(listed
            .into_iter()
            .filter_map(|n| n.ipam?.config)
            .flatten()
            .filter_map(|c| c.subnet)
            .collect())
    }

    /// Makes a container that is not ours.
    pub async fn foreign_container(&self, name: &str) -> Result<String> {
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            cmd: Some(vec!["version".to_owned()]),
            ..ContainerCreateBody::default()
        };
        Ok(self
            .docker
            .create_container(
                Some(CreateContainerOptionsBuilder::new().name(name).build()),
                body,
            )
            .await?
            .id)
    }

    /// Makes a network that is not ours.
    pub async fn foreign_network(&self, name: &str) -> Result<String> {
        self.network_create(name, None).await
    }

    /// Makes a network that is not ours on a subnet that might be.
    pub async fn foreign_network_on(&self, name: &str, subnet: &str) -> Result<String> {
        let config = vec![IpamConfig {
            subnet: Some(subnet.to_owned()),
            ..IpamConfig::default()
        }];
        self.network_create(
            name,
            Some(Ipam {
                config: Some(config),
                ..Ipam::default()
            }),
        )
        .await
    }

    async fn network_create(&self, name: &str, ipam: Option<Ipam>) -> Result<String> {
        Ok(self
            .docker
            .create_network(NetworkCreateRequest {
                name: name.to_owned(),
                ipam,
                ..NetworkCreateRequest::default()
            })
            .await?
            .id)
    }

    /// Makes a volume that is not ours.
    pub async fn foreign_volume(&self, name: &str) -> Result<String> {
        let made = self
            .docker
            .create_volume(VolumeCreateRequest {
                name: Some(name.to_owned()),
                ..VolumeCreateRequest::default()
            })
            .await?;
        Ok(made.name)
    }

    /// Removes what is not ours again; fails when any of it has gone.
    pub async fn remove_foreign(&self, foreign: &Foreign) -> Result<()> {
        for id in &foreign.containers {
            self.docker
                .remove_container(id, Some(RemoveContainerOptionsBuilder::new().force(true).build()))
                .await
                .context("a foreign container is gone")?;
        }
        for id in &foreign.networks {
            self.docker
                .remove_network(id)
                .await
                .context("a foreign network is gone")?;
        }
        for name in &foreign.volumes {
            self.docker
                .remove_volume(name, None::<RemoveVolumeOptions>)
                .await
                .context("a foreign volume is gone")?;
        }
        Ok(())
    }
}
