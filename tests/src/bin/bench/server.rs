//! The release binary as a process of its own.

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

/// Longer than any start.
const LIMIT: Duration = Duration::from_mins(1);

/// A running server.
pub(crate) struct Server {
    /// Its API as the administrator.
    pub(crate) api: Api,
    /// From its start until it answered a request.
    pub(crate) serving_after: Duration,
    child: Child,
}

impl Server {
    /// Starts the binary on a data folder.
    pub(crate) async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let context = folder.join("admin.context");
        if context.exists() {
            // The one of the process before would be read too early.
            fs::remove_file(&context)?;
        }
        fs::create_dir_all(folder)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("serve.log"))?;
        let begun = Instant::now();
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
                    "the server ended with {status}: {}",
                    fs::read_to_string(folder.join("serve.log"))?
                );
            }
            if begun.elapsed() > LIMIT {
                bail!("the server does not answer");
            }
            sleep(Duration::from_millis(1)).await;
        }
        let serving_after = begun.elapsed();
        let token = loop {
            let text = fs::read_to_string(&context).unwrap_or_default();
            if let Some(token) = text
                .lines()
                .find_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"'))
            {
                break token.to_owned();
            }
            if begun.elapsed() > LIMIT {
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

    /// Its resident memory in MB.
    pub(crate) fn resident_mb(&self) -> Result<f64> {
        let pid = self.child.id().context("the server has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("a process has VmRSS")?;
        let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(f64::from(kib) * 1024.0 / 1e6)
    }

    /// Stops it as a service manager would; the networks go on.
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
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

/// Whether a server answers a request there.
async fn answers(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"HTTP/1.1 200")
    };
    asked.await.unwrap_or(false)
}
