//! Direct access to the Docker engine, to inject faults and to check objects.

use crate::wait::within;
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
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Deadline of a pause.
const FREEZE: Duration = Duration::from_mins(2);

/// Image of the ledgers where the official one cannot be pulled, also used for foreign containers.
pub(crate) const IMAGE: &str = "chainpool/cometbft:0.38.21";

/// Chaincode that tests deploy, as a parameter of a Fabric network.
pub const CHAINCODE: &str = "basic:1.0=chainpool/fabric-chaincode:0.1.0";

/// Connection to an engine.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    /// Address of the engine.
    pub address: String,
}

/// Objects without Chainpool's labels, with names that Chainpool would use.
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
    /// Connects to the engine of the tests: `CHAINPOOL_TEST_DOCKER`, by default the local one.
    pub async fn local() -> Result<Self> {
        Self::at(
            &std::env::var("CHAINPOOL_TEST_DOCKER")
                .unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned()),
        )
        .await
    }

    /// Connects to the engine at an address.
    pub async fn at(address: &str) -> Result<Self> {
        let docker = match address.strip_prefix("unix://") {
            Some(socket) => Docker::connect_with_unix(socket, 30, API_DEFAULT_VERSION)?,
            None => Docker::connect_with_http(address, 30, API_DEFAULT_VERSION)?,
        };
        let docker = docker
            .negotiate_version()
            .await
            .with_context(|| format!("cannot reach an engine at {address}; run `make engine`"))?;
        Ok(Self {
            docker,
            address: address.to_owned(),
        })
    }

    /// Returns the API client.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Returns kind and name of each object with an instance's label.
    pub async fn objects_of(&self, instance: &str) -> Result<Vec<String>> {
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

    /// Removes all objects with an instance's label; returns their number.
    pub(crate) async fn remove_objects_of(&self, instance: &str) -> Result<usize> {
        let all = self.objects_of(instance).await?;
        for object in &all {
            let (kind, name) = object.split_once(' ').context("kind and name")?;
            match kind {
                "container" => self.remove(name.trim_start_matches('/')).await?,
                "network" => self.docker.remove_network(name).await?,
                _ => {
                    self.docker
                        .remove_volume(name, None::<RemoveVolumeOptions>)
                        .await?;
                }
            }
        }
        Ok(all.len())
    }

    /// Returns the containers of a cluster: name and labels.
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

    /// Name of a node's container.
    pub fn container(cluster: &chainpool_api::Cluster, node: &str) -> String {
        format!("{}-{node}", Self::network(cluster))
    }

    /// Name of a cluster's network.
    pub fn network(cluster: &chainpool_api::Cluster) -> String {
        format!(
            "cp-{}-{}",
            &cluster.id.simple().to_string()[20..],
            cluster.generation
        )
    }

    /// Pauses a container. With version 1 of the kernel's control groups, runc gives up on processes that start
    /// others meanwhile or on a busy machine (`unable to freeze`), and the container runs on: it is asked again.
    pub async fn pause(&self, name: &str) -> Result<()> {
        within(FREEZE, &format!("{name} to be paused"), async || {
            match self.docker.pause_container(name).await {
                Err(error) if error.to_string().contains("unable to freeze") => Ok(Err(error.to_string())),
                done => Ok(Ok(done?)),
            }
        })
        .await
    }

    /// Unpauses a container.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        Ok(self.docker.unpause_container(name).await?)
    }

    /// Kills a container's process. The engine does not restart it.
    pub async fn kill(&self, name: &str) -> Result<()> {
        Ok(self
            .docker
            .kill_container(
                name,
                Some(KillContainerOptionsBuilder::new().signal("SIGKILL").build()),
            )
            .await?)
    }

    /// Removes a container.
    pub async fn remove(&self, name: &str) -> Result<()> {
        Ok(self
            .docker
            .remove_container(
                name,
                Some(RemoveContainerOptionsBuilder::new().force(true).build()),
            )
            .await?)
    }

    /// Returns a container's id and start time.
    pub async fn incarnation(&self, name: &str) -> Result<(String, String)> {
        let container = self
            .docker
            .inspect_container(name, None::<bollard::query_parameters::InspectContainerOptions>)
            .await?;
        Ok((
            container.id.unwrap_or_default(),
            container.state.and_then(|s| s.started_at).unwrap_or_default(),
        ))
    }

    /// Returns a container's output so far.
    pub async fn logs(&self, name: &str) -> Result<String> {
        use futures::TryStreamExt;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        Ok(self
            .docker
            .logs(name, Some(options))
            .map_ok(|line| line.to_string())
            .try_collect()
            .await?)
    }

    /// Returns the content of a file in a container's ledger data.
    pub async fn ledger_file(&self, name: &str, file: &str) -> Result<Vec<u8>> {
        self.file(name, &format!("/cometbft/home/data/{file}")).await
    }

    /// Returns the content of a container's file.
    pub async fn file(&self, name: &str, path: &str) -> Result<Vec<u8>> {
        use futures::TryStreamExt;
        let options = bollard::query_parameters::DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let archive: Vec<u8> = self
            .docker
            .download_from_container(name, Some(options))
            .map_ok(|b| b.to_vec())
            .try_concat()
            .await?;
        // A tar with one file: a header of 512 bytes with the size in octal, then the content.
        let size = std::str::from_utf8(archive.get(124..135).context("a tar header")?)?;
        let size = usize::from_str_radix(size.trim_matches(|c: char| c == '\0' || c == ' '), 8)?;
        Ok(archive
            .get(512..512 + size)
            .context("the file's content")?
            .to_vec())
    }

    /// Returns the names of a cluster's volumes.
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

    /// Returns the subnets of an instance's networks.
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

    /// Creates a foreign container; returns its id.
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

    /// Creates a foreign network; returns its id.
    pub async fn foreign_network(&self, name: &str) -> Result<String> {
        self.network_create(name, None).await
    }

    /// Creates a foreign network on a given subnet; returns its id.
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

    /// Creates a foreign volume; returns its name.
    pub async fn foreign_volume(&self, name: &str) -> Result<String> {
        let volume = self
            .docker
            .create_volume(VolumeCreateRequest {
                name: Some(name.to_owned()),
                ..VolumeCreateRequest::default()
            })
            .await?;
        Ok(volume.name)
    }

    /// Removes foreign objects; fails if one of them no longer exists.
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
