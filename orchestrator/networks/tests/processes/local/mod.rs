//! An agent that only dials, for networks whose nodes are processes on this machine.

use async_trait::async_trait;
use chainpool_agent::{
    Agent, ByteStream, Capabilities, ClusterId, ClusterKey, Error, Generation, ImageRef, ImageRequest,
    Incarnation, LogQuery, LogStream, NetworkSpec, NodeName, NodeSpec, Observation, Port, Power, Probe,
    Result, Scope, Volumes, WakeStream,
};
use std::{collections::BTreeMap, net::SocketAddr};

/// Connects to the processes' ports; nothing else is supported.
pub(crate) struct Local {
    /// Listening addresses by node and port name.
    pub(crate) ports: BTreeMap<(NodeName, String), SocketAddr>,
}

fn unsupported<T>() -> Result<T> {
    Err(Error::Unsupported("do this: it only dials".into()))
}

#[async_trait]
impl Agent for Local {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subnets: false,
            machines: false,
            ports: (20_000, 29_999),
            concurrency: 1,
            queues: false,
        }
    }
    async fn probe(&self) -> Result<Probe> {
        unsupported()
    }
    async fn observe(&self, _: Scope) -> Result<Observation> {
        unsupported()
    }
    fn watch(&self) -> WakeStream {
        Box::pin(futures::stream::empty())
    }
    async fn ensure_image(&self, _: &ImageRequest) -> Result<ImageRef> {
        unsupported()
    }
    async fn ensure_network(&self, _: &ClusterKey, _: &NetworkSpec) -> Result<()> {
        unsupported()
    }
    async fn ensure_node(&self, _: &ClusterKey, _: &NodeSpec, _: &ImageRef, _: &Power) -> Result<()> {
        unsupported()
    }
    async fn ensure_job(&self, _: &ClusterKey, _: &NodeSpec, _: &ImageRef) -> Result<()> {
        unsupported()
    }
    async fn incarnation(&self, _: &ClusterKey, _: &NodeName) -> Result<Option<Incarnation>> {
        unsupported()
    }
    async fn drop_node(&self, _: &ClusterKey, _: &NodeName, _: Volumes) -> Result<()> {
        unsupported()
    }
    async fn drop_cluster(&self, _: ClusterId, _: Generation) -> Result<()> {
        unsupported()
    }
    async fn logs(&self, _: &ClusterKey, _: &NodeName, _: LogQuery) -> Result<LogStream> {
        unsupported()
    }
    async fn dial(&self, _: &ClusterKey, node: &NodeName, port: &Port) -> Result<ByteStream> {
        let address = self.ports[&(node.clone(), port.name.clone())];
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .map_err(|e| Error::Unreachable(e.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|e| Error::Unreachable(e.to_string()))?;
        Ok(Box::new(stream))
    }
}
