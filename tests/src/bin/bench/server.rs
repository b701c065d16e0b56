//! Release binary as a separate process.

use crate::machine;
use anyhow::{Context, Result, bail};
use chainpool_tests::Api;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

/// Deadline of a start.
const LIMIT: Duration = Duration::from_mins(1);

/// Running server.
pub(crate) struct Server {
    /// API client of the administrator.
    pub(crate) api: Api,
    /// Time from the start to the first response.
    pub(crate) serving_after: Duration,
    child: Child,
}

impl Server {
    /// Starts the binary on a data folder.
    pub(crate) async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let context = folder.join("admin.context");
        if context.exists() {
            // Otherwise the token of the previous process would be read.
            fs::remove_file(&context)?;
        }
        fs::create_dir_all(folder)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("serve.log"))?;
        let start = Instant::now();
        let mut child = Command::new(binary)
            .args([
                "serve",
                "--rate-limit",
                "0",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--data",
            ])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        while !answers(port).await {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the server exited with {status}: {}",
                    fs::read_to_string(folder.join("serve.log"))?
                );
            }
            if start.elapsed() > LIMIT {
                bail!("the server does not respond");
            }
            sleep(Duration::from_millis(1)).await;
        }
        let serving_after = start.elapsed();
        let token = loop {
            let text = fs::read_to_string(&context).unwrap_or_default();
            if let Some(token) = text
                .lines()
                .find_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"'))
            {
                break token.to_owned();
            }
            if start.elapsed() > LIMIT {
                bail!("the server wrote no {}", context.display());
            }
            sleep(Duration::from_millis(10)).await;
        };
        Ok(Self {
            api: Api::new(&format!("http://127.0.0.1:{port}"), &token)?,
            serving_after,
            child,
        })
    }

    /// Returns the resident memory in MB.
    pub(crate) fn resident_mb(&self) -> Result<f64> {
        let pid = self.child.id().context("the server has ended")?;
        machine::resident_mb(pid)
    }

    /// Stops the server as a service manager does. The networks keep running.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .context("the server has ended")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("the server exited with {status}");
        }
        Ok(())
    }
}

/// Returns true if a server responds at this port.
async fn answers(port: u16) -> bool {
    let response = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"HTTP/1.1 200")
    };
    response.await.unwrap_or(false)
}
