//! Something that is no API server and answers all the same, for tests.

use crate::{KubernetesAgent, server::Server};
use chainpool_agent::InstanceId;
use kube::Config;
use std::sync::{Arc, Mutex, atomic::AtomicUsize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What it answers: these bytes, and then more for as long as somebody reads, where more is wanted.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) bytes: String,
    pub(crate) more: Option<Vec<u8>>,
}

/// An answer that ends.
pub(crate) fn answer(status: &str, kind: &str, body: &str) -> Answer {
    let length = body.len();
    let bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    Answer { bytes, more: None }
}

/// Starts it on loopback, until the test's runtime ends. It answers by the first line of a request.
pub(crate) async fn stranger(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Arc<Server> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone()));
        }
    });
    let mut config = Config::new(format!("http://{address}").parse().expect("an address"));
    // Nobody is trusted, so that no authorities of this machine are looked for.
    config.root_cert = Some(vec![]);
    // As in an agent's own configuration.
    config.default_retry = false;
    Arc::new(Server::new(config))
}

/// `None` when the other side has hung up.
async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&str) -> Answer>) -> Option<()> {
    let mut request = [0; 4096];
    let length = stream
        .read(&mut request)
        .await
        .ok()
        .filter(|length| *length > 0)?;
    let asked = String::from_utf8_lossy(&request[..length])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let Answer { bytes, more } = answer(&asked);
    stream.write_all(bytes.as_bytes()).await.ok()?;
    while let Some(more) = &more {
        stream.write_all(more).await.ok()?;
    }
    stream.shutdown().await.ok()
}

/// An agent that speaks with it.
pub(crate) fn agent(server: Arc<Server>) -> KubernetesAgent {
    KubernetesAgent {
        server,
        instance: InstanceId::new(),
        storage_class: None,
        mirror: None,
        registry: None,
        tools: Mutex::new(None),
        pulls: AtomicUsize::new(0),
    }
}
