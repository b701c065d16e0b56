//! Baseline: the same containers created by hand, directly through the engine's API.
//!
//! The requests are those of containers created by Chainpool, with other names and ports. Files are rendered
//! before the clock starts.

use crate::heights::Heights;
use anyhow::{Context, Result};
use bollard::{
    Docker, body_full,
    models::{
        ContainerCreateBody, ContainerInspectResponse, EndpointSettings, Ipam, IpamConfig,
        NetworkCreateRequest, NetworkingConfig, PortBinding,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
        ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
        StartContainerOptions, UploadToContainerOptionsBuilder,
    },
};
use chainpool_agent::{ClusterSpec, NetworkSpec, NodeSpec, Secret};
use chainpool_api::{Cluster, Timestamp};
use chainpool_networks::{PublicEndpoints, Registry, RenderRequest};
use chainpool_tests::Engine;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};
use tar::{Builder, EntryType, Header};
use tokio::sync::OnceCell;

const LABEL: &str = "chainpool.bench";
const FIRST_PORT: u16 = 31_500;
/// Concurrent starts with the best throughput, measured: two per core.
const AT_ONCE: usize = 4;

/// Creates containers like those of a cluster.
pub(crate) struct Baseline {
    docker: Docker,
    heights: Heights,
    run_id: String,
    /// Type, validated parameters and containers of Chainpool's cluster.
    network_type: String,
    parameters: serde_json::Value,
    prototypes: Vec<ContainerInspectResponse>,
}

/// A network to create: its name and subnet, and the spec that Chainpool renders for it.
struct Plan {
    network: String,
    subnet: String,
    spec: ClusterSpec,
    /// RPC ports of the validators.
    rpc: Vec<u16>,
}

impl Baseline {
    /// Inspects the containers of Chainpool's cluster.
    pub(crate) async fn like(engine: &Engine, cluster: &Cluster) -> Result<Self> {
        let mut prototypes = Vec::new();
        for node in &cluster.nodes {
            let name = Engine::container(cluster, &node.name);
            prototypes.push(
                engine
                    .docker()
                    .inspect_container(&name, None::<InspectContainerOptions>)
                    .await?,
            );
        }
        Ok(Self {
            docker: engine.docker().clone(),
            heights: Heights::new()?,
            run_id: format!("bench-{}", std::process::id()),
            network_type: cluster.network_type.clone(),
            parameters: cluster.parameters.clone(),
            prototypes,
        })
    }

    /// Creates one network with its nodes in parallel; returns the seconds until all have started.
    pub(crate) async fn started(&self) -> Result<f64> {
        let start = Instant::now();
        self.start(&self.plan(0)?).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    async fn start(&self, plan: &Plan) -> Result<()> {
        self.network(plan).await?;
        try_join_all((0..plan.spec.nodes.len()).map(|index| self.node(plan, index)))
            .await
            .map(drop)
    }

    /// Creates one network of validators in parallel; returns the seconds until all have started and until
    /// all have the first block.
    pub(crate) async fn one(&self) -> Result<(f64, f64)> {
        let plan = self.plan(0)?;
        let start = Instant::now();
        self.start(&plan).await?;
        let started = start.elapsed().as_secs_f64();
        self.heights.all_above(&addresses(&plan.rpc), 0).await?;
        Ok((started, start.elapsed().as_secs_f64()))
    }

    /// Creates several networks, [`AT_ONCE`] containers at a time; returns the same two durations.
    pub(crate) async fn many(&self, count: u8) -> Result<(f64, f64)> {
        let plans = (0..count)
            .map(|index| self.plan(index))
            .collect::<Result<Vec<_>>>()?;
        let networks: Vec<OnceCell<()>> = plans.iter().map(|_| OnceCell::new()).collect();
        let nodes = plans
            .iter()
            .zip(&networks)
            .flat_map(|(plan, network)| (0..plan.spec.nodes.len()).map(move |index| (plan, network, index)));
        let start = Instant::now();
        stream::iter(nodes)
            .map(async |(plan, network, index)| {
                network.get_or_try_init(|| self.network(plan)).await?;
                self.node(plan, index).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let started = start.elapsed().as_secs_f64();
        let ports: Vec<u16> = plans.iter().flat_map(|plan| plan.rpc.clone()).collect();
        self.heights.all_above(&addresses(&ports), 0).await?;
        Ok((started, start.elapsed().as_secs_f64()))
    }

    fn plan(&self, index: u8) -> Result<Plan> {
        let network = Registry::default().get(&self.network_type)?;
        let parameters = self.parameters.clone();
        let needs = network.requirements(&parameters).ports;
        let ports: Vec<u16> = (FIRST_PORT + u16::from(index) * u16::try_from(needs.len())?..)
            .take(needs.len())
            .collect();
        let subnet = format!("10.214.{}.0/26", 16 + index);
        let request = RenderRequest {
            parameters,
            chain_id: format!("{}-{index}", self.run_id),
            genesis_at: Timestamp::now(),
            network: NetworkSpec {
                subnet: Some(subnet.parse()?),
            },
            ports: needs.into_iter().zip(ports.iter().copied()).collect(),
            public_endpoints: PublicEndpoints {
                address: "127.0.0.1".to_owned(),
                loopback: true,
                machines: BTreeMap::new(),
            },
            images: BTreeMap::new(),
            log: chainpool_agent::LogConfig::default(),
            log_level: chainpool_api::LogLevel::Info,
        };
        let rpc = request
            .ports
            .iter()
            .filter(|(need, _)| need.port == "rpc")
            .map(|(_, port)| *port)
            .collect();
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Ok(Plan {
            network: format!("{}-{index}", self.run_id),
            subnet,
            spec: network.render(&request, &Secret::new(seed)),
            rpc,
        })
    }

    async fn network(&self, plan: &Plan) -> Result<()> {
        let config = IpamConfig {
            subnet: Some(plan.subnet.clone()),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: plan.network.clone(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
            labels: Some(self.labels()),
            ..NetworkCreateRequest::default()
        };
        self.docker.create_network(request).await?;
        Ok(())
    }

    async fn node(&self, plan: &Plan, index: usize) -> Result<()> {
        let node = &plan.spec.nodes[index];
        let name = format!("{}-{}", plan.network, node.name);
        let body = self.body(plan, index, &name)?;
        let container = self
            .docker
            .create_container(
                Some(CreateContainerOptionsBuilder::new().name(&name).build()),
                body,
            )
            .await?;
        if let Some(volume) = node.volumes.first() {
            let options = UploadToContainerOptionsBuilder::new().path(&volume.path).build();
            self.docker
                .upload_to_container(
                    &container.id,
                    Some(options),
                    body_full(pack(node, &volume.path)?.into()),
                )
                .await?;
        }
        self.docker
            .start_container(&container.id, None::<StartContainerOptions>)
            .await?;
        Ok(())
    }

    fn body(&self, plan: &Plan, index: usize, name: &str) -> Result<ContainerCreateBody> {
        let prototype = self.prototypes[index].clone();
        let config = prototype.config.context("a container has its configuration")?;
        let mut host = prototype
            .host_config
            .context("a container has its host configuration")?;
        host.network_mode = Some(plan.network.clone());
        for mount in host.mounts.iter_mut().flatten() {
            mount.source = Some(name.to_owned());
        }
        for (inside, bindings) in host.port_bindings.iter_mut().flatten() {
            let port = plan.spec.nodes[index]
                .ports
                .iter()
                .find(|port| *inside == format!("{}/tcp", port.inside));
            let published = port
                .and_then(|port| port.published)
                .context("a bound port is published")?;
            *bindings = Some(vec![PortBinding {
                host_ip: Some("127.0.0.1".to_owned()),
                host_port: Some(published.to_string()),
            }]);
        }
        let endpoint = EndpointSettings {
            aliases: config.hostname.clone().map(|alias| vec![alias]),
            ..EndpointSettings::default()
        };
        Ok(ContainerCreateBody {
            hostname: config.hostname,
            user: config.user,
            exposed_ports: config.exposed_ports,
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            image: config.image,
            labels: Some(self.labels()),
            stop_signal: config.stop_signal,
            stop_timeout: config.stop_timeout,
            host_config: Some(host),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(plan.network.clone(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        })
    }

    /// Removes all created objects.
    pub(crate) async fn clear(&self) -> Result<()> {
        let filters = HashMap::from([("label", vec![format!("{LABEL}={}", self.run_id)])]);
        let containers = self
            .docker
            .list_containers(Some(
                ListContainersOptionsBuilder::new()
                    .all(true)
                    .filters(&filters)
                    .build(),
            ))
            .await?;
        let removed = stream::iter(containers).map(async |container| {
            let id = container.id.context("a container has an id")?;
            self.docker
                .remove_container(
                    &id,
                    Some(RemoveContainerOptionsBuilder::new().force(true).build()),
                )
                .await?;
            for name in container
                .mounts
                .into_iter()
                .flatten()
                .filter_map(|mount| mount.name)
            {
                self.docker
                    .remove_volume(&name, None::<RemoveVolumeOptions>)
                    .await?;
            }
            anyhow::Ok(())
        });
        removed.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        for network in self
            .docker
            .list_networks(Some(ListNetworksOptionsBuilder::new().filters(&filters).build()))
            .await?
        {
            self.docker
                .remove_network(&network.id.context("a network has an id")?)
                .await?;
        }
        Ok(())
    }

    fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(LABEL.to_owned(), self.run_id.clone())])
    }
}

fn addresses(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
}

/// Packs a node's files into a tar for its volume.
fn pack(node: &NodeSpec, mount: &str) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    let header = |kind: EntryType, size: usize, mode: u32, owner: (u32, u32)| -> Result<Header> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(u64::try_from(size)?);
        header.set_mode(mode);
        header.set_uid(owner.0.into());
        header.set_gid(owner.1.into());
        Ok(header)
    };
    for file in &node.files {
        let name = file
            .path
            .strip_prefix(mount)
            .context("all files are below the volume's path")?
            .trim_start_matches('/');
        for (end, _) in name.match_indices('/') {
            if folders.insert(name[..end].to_owned()) {
                tar.append_data(
                    &mut header(EntryType::Directory, 0, 0o755, file.owner)?,
                    &name[..end],
                    std::io::empty(),
                )?;
            }
        }
        let content = file.content.expose().as_slice();
        tar.append_data(
            &mut header(EntryType::Regular, content.len(), file.mode, file.owner)?,
            name,
            content,
        )?;
    }
    Ok(tar.into_inner()?)
}
