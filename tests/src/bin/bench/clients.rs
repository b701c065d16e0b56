//! Keep-alive clients that cost little: a socket each, the request's bytes made once, the answer read by its length.

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

/// For all requests together.
const LIMIT: Duration = Duration::from_mins(2);
/// The largest answer that is read.
const ANSWER: usize = 64 * 1024;

/// What came of a run.
pub(crate) struct Load {
    /// From the first request to the last answer, in seconds.
    pub(crate) seconds: f64,
    /// Each answer's time in milliseconds.
    pub(crate) latencies: Vec<f64>,
    /// Each answer's body.
    pub(crate) bodies: Vec<String>,
}

/// Sends `count` applies with this body in all, one client a token, each of which must get this answer. On a thread of its own, so that no
/// other work of this process waits in between.
pub(crate) fn send(
    address: SocketAddr,
    tokens: &[String],
    body: &str,
    status: u16,
    count: usize,
) -> Result<Load> {
    ensure!(address.ip().is_loopback(), "load goes to this machine alone");
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
        let begun = Instant::now();
        let clients = tokens
            .iter()
            .zip(sockets)
            .map(|(token, socket)| client(socket, request(token, body), status, Rc::clone(&left)));
        let answers = timeout(LIMIT, try_join_all(clients))
            .await
            .context("the server is too slow for this bench")??;
        let seconds = begun.elapsed().as_secs_f64();
        let (latencies, bodies) = answers.into_iter().flatten().unzip();
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
    let mut answers = Vec::new();
    let mut buffer = vec![0; ANSWER];
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let begun = Instant::now();
        socket.write_all(&request).await?;
        let body = answer(&mut socket, status, &mut buffer).await?;
        answers.push((begun.elapsed().as_secs_f64() * 1e3, body));
    }
    Ok(answers)
}

/// Reads one answer, which must be of this status.
async fn answer(socket: &mut TcpStream, status: u16, buffer: &mut [u8]) -> Result<String> {
    let mut have = 0;
    loop {
        let read = socket.read(&mut buffer[have..]).await?;
        ensure!(read > 0, "the server hung up");
        have += read;
        let text = std::str::from_utf8(&buffer[..have])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("an answer says its length")?;
        if body.len() < length.parse()? {
            continue;
        }
        if !head.starts_with(&format!("HTTP/1.1 {status} ")) {
            bail!("an apply was answered with {text}");
        }
        return Ok(body.to_owned());
    }
}
