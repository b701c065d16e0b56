//! A Docker engine of a test's own, to stop, kill, cut off or replace: `testbeds/docker.sh` with a guard around it.

use crate::Engine;
use anyhow::{Context, Result, ensure};
use std::{
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testbeds/docker.sh");
static COUNT: AtomicU16 = AtomicU16::new(0);

/// An engine beside the machine's own, with the ledgers' image; dropping it removes every trace. What a killed test
/// leaves is removed by the next one that makes an engine.
pub struct SecondEngine {
    name: String,
    /// The address that its containers' ports are published on, and its own.
    pub address: String,
}

impl SecondEngine {
    /// Makes one and gives it the ledgers' image.
    pub async fn up() -> Result<Self> {
        let name = format!(
            "t{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        // Made before the engine, so that half an engine is removed too.
        let mut made = Self {
            name,
            address: String::new(),
        };
        made.address = made.run("up", &[]).await?;
        made.run("load", &[crate::engine::IMAGE]).await?;
        Ok(made)
    }

    /// Its socket on this machine; a cut cable does not touch it.
    #[must_use]
    pub fn socket(&self) -> String {
        let folder = std::env::var("T")
            .unwrap_or_else(|_| std::env::temp_dir().join("cp-docker").display().to_string());
        format!("unix://{folder}/{}/docker.sock", self.name)
    }

    /// Its port, reached over the cable.
    #[must_use]
    pub fn tcp(&self) -> String {
        format!("tcp://{}:2375", self.address)
    }

    /// A connection to it over its socket.
    pub async fn engine(&self) -> Result<Engine> {
        Engine::at(&self.socket()).await
    }

    /// Stops it as a service manager does; its containers stop with it.
    pub async fn stop(&self) -> Result<()> {
        self.run("stop", &[]).await.map(drop)
    }

    /// Kills it; its containers go on.
    pub async fn kill(&self) -> Result<()> {
        self.run("kill", &[]).await.map(drop)
    }

    /// Starts it again.
    pub async fn start(&self) -> Result<()> {
        self.run("start", &[]).await.map(drop)
    }

    /// Starts it again as one that has much to start: it takes calls for so many seconds before it can answer any.
    pub async fn start_slowly(&self, seconds: u32) -> Result<()> {
        self.run_with("start", &[], &[("HOLD", seconds.to_string())])
            .await
            .map(drop)
    }

    /// Starts another engine at its address, with an identity and data of its own.
    pub async fn start_another(&self) -> Result<()> {
        self.run("start", &["another"]).await.map(drop)
    }

    /// Pulls its cable.
    pub async fn cut(&self) -> Result<()> {
        self.run("cut", &[]).await.map(drop)
    }

    /// Plugs its cable in again.
    pub async fn heal(&self) -> Result<()> {
        self.run("heal", &[]).await.map(drop)
    }

    async fn run(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        self.run_with(verb, arguments, &[]).await
    }

    async fn run_with(&self, verb: &str, arguments: &[&str], variables: &[(&str, String)]) -> Result<String> {
        let mut command = tokio::process::Command::new(SCRIPT);
        command
            .arg(verb)
            .arg(&self.name)
            .args(arguments)
            .stdin(Stdio::null());
        command
            .env("OWNER", std::process::id().to_string())
            .envs(variables.iter().cloned());
        let done = command
            .output()
            .await
            .with_context(|| format!("{SCRIPT} cannot be run"))?;
        ensure!(
            done.status.success(),
            "docker.sh {verb} {}: {}",
            self.name,
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        let done = std::process::Command::new(SCRIPT)
            .args(["down", &self.name])
            .stdin(Stdio::null())
            .output();
        match done {
            Ok(done) if done.status.success() => {}
            failed => eprintln!("engine {} could not be removed: {failed:?}", self.name),
        }
    }
}
