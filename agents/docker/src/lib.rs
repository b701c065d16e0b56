//! Agents for Docker engines, single or in a swarm.
//!
//! [`DockerPlatform`] makes a [`DockerAgent`] from an address. The agent implements
//! [`chainpool_agent::Agent`] through the engine's API only (Docker 20.10 or newer). It labels its objects
//! with this instance and changes only objects with that label. It is stateless: everything is read from the
//! engine, so any process may repeat any verb. [`SwarmPlatform`] and [`SwarmAgent`] do the same through the
//! managers of a swarm.

mod archive;
mod connect;
mod container;
mod dial;
mod engine;
mod events;
mod filter;
mod image;
mod job;
mod logs;
mod network;
mod node;
mod observe;
mod probe;
mod remove;
mod resources_in_use;
mod shape;
mod swarm;
mod transport;
mod volume;

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Generation, ImageRef, ImageRequest,
    ImageSource, Incarnation, InstanceId, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation,
    Platform, PlatformKind, Port, Power, Probe, Result, Scope, Volumes, WakeStream,
};
use connect::Address;
use engine::Engine;
use std::{net::IpAddr, sync::Arc};

pub use swarm::{SwarmAgent, SwarmPlatform};

/// The kind of Docker engines.
pub const DOCKER: PlatformKind = PlatformKind::new("docker");
/// The kind of Docker Swarms.
pub const SWARM: PlatformKind = PlatformKind::new("swarm");

/// Makes agents for Docker engines.
#[derive(Debug, Clone, Copy, Default)]
pub struct DockerPlatform;

impl Platform for DockerPlatform {
    fn kind(&self) -> PlatformKind {
        DOCKER
    }

    fn accepts_address(&self, address: &str) -> bool {
        !address.contains(',') && (address.starts_with("unix://") || address.starts_with("tcp://"))
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(DockerAgent::connect(connection)?))
    }
}

/// The agent of one Docker engine.
pub struct DockerAgent {
    engine: Arc<Engine>,
    instance: InstanceId,
    bind: IpAddr,
    images: ImageSource,
}

impl DockerAgent {
    /// Checks the address and makes an agent, without contacting the engine.
    pub fn connect(connection: &Connection) -> Result<Self> {
        let engine = Arc::new(Engine::new(Address::parse(connection)?));
        Ok(Self {
            engine,
            instance: connection.instance,
            bind: connection.bind,
            images: connection.images(),
        })
    }
}

#[async_trait]
impl Agent for DockerAgent {
    fn capabilities(&self) -> Capabilities {
        // An engine serialises much of its work. Measured: no gain beyond two starts per core, no harm up to
        // this number.
        Capabilities {
            subnets: true,
            machines: false,
            ports: (20_000, 29_999),
            concurrency: 8,
            queues: false,
        }
    }

    async fn probe(&self) -> Result<Probe> {
        self.engine_probe().await
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        self.objects_observe(scope).await
    }

    fn watch(&self) -> WakeStream {
        events::watch(self.engine.clone(), self.instance)
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        self.image_ensure(request).await
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        self.network_ensure(key, network).await
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        self.node_ensure(key, node, image, power).await
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        self.job_ensure(key, job, image).await
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        Ok(self
            .container_find(key, node)
            .await?
            .and_then(|c| c.incarnation()))
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        self.node_remove(key, node, volumes).await
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        self.cluster_remove(cluster, through).await
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream> {
        self.node_logs(key, node, &query).await
    }

    async fn dial(&self, _key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        self.port_dial(node, port).await
    }
}
