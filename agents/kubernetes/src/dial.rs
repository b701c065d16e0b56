//! Port-forward to a node's port through the API server, whether the port is published or not.

use crate::{KubernetesAgent, build::pod_name, server::CallError};
use chainpool_agent::{
    Answer, ByteStream, ClusterKey, Error, NodeName, Port, Protocol, Result, network_name, sanitized,
};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::Portforwarder};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Time limit for connecting to a node, through the API server and the machine.
const DIAL: Duration = Duration::from_secs(5);

impl KubernetesAgent {
    pub(crate) async fn port_dial(
        &self,
        key: &ClusterKey,
        node: &NodeName,
        port: &Port,
    ) -> Result<ByteStream> {
        let Port {
            name,
            inside,
            protocol,
            audience: _,
            published: _,
        } = port;
        if *protocol != Protocol::Tcp {
            return Err(Error::Unsupported(format!(
                "forward port {name} ({inside}) of node {node}: only TCP ports are forwarded"
            )));
        }
        let target = || format!("port {name} ({inside}) of node {node}");
        // Check ownership first, so that a foreign pod is never contacted.
        if self.pod_find(key, node).await?.is_none() {
            return Err(Error::Unreachable(format!(
                "{}: the node has no pod; start the node",
                target()
            )));
        }
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let forward = self
            .server
            .call(DIAL, api.portforward(&pod_name(node), &[*inside]))
            .await;
        let mut forward = match forward {
            Ok(forward) => forward,
            Err(CallError::Answer(answer)) if !matches!(answer.code(), 401 | 403) => {
                return Err(Error::Unreachable(format!("{}: {}", target(), answer.text())));
            }
            Err(error) => return Err(error.into_error(&format!("forward {}", target()))),
        };
        let (Some(stream), Some(refusal)) = (forward.take_stream(*inside), forward.take_error(*inside))
        else {
            return Err(Error::Unreachable(format!(
                "{}: the port-forward was closed; retry",
                target()
            )));
        };
        Ok(Box::new(Forwarded {
            stream,
            refusal: Some(refusal.boxed()),
            forward,
        }))
    }
}

/// A forwarded connection. A closed port is reported only after opening; the first read then fails.
struct Forwarded {
    stream: DuplexStream,
    refusal: Option<Pin<Box<dyn Future<Output = Option<String>> + Send>>>,
    forward: Portforwarder,
}

impl Forwarded {
    fn refused(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        let Poll::Ready(refusal) = self.refusal.as_mut()?.as_mut().poll(cx) else {
            return None;
        };
        self.refusal = None;
        refusal.map(|message| io::Error::new(io::ErrorKind::ConnectionRefused, sanitized(&message, true)))
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(refused) = self.refused(cx) {
            return Poll::Ready(Err(refused));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.forward.abort();
    }
}
