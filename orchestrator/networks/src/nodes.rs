//! Access to nodes; network types use nothing else.

use chainpool_agent::{Agent, ByteStream, ClusterKey, ClusterSpec, NodeName};
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
}
