//! The kit's own engine, for restarts: `tests/testbeds/docker.sh` with a drop guard.

use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/testbeds/docker.sh");

/// Dropping it removes every trace.
pub(crate) struct OwnEngine {
    name: String,
    /// The address of its containers' published ports.
    pub(crate) address: String,
}

impl OwnEngine {
    pub(crate) async fn up() -> Result<Self> {
        // The guard comes first, to remove a partially started engine, too.
        let mut engine = Self {
            name: format!("kit{}", std::process::id()),
            address: String::new(),
        };
        engine.address = engine.run("up").await?;
        Ok(engine)
    }

    pub(crate) fn socket(&self) -> String {
        let folder = std::env::var("T")
            .unwrap_or_else(|_| std::env::temp_dir().join("cp-docker").display().to_string());
        format!("unix://{folder}/{}/docker.sock", self.name)
    }

    /// Restarts it, as a service manager does.
    pub(crate) async fn restart(&self) -> Result<()> {
        self.run("stop").await?;
        self.run("start").await.map(drop)
    }

    async fn run(&self, verb: &'static str) -> Result<String> {
        let mut command = Command::new(SCRIPT);
        command
            .args([verb, &self.name])
            .env("OWNER", std::process::id().to_string())
            .stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || command.output())
            .await?
            .with_context(|| format!("{SCRIPT} cannot be run"))?;
        ensure!(
            done.status.success(),
            "docker.sh {verb}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        match Command::new(SCRIPT)
            .args(["down", &self.name])
            .stdin(Stdio::null())
            .output()
        {
            Ok(done) if done.status.success() => {}
            failed => eprintln!("engine {} could not be removed: {failed:?}", self.name),
        }
    }
}
