//! Cheap keep-alive clients: one socket each, request bytes built once, responses read by their length.

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Deadline of all requests together.
const LIMIT: Duration = Duration::from_mins(2);
/// Largest response.
const MAX_RESPONSE: usize = 64 * 1024;

/// Results of a run.
pub(crate) struct Load {
    /// Seconds from the first request to the last response.
    pub(crate) seconds: f64,
    /// Latency of each response in milliseconds.
    pub(crate) latencies: Vec<f64>,
    /// Body of each response.
    pub(crate) bodies: Vec<String>,
}

/// Sends `count` applies in total with this body, one client per token, and requires this status of each
/// response. Runs on a separate thread, so that no other work of this process interferes.
pub(crate) fn send(
    address: SocketAddr,
    tokens: &[String],
    body: &str,
    status: u16,
    count: usize,
) -> Result<Load> {
    ensure!(address.ip().is_loopback(), "load must stay on this machine");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let left = Rc::new(Cell::new(count));
        let sockets = try_join_all(tokens.iter().map(async |_| {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            anyhow::Ok(socket)
        }))
        .await?;
        let start = Instant::now();
        let clients = tokens
            .iter()
            .zip(sockets)
            .map(|(token, socket)| client(socket, request(token, body), status, Rc::clone(&left)));
        let responses = timeout(LIMIT, try_join_all(clients))
            .await
            .context("the server is too slow for this benchmark")??;
        let seconds = start.elapsed().as_secs_f64();
        let (latencies, bodies) = responses.into_iter().flatten().unzip();
        Ok(Load {
            seconds,
            latencies,
            bodies,
        })
    })
}

fn request(token: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "Host: bench\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    format!("POST /api/v1/leases HTTP/1.1\r\n{head}\r\n\r\n{body}").into_bytes()
}

async fn client(
    mut socket: TcpStream,
    request: Vec<u8>,
    status: u16,
    left: Rc<Cell<usize>>,
) -> Result<Vec<(f64, String)>> {
    let mut responses = Vec::new();
    let mut buffer = vec![0; MAX_RESPONSE];
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let start = Instant::now();
        socket.write_all(&request).await?;
        let body = response(&mut socket, status, &mut buffer).await?;
        responses.push((start.elapsed().as_secs_f64() * 1e3, body));
    }
    Ok(responses)
}

/// Reads one response and requires this status.
async fn response(socket: &mut TcpStream, status: u16, buffer: &mut [u8]) -> Result<String> {
    let mut have = 0;
    loop {
        let read = socket.read(&mut buffer[have..]).await?;
        ensure!(read > 0, "the server closed the connection");
        have += read;
        let text = std::str::from_utf8(&buffer[..have])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("the response has no content-length")?;
        if body.len() < length.parse()? {
            continue;
        }
        if !head.starts_with(&format!("HTTP/1.1 {status} ")) {
            bail!("unexpected response to an apply: {text}");
        }
        return Ok(body.to_owned());
    }
}
