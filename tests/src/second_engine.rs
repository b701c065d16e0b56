//! A separate Docker engine for one test to stop, kill, disconnect or replace: a guard around
//! `testbeds/docker.sh`.

use crate::Engine;
use anyhow::{Context, Result, ensure};
use std::{
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testbeds/docker.sh");
static COUNT: AtomicU16 = AtomicU16::new(0);

/// Engine beside the machine's own, with the ledgers' image. Dropping it removes every trace; the engine of a
/// killed test is removed by the next test that creates one.
pub struct SecondEngine {
    name: String,
    /// Address of the engine and of its containers' published ports.
    pub address: String,
}

impl SecondEngine {
    /// Creates an engine and loads the ledgers' image.
    pub async fn up() -> Result<Self> {
        let name = format!(
            "t{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        // The guard exists before the engine, so that a partly created engine is removed too.
        let mut second = Self {
            name,
            address: String::new(),
        };
        second.address = second.run("up", &[]).await?;
        second.run("load", &[crate::engine::IMAGE]).await?;
        Ok(second)
    }

    /// Unix socket of the engine, unaffected by [`Self::cut`].
    #[must_use]
    pub fn socket(&self) -> String {
        let folder = std::env::var("T")
            .unwrap_or_else(|_| std::env::temp_dir().join("cp-docker").display().to_string());
        format!("unix://{folder}/{}/docker.sock", self.name)
    }

    /// TCP address of the engine, unreachable after [`Self::cut`].
    #[must_use]
    pub fn tcp(&self) -> String {
        format!("tcp://{}:2375", self.address)
    }

    /// Connects to the engine over its socket.
    pub async fn engine(&self) -> Result<Engine> {
        Engine::at(&self.socket()).await
    }

    /// Stops the engine as a service manager does. Its containers stop with it.
    pub async fn stop(&self) -> Result<()> {
        self.run("stop", &[]).await.map(drop)
    }

    /// Kills the engine. Its containers keep running.
    pub async fn kill(&self) -> Result<()> {
        self.run("kill", &[]).await.map(drop)
    }

    /// Restarts the engine.
    pub async fn start(&self) -> Result<()> {
        self.run("start", &[]).await.map(drop)
    }

    /// Restarts the engine slowly: for this many seconds it accepts calls without answering them.
    pub async fn start_slowly(&self, seconds: u32) -> Result<()> {
        self.run_with("start", &[], &[("HOLD", seconds.to_string())])
            .await
            .map(drop)
    }

    /// Starts another engine with its own identity and data at the same address.
    pub async fn start_another(&self) -> Result<()> {
        self.run("start", &["another"]).await.map(drop)
    }

    /// Disconnects the engine's network cable.
    pub async fn cut(&self) -> Result<()> {
        self.run("cut", &[]).await.map(drop)
    }

    /// Reconnects the engine's network cable.
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
        let output = command
            .output()
            .await
            .with_context(|| format!("cannot run {SCRIPT}"))?;
        ensure!(
            output.status.success(),
            "docker.sh {verb} {}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
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
            failed => eprintln!("cannot remove engine {}: {failed:?}", self.name),
        }
    }
}
