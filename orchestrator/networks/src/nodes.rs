//! Access to nodes; network types use nothing else.

use chainpool_agent::{
    Agent, ByteStream, ClusterKey, ClusterSpec, ImageRequest, LogQuery, NodeName, NodeSpec, Secret, Volumes,
    job_result,
};
use chainpool_health::HealthPolicy;
use std::sync::Arc;

/// One generation of a running network and its agent.
#[derive(Clone)]
pub struct Nodes {
    /// The platform's agent.
    pub agent: Arc<dyn Agent>,
    /// The generation.
    pub key: ClusterKey,
    /// The spec with its keys; it may lack the nodes' secret contents.
    pub spec: Arc<ClusterSpec>,
    /// Timing rules of health assessment and repair.
    pub policy: Arc<HealthPolicy>,
}

/// Errors of a connection to a node.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// The spec has no such node or port.
    #[error("the network has no port {port} on node {node}")]
    Absent {
        /// The requested node.
        node: NodeName,
        /// The requested port.
        port: String,
    },
    /// The platform could not connect.
    #[error(transparent)]
    Agent(#[from] chainpool_agent::Error),
}

impl Nodes {
    /// Connects to a node's port by name.
    pub async fn dial(&self, node: &NodeName, port: &str) -> Result<ByteStream, NodesError> {
        let absent = || NodesError::Absent {
            node: node.clone(),
            port: port.to_owned(),
        };
        let spec = self.spec.node(node).ok_or_else(absent)?;
        let port = spec.ports.iter().find(|p| p.name == port).ok_or_else(absent)?;
        Ok(self.agent.dial(&self.key, node, port).await?)
    }

    /// Runs a job of the network and returns its result. The job is not part of the spec: each result is of a run of
    /// its own, and the platform drops the job afterwards. A call that ended early is continued by the next one with
    /// the same job; another job of the same name replaces it.
    pub async fn run_job(&self, job: &NodeSpec) -> Result<Secret<Vec<u8>>, NodesError> {
        let image = self.agent.ensure_image(&ImageRequest::of(&job.images)).await?;
        self.agent.ensure_job(&self.key, job, &image).await?;
        let result = async {
            let log = self.agent.logs(&self.key, &job.name, LogQuery::default()).await?;
            job_result(log).await
        };
        let result = result.await;
        // Without its result it is run again by the next call.
        self.agent.drop_node(&self.key, &job.name, Volumes::Purge).await?;
        Ok(result?)
    }
}
