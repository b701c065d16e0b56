//! Agent for Kubernetes clusters.
//!
//! [`KubernetesPlatform`] creates a [`KubernetesAgent`] from an address and a kubeconfig. The agent
//! implements [`chainpool_agent::Agent`] through the API server alone: server-side apply, watches and
//! port-forward. It executes nothing in a container.
//!
//! Each generation of a cluster is a namespace under restricted Pod Security, each node a stateful set of one
//! pod, each job a batch job. All objects carry the labels of this instance, and the agent changes only
//! objects with these labels. It keeps no state: it reads the cluster when needed, so every call can be
//! repeated, also by another process.

mod apply;
mod build;
mod connect;
mod dial;
#[cfg(test)]
mod fake_server;
mod files;
mod filter;
mod image;
mod job;
mod logs;
mod namespace;
mod namespace_objects;
mod node;
mod node_builder;
mod observe;
mod pod;
mod pod_status;
mod probe;
mod remove;
mod response_limit;
mod server;
mod storage;
mod user;
mod watch;

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Generation, ImageRef, ImageRequest,
    ImageSource, Incarnation, InstanceId, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation,
    Platform, PlatformKind, Port, Power, Probe, Result, Scope, Volumes, WakeStream,
};
use pod_status::PodStatus;
use server::Server;
use std::sync::{Arc, Mutex, atomic::AtomicUsize};

/// The kind of Kubernetes clusters.
pub const KUBERNETES: PlatformKind = PlatformKind::new("kubernetes");

/// Creates agents for Kubernetes clusters.
#[derive(Debug, Clone)]
pub struct KubernetesPlatform {
    /// The image of Chainpool's programs that place files in nodes.
    pub tools: ImageRequest,
}

impl Platform for KubernetesPlatform {
    fn kind(&self) -> PlatformKind {
        KUBERNETES
    }

    fn accepts_address(&self, address: &str) -> bool {
        address == "in-cluster" || address.starts_with("https://")
    }

    fn settings(&self) -> &'static [&'static str] {
        &["kubeconfig", "storage_class"]
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(KubernetesAgent::connect(connection, &self.tools)?))
    }
}

/// Agent for one Kubernetes cluster.
pub struct KubernetesAgent {
    server: Arc<Server>,
    instance: InstanceId,
    storage_class: Option<String>,
    images: ImageSource,
    /// The image that places files.
    tools: ImageRequest,
    /// The same, once found.
    tools_found: Mutex<Option<ImageRef>>,
    /// The number of image pulls in progress.
    pulls: AtomicUsize,
}

impl KubernetesAgent {
    /// Validates address and kubeconfig. Sends no request: the API server may be down. `tools` is the image
    /// of the programs that place files in nodes.
    pub fn connect(connection: &Connection, tools: &ImageRequest) -> Result<Self> {
        Ok(Self {
            server: Arc::new(Server::new(connect::config(connection)?)),
            instance: connection.instance,
            storage_class: connection.storage_class.clone(),
            images: connection.images(),
            tools: tools.clone(),
            tools_found: Mutex::new(None),
            pulls: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Agent for KubernetesAgent {
    fn capabilities(&self) -> Capabilities {
        // The ports are the default node port range of Kubernetes.
        Capabilities {
            subnets: false,
            machines: false,
            ports: (30_000, 32_767),
            concurrency: 32,
            queues: true,
        }
    }

    async fn probe(&self) -> Result<Probe> {
        self.cluster_probe().await
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        self.objects_observe(scope).await
    }

    fn watch(&self) -> WakeStream {
        watch::watch(self.server.clone(), self.instance)
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        self.image_ensure(request).await
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        self.namespace_ensure(key, network).await
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        Box::pin(self.node_ensure(key, node, image, power)).await
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        Box::pin(self.job_ensure(key, job, image)).await
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        Ok(self
            .pod_find(key, node)
            .await?
            .and_then(|pod| PodStatus::of(&pod).incarnation()))
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

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        self.port_dial(key, node, port).await
    }
}
