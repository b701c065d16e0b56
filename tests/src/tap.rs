//! A way to the engine that notes what is asked on it.

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

/// A question: when, and the path without version and query.
type Asked = Arc<Mutex<Vec<(Instant, String)>>>;

/// Longer than the first line of any request; what is uploaded may have longer lines.
const LONGEST: usize = 4096;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket that leads to an engine. It ends when it is dropped.
pub struct Tap {
    asked: Asked,
    folder: TempDir,
    serving: JoinHandle<()>,
}

impl Tap {
    /// Opens a way to an engine.
    pub fn on(engine: &Engine) -> Result<Self> {
        let folder = TempDir::new()?;
        let listener = UnixListener::bind(folder.path().join("docker.sock"))?;
        let (asked, engine) = (Asked::default(), engine.address.clone());
        let noted = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // A way that breaks is the client's to open again.
                ways.spawn(pass(client, engine.clone(), Arc::clone(&noted)));
            }
        });
        Ok(Self {
            asked,
            folder,
            serving,
        })
    }

    /// The address of this end.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// When a path was asked for, from a moment on.
    #[must_use]
    pub fn asked(&self, path: &str, from: Instant) -> Vec<Instant> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .iter()
            .filter(|(at, one)| *at >= from && one == path)
            .map(|(at, _)| *at)
            .collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(client: UnixStream, engine: String, asked: Asked) -> Result<()> {
    let server: Box<dyn Stream> = match engine.strip_prefix("unix://") {
        Some(socket) => Box::new(UnixStream::connect(socket).await?),
        None => Box::new(
            TcpStream::connect(engine.strip_prefix("tcp://").context("a unix or tcp address")?).await?,
        ),
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = split(server);
    let there = async {
        let (mut buffer, mut line) = (vec![0; 16 << 10], Vec::new());
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return Ok(to_server.shutdown().await?);
            }
            note(&buffer[..read], &mut line, &asked);
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let back = async { anyhow::Ok(copy(&mut from_server, &mut to_client).await.map(drop)?) };
    tokio::try_join!(there, back).map(drop)
}

/// Picks the first lines of GET requests out of what is sent; a line may come in parts.
fn note(bytes: &[u8], line: &mut Vec<u8>, asked: &Asked) {
    for byte in bytes {
        if *byte == b'\n' {
            if let Some(path) = path_of(&String::from_utf8_lossy(line)) {
                asked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((Instant::now(), path.to_owned()));
            }
            line.clear();
        } else if line.len() < LONGEST {
            line.push(*byte);
        }
    }
}

/// The path in a request's first line, without version and query.
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
