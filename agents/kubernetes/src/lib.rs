//! The hands on a Kubernetes cluster.
//!
//! [`KubernetesPlatform`] makes a [`KubernetesAgent`] from an address and a kubeconfig; the agent does what
//! [`chainpool_agent::Agent`] promises, through the API server alone (server-side apply, watches, port-forward; nothing is
//! executed in a container). A generation of a cluster is a namespace of its own under restricted Pod Security, a node a
//! stateful set of one pod, a job a batch job. Whatever it makes carries this instance's labels, and only what carries them is ever
//! changed. It keeps no state: everything is read from the cluster when it is needed, so every verb may be called again,
//! by another process too.

mod apply;
mod bounds;
mod build;
mod connect;
mod dial;
mod files;
mod image;
mod job;
mod life;
mod logs;
mod namespace;
mod node;
mod observe;
mod pod;
mod probe;
mod reference;
mod remove;
mod server;
mod storage;
#[cfg(test)]
mod stranger;
mod user;
mod watch;
mod whole;

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Connection, Generation, ImageRef, Incarnation,
    InstanceId, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation, Platform, PlatformKind,
    Port, Power, Probe, RegistryLogin, Result, Scope, Volumes, WakeStream,
};
use life::Life;
use server::Server;
use std::sync::{Arc, Mutex, atomic::AtomicUsize};

/// Makes agents for Kubernetes clusters.
#[derive(Debug, Clone, Copy, Default)]
pub struct KubernetesPlatform;

impl Platform for KubernetesPlatform {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Kubernetes
    }

    fn speaks(&self, address: &str) -> bool {
        address == "in-cluster" || address.starts_with("https://")
    }

    fn connect(&self, connection: &Connection) -> Result<Arc<dyn Agent>> {
        Ok(Arc::new(KubernetesAgent::connect(connection)?))
    }
}

/// The hands on one Kubernetes cluster.
pub struct KubernetesAgent {
    server: Arc<Server>,
    instance: InstanceId,
    storage_class: Option<String>,
    mirror: Option<String>,
    registry: Option<RegistryLogin>,
    /// The image that places files, once it was found.
    tools: Mutex<Option<ImageRef>>,
    /// How many images are being pulled.
    pulls: AtomicUsize,
}

impl KubernetesAgent {
    /// Checks address and kubeconfig and makes an agent. Sends nothing: the API server may be down.
    pub fn connect(connection: &Connection) -> Result<Self> {
        let Connection {
            instance,
            storage_class,
            mirror,
            registry,
            ..
        } = connection;
        Ok(Self {
            server: Arc::new(Server::new(connect::config(connection)?)),
            instance: *instance,
            storage_class: storage_class.clone(),
            mirror: mirror.clone(),
            registry: registry.clone(),
            tools: Mutex::new(None),
            pulls: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Agent for KubernetesAgent {
    fn capabilities(&self) -> Capabilities {
        // The ports are those that a cluster has for services unless its owner says otherwise.
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

    async fn ensure_image(&self, candidates: &[String]) -> Result<ImageRef> {
        self.image_ensure(candidates).await
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
            .and_then(|pod| Life::of(&pod).incarnation()))
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
