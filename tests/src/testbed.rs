//! Platforms that span machines, brought up by the scripts of `testbeds/`, or named by the environment.

use crate::engine::IMAGE;
use anyhow::{Context, Result, bail};
use chainpool_agent::{Agent, Connection, InstanceId, Platform, Secret};
use chainpool_agent_docker::SwarmPlatform;
use chainpool_agent_kubernetes::KubernetesPlatform;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, process::Stdio, sync::Arc};
use tokio::process::Command;

/// The image that places files on other machines.
const TOOLS: &str = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));
/// What a script ends with when its platform cannot be had on this machine.
const SKIPPED: i32 = 3;

/// A platform to register as a host.
pub struct TestBed {
    platform: Arc<dyn Platform>,
    address: String,
    kubeconfig: Option<String>,
}

impl TestBed {
    /// Three engines in one swarm. `None`, said loudly, where it cannot be had.
    pub async fn swarm() -> Result<Option<Self>> {
        let Some(said) = script("swarm.sh", &["up"]).await? else { return Ok(None) };
        let address = said.lines().last().context("swarm.sh prints the address")?.to_owned();
        if std::env::var_os("CHAINPOOL_TEST_SWARM").is_none() {
            script("swarm.sh", &["load", IMAGE, TOOLS]).await?;
        }
        Ok(Some(Self { platform: Arc::new(SwarmPlatform), address, kubeconfig: None }))
    }

    /// A Kubernetes cluster of one machine. `None`, said loudly, where it cannot be had.
    pub async fn kubernetes() -> Result<Option<Self>> {
        let Some(path) = script("kubernetes.sh", &["up"]).await? else { return Ok(None) };
        if std::env::var_os("CHAINPOOL_TEST_KUBECONFIG").is_none() {
            script("kubernetes.sh", &["load", IMAGE, TOOLS]).await?;
        }
        let kubeconfig = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let server = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server:")).context("a kubeconfig names its server")?;
        let address = server.trim().trim_matches('"').to_owned();
        Ok(Some(Self { platform: Arc::new(KubernetesPlatform), address, kubeconfig: Some(kubeconfig) }))
    }

    /// The body that registers it, with room for so many ledgers of four validators.
    #[must_use]
    pub fn host_body(&self, capacity: u32) -> Value {
        json!({
            "name": "h1", "address": self.address, "kubeconfig": self.kubeconfig, "insecure": true, "capacity": capacity,
            "autofill": false, "disk_floor": 0, "memory_factor": 64.0,
            "fill": [{"type": "cometbft", "preset": "default", "parameters": {"validators": 4}}],
        })
    }

    /// Hands of an installation there, to look and to break.
    pub fn agent(&self, instance: InstanceId) -> Result<Arc<dyn Agent>> {
        Ok(self.platform.connect(&Connection {
            instance,
            address: self.address.clone(),
            kubeconfig: self.kubeconfig.clone().map(Secret::new),
            storage_class: None,
            tls: None,
            insecure: true,
            bind: Ipv4Addr::UNSPECIFIED.into(),
            mirror: None,
            registry: None,
        })?)
    }
}

/// Runs a script of a bed; what it printed.
async fn script(name: &str, arguments: &[&str]) -> Result<Option<String>> {
    let path = format!("{}/testbeds/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).output().await?;
    let (said, why) =
        (String::from_utf8_lossy(&output.stdout).trim().to_owned(), String::from_utf8_lossy(&output.stderr).trim().to_owned());
    match output.status.code() {
        Some(0) => Ok(Some(said)),
        Some(SKIPPED) => {
            eprintln!("\n!!! SKIPPED, not passed: {why}\n");
            Ok(None)
        }
        code => bail!("{name} {arguments:?} ended with {code:?}: {why}"),
    }
}
