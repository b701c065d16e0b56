//! Platforms of several machines, started by the scripts in `testbeds/` or named by the environment.

use crate::engine::{Engine, IMAGE};
use anyhow::{Context, Result, bail, ensure};
use chainpool_agent::{Agent, Connection, ImageRequest, InstanceId, LABEL_NODE, Platform, Secret};
use chainpool_agent_docker::SwarmPlatform;
use chainpool_agent_kubernetes::KubernetesPlatform;
use chainpool_api::Cluster;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, process::Stdio, sync::Arc};
use tokio::process::Command;

/// Image that places files on other machines.
pub const TOOLS: &str = concat!("chainpool/tools:", env!("CARGO_PKG_VERSION"));

/// The same, as agents take it.
pub(crate) fn tools() -> ImageRequest {
    ImageRequest::of(&[TOOLS.to_owned()])
}

/// Platform to register as a host.
pub struct TestBed {
    platform: Arc<dyn Platform>,
    address: String,
    kubeconfig: Option<String>,
    /// Started by our script, so tests may break its machines.
    owned: bool,
}

impl TestBed {
    /// Starts or finds a swarm of three engines.
    pub async fn swarm() -> Result<Self> {
        let output = script("swarm.sh", &["up"]).await?;
        let address = output
            .lines()
            .last()
            .context("swarm.sh prints the address")?
            .to_owned();
        let owned = std::env::var_os("CHAINPOOL_TEST_SWARM").is_none();
        if owned {
            script("swarm.sh", &["load", IMAGE, TOOLS]).await?;
        }
        Ok(Self {
            platform: Arc::new(SwarmPlatform { tools: tools() }),
            address,
            kubeconfig: None,
            owned,
        })
    }

    /// Starts or finds a Kubernetes cluster of one machine.
    pub async fn kubernetes() -> Result<Self> {
        let path = script("kubernetes.sh", &["up"]).await?;
        let owned = std::env::var_os("CHAINPOOL_TEST_KUBECONFIG").is_none();
        if owned {
            script("kubernetes.sh", &["load", IMAGE, TOOLS]).await?;
        }
        let kubeconfig = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let (_, server) = kubeconfig
            .split_once("server:")
            .context("a kubeconfig names its server")?;
        let end = server.find([',', '}', '\n']).unwrap_or(server.len());
        let address = server[..end].trim().trim_matches('"').to_owned();
        Ok(Self {
            platform: Arc::new(KubernetesPlatform { tools: tools() }),
            address,
            kubeconfig: Some(kubeconfig),
            owned,
        })
    }

    /// Loads images from the machine's own engine. An external platform must already have them.
    pub async fn load(&self, images: &[&str]) -> Result<()> {
        let bed = if self.kubeconfig.is_some() {
            "kubernetes.sh"
        } else {
            "swarm.sh"
        };
        if self.owned {
            script(bed, &[&["load"][..], images].concat()).await.map(drop)
        } else {
            Ok(())
        }
    }

    /// Fails on an external platform, whose machines tests must not break.
    pub fn require_owned(&self) -> Result<()> {
        ensure!(
            self.owned,
            "the platform at {} is external; skip the tests that break its machines (-- --skip loses)",
            self.address
        );
        Ok(())
    }

    /// Runs `cut`, `heal`, `stop` or `start` on a machine of the swarm, by its name.
    pub async fn machine(&self, verb: &str, name: &str) -> Result<()> {
        let number = name
            .strip_prefix("machine-")
            .with_context(|| format!("the test bed has no machine {name}"))?;
        script("swarm.sh", &[verb, number]).await.map(drop)
    }

    /// Runs `stop` or `start` on the API server of the Kubernetes cluster.
    pub async fn api_server(&self, verb: &str) -> Result<()> {
        script("kubernetes.sh", &[verb, "kube-apiserver"]).await.map(drop)
    }

    /// Runs kubectl as the cluster's administrator; returns its output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        script("kubernetes.sh", &[&["kubectl"], arguments].concat()).await
    }

    /// Kills a node directly on the platform.
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
            "no machine of {} runs node {node} of {}",
            self.address,
            cluster.name
        )
    }

    /// Returns the addresses of the swarm's managers.
    #[must_use]
    pub fn managers(&self) -> Vec<String> {
        self.address.split(',').map(str::to_owned).collect()
    }

    /// Returns the kubeconfig of a Kubernetes cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&str> {
        self.kubeconfig.as_deref()
    }

    /// Request body that registers the platform with this capacity and four validators per cluster.
    #[must_use]
    pub fn host_body(&self, capacity: u32) -> Value {
        json!({
            "name": "h1", "address": self.address, "kubeconfig": self.kubeconfig, "insecure": true, "capacity": capacity,
            "autofill": false, "disk_floor": 0, "memory_factor": 64.0,
            "fill": [{"type": "cometbft", "preset": "default", "parameters": {"validators": 4}}],
        })
    }

    /// Connects an agent of an installation, to inspect and to break objects.
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

/// Runs a script of a test bed; returns its output. scripts/test-platforms.sh checks beforehand that the bed
/// is available.
async fn script(name: &str, arguments: &[&str]) -> Result<String> {
    let path = format!("{}/testbeds/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} {arguments:?} failed with {}: {}",
        output.status,
        errors.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
