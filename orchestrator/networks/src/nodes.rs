//! The only way from a network type to its nodes.

use chainpool_agent::{Agent, ByteStream, ClusterKey, ClusterSpec, NodeName};
use std::sync::Arc;

/// One generation of a running network, and the agent that reaches it.
#[derive(Clone)]
pub struct Nodes {
    /// The platform's agent.
    pub agent: Arc<dyn Agent>,
    /// Which generation.
    pub key: ClusterKey,
    /// Its spec with its keys; the nodes' secret contents may be left out.
    pub spec: Arc<ClusterSpec>,
}

/// Why a node could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// The spec has no such node or port.
    #[error("the network has no port {port} on node {node}")]
    Absent {
        /// The node asked for.
        node: NodeName,
        /// The port asked for.
        port: String,
    },
    /// The platform did not connect us.
    #[error(transparent)]
    Agent(#[from] chainpool_agent::Error),
}

impl Nodes {
    /// A connection to a node's port by the port's name.
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
