//! A byte stream to a node's published port.

use crate::DockerAgent;
use chainpool_agent::{ByteStream, Error, NodeName, Port, Protocol, Result};
use std::{net::IpAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// Time limit of a connection to a node.
const DIAL: Duration = Duration::from_secs(1);

impl DockerAgent {
    pub(crate) async fn port_dial(&self, node: &NodeName, port: &Port) -> Result<ByteStream> {
        let Port {
            name,
            inside,
            protocol,
            audience: _,
            published,
        } = port;
        let (Some(published), Protocol::Tcp) = (published, protocol) else {
            return Err(Error::Unsupported(format!(
                "reach port {name} ({inside}) of node {node}: only published TCP ports are reachable"
            )));
        };
        connect(&self.dial_host(), *published, name, node).await
    }

    /// The host of published ports: their bind address, or the engine's if they are bound to every address.
    fn dial_host(&self) -> String {
        match self.bind {
            IpAddr::V4(ip) if ip.is_unspecified() => self.engine.address().host().to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => self.engine.address().host().to_owned(),
            ip => ip.to_string(),
        }
    }
}

/// Connects to a node's published port.
pub(crate) async fn connect(host: &str, published: u16, name: &str, node: &NodeName) -> Result<ByteStream> {
    let stream = match timeout(DIAL, TcpStream::connect((host, published))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            return Err(Error::Unreachable(format!(
                "port {name} of node {node} at {host}:{published}: {e}"
            )));
        }
        Err(_) => {
            return Err(Error::Unreachable(format!(
                "port {name} of node {node} at {host}:{published}: no connection within 1 s"
            )));
        }
    };
    stream
        .set_nodelay(true)
        .map_err(|e| Error::Unreachable(format!("port {name} of node {node} at {host}:{published}: {e}")))?;
    Ok(Box::new(stream))
}
