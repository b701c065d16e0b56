//! A fake HTTP server that is not an API server, for tests.

use crate::{KubernetesAgent, server::Server};
use chainpool_agent::{ImageRequest, ImageSource, InstanceId};
use kube::Config;
use std::sync::{Arc, Mutex, atomic::AtomicUsize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A canned response: `bytes`, then `more` repeatedly until the client disconnects, if set.
#[derive(Clone)]
pub(crate) struct CannedResponse {
    pub(crate) bytes: String,
    pub(crate) more: Option<Vec<u8>>,
}

/// A complete response.
pub(crate) fn response(status: &str, kind: &str, body: &str) -> CannedResponse {
    let length = body.len();
    let bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    CannedResponse { bytes, more: None }
}

/// Starts the server on loopback for the lifetime of the test's runtime. `respond` gets the request line.
pub(crate) async fn fake_server(
    respond: impl Fn(&str) -> CannedResponse + Send + Sync + 'static,
) -> Arc<Server> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let respond = Arc::new(respond);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, respond.clone()));
        }
    });
    let mut config = Config::new(format!("http://{address}").parse().expect("an address"));
    // No trusted authorities, so that those of this machine are not loaded.
    config.root_cert = Some(vec![]);
    // As in an agent's own configuration.
    config.default_retry = false;
    Arc::new(Server::new(config))
}

/// `None` if the client disconnected.
async fn serve(mut stream: TcpStream, respond: Arc<impl Fn(&str) -> CannedResponse>) -> Option<()> {
    let mut request = [0; 4096];
    let length = stream
        .read(&mut request)
        .await
        .ok()
        .filter(|length| *length > 0)?;
    let request_line = String::from_utf8_lossy(&request[..length])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let CannedResponse { bytes, more } = respond(&request_line);
    stream.write_all(bytes.as_bytes()).await.ok()?;
    while let Some(more) = &more {
        stream.write_all(more).await.ok()?;
    }
    stream.shutdown().await.ok()
}

/// An agent connected to it.
pub(crate) fn agent(server: Arc<Server>) -> KubernetesAgent {
    KubernetesAgent {
        server,
        instance: InstanceId::new(),
        storage_class: None,
        images: ImageSource::default(),
        tools: ImageRequest::of(&[]),
        tools_found: Mutex::new(None),
        pulls: AtomicUsize::new(0),
    }
}
