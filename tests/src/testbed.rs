//! Platforms that span machines, brought up by the scripts of `testbeds/`, or named by the environment.

use crate::engine::{Engine, IMAGE};
use anyhow::{Context, Result, bail, ensure};
use chainpool_agent::{Agent, Connection, InstanceId, LABEL_NODE, Platform, Secret};
use chainpool_agent_docker::SwarmPlatform;
use chainpool_agent_kubernetes::KubernetesPlatform;
use chainpool_api::Cluster;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, process::Stdio, sync::Arc};
use tokio::process::Command;

/// The image that places files on other machines.
pub const TOOLS: &str = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));

/// A platform to register as a host.
pub struct TestBed {
    platform: Arc<dyn Platform>,
    address: String,
    kubeconfig: Option<String>,
    /// Made by a script of ours, so that its machines may be broken.
    ours: bool,
}

impl TestBed {
    /// Three engines in one swarm.
    pub async fn swarm() -> Result<Self> {
        let said = script("swarm.sh", &["up"]).await?;
        let address = said
            .lines()
            .last()
            .context("swarm.sh prints the address")?
            .to_owned();
        let ours = std::env::var_os("CHAINPOOL_TEST_SWARM").is_none();
        if ours {
            script("swarm.sh", &["load", IMAGE, TOOLS]).await?;
        }
        Ok(Self {
            platform: Arc::new(SwarmPlatform),
            address,
            kubeconfig: None,
            ours,
        })
    }

    /// A Kubernetes cluster of one machine.
    pub async fn kubernetes() -> Result<Self> {
        let path = script("kubernetes.sh", &["up"]).await?;
        let ours = std::env::var_os("CHAINPOOL_TEST_KUBECONFIG").is_none();
        if ours {
            script("kubernetes.sh", &["load", IMAGE, TOOLS]).await?;
        }
        let kubeconfig = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let (_, server) = kubeconfig
            .split_once("server:")
            .context("a kubeconfig names its server")?;
        let end = server.find([',', '}', '\n']).unwrap_or(server.len());
        let address = server[..end].trim().trim_matches('"').to_owned();
        Ok(Self {
            platform: Arc::new(KubernetesPlatform),
            address,
            kubeconfig: Some(kubeconfig),
            ours,
        })
    }

    /// Brings more images there, from the machine's own engine. Somebody's own platform must have them.
    pub async fn load(&self, images: &[&str]) -> Result<()> {
        let bed = if self.kubeconfig.is_some() {
            "kubernetes.sh"
        } else {
            "swarm.sh"
        };
        if self.ours {
            script(bed, &[&["load"][..], images].concat()).await.map(drop)
        } else {
            Ok(())
        }
    }

    /// Fails when its machines are somebody's: they are not broken for a test.
    pub fn must_be_ours(&self) -> Result<()> {
        ensure!(
            self.ours,
            "the machines of {} are their owner's: leave the tests out that break them (-- --skip loses)",
            self.address
        );
        Ok(())
    }

    /// `cut`, `heal`, `stop` or `start`: a machine of the swarm, by its name.
    pub async fn machine(&self, verb: &str, name: &str) -> Result<()> {
        let number = name
            .strip_prefix("machine-")
            .with_context(|| format!("{name} is no machine of the bed"))?;
        script("swarm.sh", &[verb, number]).await.map(drop)
    }

    /// `stop` or `start`: the API server of the Kubernetes cluster.
    pub async fn server(&self, verb: &str) -> Result<()> {
        script("kubernetes.sh", &[verb, "kube-apiserver"]).await.map(drop)
    }

    /// What its administrator does by hand; what that printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        script("kubernetes.sh", &[&["kubectl"], arguments].concat()).await
    }

    /// Kills a node without a word to Chainpool.
    pub async fn kill(&self, cluster: &Cluster, node: &str) -> Result<()> {
        if self.kubeconfig.is_some() {
            let pod = format!("{node}-0");
            let namespace = Engine::network(cluster);
            let delete = [
                "delete",
                "pod",
                &pod,
                "--namespace",
                &namespace,
                "--grace-period=0",
                "--force",
                "--wait=false",
            ];
            return self.kubectl(&delete).await.map(drop);
        }
        for machine in self.managers() {
            let engine = Engine::at(&machine).await?;
            let containers = engine.containers_of(cluster.id).await?;
            if let Some((name, _)) = containers
                .iter()
                .find(|(_, labels)| labels.get(LABEL_NODE).is_some_and(|label| label == node))
            {
                return engine.kill(name).await;
            }
        }
        bail!(
            "no machine of {} has node {node} of {}",
            self.address,
            cluster.name
        )
    }

    /// The addresses of a swarm's managers.
    #[must_use]
    pub fn managers(&self) -> Vec<String> {
        self.address.split(',').map(str::to_owned).collect()
    }

    /// The kubeconfig of a Kubernetes cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&str> {
        self.kubeconfig.as_deref()
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

/// Runs a script of a bed; what it printed. Whether the bed can be had here is asked before the tests (scripts/test-platforms.sh).
async fn script(name: &str, arguments: &[&str]) -> Result<String> {
    let path = format!("{}/testbeds/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} {arguments:?} ended with {}: {}",
        output.status,
        why.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
