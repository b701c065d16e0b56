//! Proxy to an engine that records the requests it forwards.

use crate::Engine;
use anyhow::{Context, Result};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split},
    net::{TcpStream, UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
};

/// Recorded requests: time, and path without version and query.
type Requests = Arc<Mutex<Vec<(Instant, String)>>>;

/// Longer than the first line of any request. Uploaded content may have longer lines.
const MAX_LINE: usize = 4096;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Unix socket that forwards to an engine until it is dropped.
pub struct RecordingProxy {
    requests: Requests,
    folder: TempDir,
    serving: JoinHandle<()>,
}

impl RecordingProxy {
    /// Starts a proxy to an engine.
    pub fn start(engine: &Engine) -> Result<Self> {
        let folder = TempDir::new()?;
        let listener = UnixListener::bind(folder.path().join("docker.sock"))?;
        let (requests, engine) = (Requests::default(), engine.address.clone());
        let recorded = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // The client reopens a broken connection.
                connections.spawn(forward(client, engine.clone(), Arc::clone(&recorded)));
            }
        });
        Ok(Self {
            requests,
            folder,
            serving,
        })
    }

    /// Address of the proxy.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Returns the times at which a path was requested, from a moment on.
    #[must_use]
    pub fn requests(&self, path: &str, from: Instant) -> Vec<Instant> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests
            .iter()
            .filter(|(at, requested)| *at >= from && requested == path)
            .map(|(at, _)| *at)
            .collect()
    }
}

impl Drop for RecordingProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn forward(client: UnixStream, engine: String, requests: Requests) -> Result<()> {
    let server: Box<dyn Stream> = match engine.strip_prefix("unix://") {
        Some(socket) => Box::new(UnixStream::connect(socket).await?),
        None => Box::new(
            TcpStream::connect(
                engine
                    .strip_prefix("tcp://")
                    .context("not a unix or tcp address")?,
            )
            .await?,
        ),
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = split(server);
    let upstream = async {
        let (mut buffer, mut line) = (vec![0; 16 << 10], Vec::new());
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return Ok(to_server.shutdown().await?);
            }
            record(&buffer[..read], &mut line, &requests);
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let downstream = async { anyhow::Ok(copy(&mut from_server, &mut to_client).await.map(drop)?) };
    tokio::try_join!(upstream, downstream).map(drop)
}

/// Records the request lines of GET requests in a stream. A line may arrive in parts.
fn record(bytes: &[u8], line: &mut Vec<u8>, requests: &Requests) {
    for byte in bytes {
        if *byte == b'\n' {
            if let Some(path) = path_of(&String::from_utf8_lossy(line)) {
                requests
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((Instant::now(), path.to_owned()));
            }
            line.clear();
        } else if line.len() < MAX_LINE {
            line.push(*byte);
        }
    }
}

/// Returns the path in a request line, without version and query.
fn path_of(line: &str) -> Option<&str> {
    let path = line
        .strip_prefix("GET ")?
        .trim_end()
        .strip_suffix(" HTTP/1.1")?
        .split('?')
        .next()?;
    match path.strip_prefix("/v1.") {
        Some(rest) => Some(&rest[rest.find('/')?..]),
        None => Some(path),
    }
}
