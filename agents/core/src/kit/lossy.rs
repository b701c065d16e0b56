//! An agent whose responses can be lost.

use crate::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Error, Generation, ImageRef, ImageRequest,
    Incarnation, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation, Port, Power, Probe,
    Result, Scope, Volumes, WakeStream,
};
use async_trait::async_trait;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Passes calls to its inner agent. After [`lose`](Lossy::lose) the response to the next call is lost: the
/// call has happened, or has failed, and the caller gets [`Error::Unreachable`].
pub struct Lossy {
    inner: Arc<dyn Agent>,
    armed: AtomicBool,
}

impl Lossy {
    /// Wraps this agent.
    pub fn new(inner: Arc<dyn Agent>) -> Self {
        Self {
            inner,
            armed: AtomicBool::new(false),
        }
    }

    /// Loses the response to the next call.
    pub fn lose(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn pass<T>(&self, response: Result<T>) -> Result<T> {
        if self.armed.swap(false, Ordering::SeqCst) {
            return Err(Error::Unreachable("the response was dropped on purpose".into()));
        }
        response
    }
}

#[async_trait]
impl Agent for Lossy {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn probe(&self) -> Result<Probe> {
        self.pass(self.inner.probe().await)
    }

    async fn observe(&self, scope: Scope) -> Result<Observation> {
        self.pass(self.inner.observe(scope).await)
    }

    fn watch(&self) -> WakeStream {
        self.inner.watch()
    }

    async fn ensure_image(&self, request: &ImageRequest) -> Result<ImageRef> {
        self.pass(self.inner.ensure_image(request).await)
    }

    async fn ensure_network(&self, key: &ClusterKey, network: &NetworkSpec) -> Result<()> {
        self.pass(self.inner.ensure_network(key, network).await)
    }

    async fn ensure_node(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        image: &ImageRef,
        power: &Power,
    ) -> Result<()> {
        self.pass(self.inner.ensure_node(key, node, image, power).await)
    }

    async fn ensure_job(&self, key: &ClusterKey, job: &NodeSpec, image: &ImageRef) -> Result<()> {
        self.pass(self.inner.ensure_job(key, job, image).await)
    }

    async fn incarnation(&self, key: &ClusterKey, node: &NodeName) -> Result<Option<Incarnation>> {
        self.pass(self.inner.incarnation(key, node).await)
    }

    async fn drop_node(&self, key: &ClusterKey, node: &NodeName, volumes: Volumes) -> Result<()> {
        self.pass(self.inner.drop_node(key, node, volumes).await)
    }

    async fn drop_cluster(&self, cluster: ClusterId, through: Generation) -> Result<()> {
        self.pass(self.inner.drop_cluster(cluster, through).await)
    }

    async fn logs(&self, key: &ClusterKey, node: &NodeName, query: LogQuery) -> Result<LogStream> {
        self.pass(self.inner.logs(key, node, query).await)
    }

    async fn dial(&self, key: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        self.pass(self.inner.dial(key, node, port).await)
    }
}
