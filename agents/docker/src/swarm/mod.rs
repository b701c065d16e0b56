//! The agent of a Docker Swarm: services on machines of the planner's choice, through any manager that
//! answers.
//!
//! - **Managers.** An address may name several. A verb goes to the last working one. If that one is
//!   unresponsive, the whole verb is repeated with the next, which is safe because verbs are idempotent. All
//!   must belong to the same swarm.
//! - **A node** is a service with one replica, pinned to its machine, on an overlay network. The machine
//!   itself publishes its ports (`mode=host`), and its name resolves to its own address (`dnsrr`). Both work
//!   on every kernel; a virtual IP needs IPVS and has no use with one replica.
//! - **Files** cannot be uploaded to a machine without direct access. A one-shot service of our own program
//!   (a helper task) places them in the node's volumes before the node's service is created. They travel as
//!   secrets, which are removed afterwards. So an existing service with the right hash has its files.
//! - **A job** is a service without restarts. A swarm forgets finished tasks, so a job's success is a config,
//!   too: see [`job`].
//! - **Volumes** are unknown to a swarm. An empty config records which node has which volumes on which
//!   machine: see [`record`].

mod dial;
mod files;
mod helper_task;
mod job;
mod machine;
mod manager;
mod network;
mod node;
mod observe;
mod probe;
mod record;
mod remove;
mod service;
mod task;
mod watch;

use crate::{DockerAgent, SWARM};
use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Error, Generation, ImageRef,
    ImageRequest, Incarnation, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation, Platform,
    PlatformKind, Port, Power, Probe, Result, Scope, Volumes, WakeStream,
};
use manager::Swarm;
use std::sync::Arc;

/// Makes agents for Docker Swarms.
#[derive(Debug, Clone)]
pub struct SwarmPlatform {
    /// The image of Chainpool's programs that place files on machines.
    pub tools: ImageRequest,
}

impl Platform for SwarmPlatform {
    fn kind(&self) -> PlatformKind {
        SWARM
    }

    fn accepts_address(&self, address: &str) -> bool {
        address
            .split(',')
            .all(|manager| manager.starts_with("unix://") || manager.starts_with("tcp://"))
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(SwarmAgent::connect(connection, &self.tools)?))
    }
}

/// The agent of one Docker Swarm.
pub struct SwarmAgent(Arc<Swarm>);

impl SwarmAgent {
    /// Checks the addresses and makes an agent, without contacting the managers. `tools` is the image of the
    /// programs that place files on machines.
    pub fn connect(connection: &Connection, tools: &ImageRequest) -> Result<Self> {
        if !connection.bind.is_unspecified() {
            return Err(Error::Refused(format!(
                "a swarm publishes ports on every address of its machines, not only on {}: set bind to 0.0.0.0",
                connection.bind
            )));
        }
        let member = |address: &str| {
            DockerAgent::connect(&Connection {
                address: address.to_owned(),
                ..connection.clone()
            })
        };
        let members = connection
            .address
            .split(',')
            .map(str::trim)
            .map(member)
            .collect::<Result<Vec<_>>>()?;
        Ok(Self(Arc::new(Swarm::new(members, tools.clone()))))
    }
}

#[async_trait]
impl Agent for SwarmAgent {
    fn capabilities(&self) -> Capabilities {
        // Ports below Linux's ephemeral range, as on a single engine.
        Capabilities {
            subnets: true,
            machines: true,
            ports: (20_000, 29_999),
            concurrency: 8,
            queues: false,
        }
    }

    async fn probe(&self) -> Result<Probe> {
        self.0
            .through(|manager| async move { manager.swarm_probe().await })
            .await
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        self.0
            .through(|manager| async move { Box::pin(manager.objects_observe(scope)).await })
            .await
    }

    fn watch(&self) -> WakeStream {
        watch::watch(self.0.clone())
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        self.0
            .through(|manager| async move { manager.image_ensure(request).await })
            .await
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        self.0
            .through(|manager| async move { manager.network_ensure(key, network).await })
            .await
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        self.0
            .through(|manager| async move { manager.node_ensure(key, node, image, power).await })
            .await
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        self.0
            .through(|manager| async move { Box::pin(manager.job_ensure(key, job, image)).await })
            .await
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        self.0
            .through(|manager| async move { manager.node_incarnation(key, node).await })
            .await
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        self.0
            .through(|manager| async move { manager.node_remove(key, node, volumes).await })
            .await
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        self.0
            .through(|manager| async move { manager.cluster_remove(cluster, through).await })
            .await
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream> {
        let query = &query;
        self.0
            .through(|manager| async move { manager.node_logs(key, node, query).await })
            .await
    }

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        self.0.port_dial(key, node, port).await
    }
}
