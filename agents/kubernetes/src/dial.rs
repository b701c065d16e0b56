//! A byte stream to a node's port, through the API server: published or not, and from wherever Chainpool runs.

use crate::{
    KubernetesAgent,
    build::pod_name,
    server::{Fault, SERVER, shown, words},
};
use chainpool_agent::{ByteStream, ClusterKey, Error, NodeName, Port, Protocol, Result, network_name};
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

/// How long a connection to a node may take: it goes by API server and machine.
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
                "reach port {name} ({inside}) of node {node}: only TCP ports are forwarded"
            )));
        }
        let what = || format!("port {name} ({inside}) of node {node}");
        // Looked at first, so that no foreign pod is ever spoken to.
        if self.pod_find(key, node).await?.is_none() {
            return Err(Error::Unreachable(format!("{}: the node has no pod", what())));
        }
        let api: Api<Pod> = self.server.within(&network_name(key))?;
        let forward = self
            .server
            .call(DIAL, api.portforward(&pod_name(node), &[*inside]))
            .await;
        let mut forward = match forward {
            Ok(forward) => forward,
            Err(Fault::Answer { status, most }) if !matches!(status.code, 401 | 403) => {
                return Err(Error::Unreachable(format!(
                    "{}: {}",
                    what(),
                    words(&status, most)
                )));
            }
            Err(fault) => return Err(fault.into_error(&format!("forward {}", what()))),
        };
        let (Some(stream), Some(refusal)) = (forward.take_stream(*inside), forward.take_error(*inside))
        else {
            return Err(Error::Unreachable(format!(
                "{}: the cluster forwards it no more",
                what()
            )));
        };
        Ok(Box::new(Forwarded {
            stream,
            refusal: Some(refusal.boxed()),
            forward,
        }))
    }
}

/// A forwarded connection. That nothing listens is known only after it was opened; it then fails at the first read.
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
        refusal.map(|words| io::Error::new(io::ErrorKind::ConnectionRefused, shown(&words, SERVER)))
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
