//! The fixture of a test: its own instance on the swarm, and a leak check at the end.

use crate::bed::{self, Bed};
use anyhow::{Result, ensure};
use chainpool_agent::{
    Agent, ClusterId, ClusterKey, File, InstanceId, Limits, LogConfig, LogQuery, NetworkSpec, NodeName,
    NodeSpec, NodeState, Power, Scope, Secret, SpecHash, Volume,
};
use chainpool_agent_docker::SwarmAgent;
use futures::TryStreamExt;
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

pub(crate) const RUN: Power = Power::On { after: None };
/// The end of a script: runs until stopped.
pub(crate) const STAY: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
/// Time limit of one step, generous for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

pub(crate) struct Fixture<'b> {
    pub(crate) bed: &'b Bed,
    pub(crate) instance: InstanceId,
    pub(crate) agent: SwarmAgent,
    clusters: Mutex<Vec<ClusterId>>,
}

pub(crate) fn file(path: &str, content: &str) -> File {
    File {
        path: path.into(),
        content: Secret::new(content.into()),
        mode: 0o640,
        owner: (1000, 1001),
        secret: false,
        once: false,
    }
}

pub(crate) fn once(path: &str, content: &str) -> File {
    File {
        once: true,
        ..file(path, content)
    }
}

/// A node that runs a shell script on this machine, with a volume `data` at `/data`.
pub(crate) fn node(name: &str, machine: &str, script: &str) -> NodeSpec {
    NodeSpec {
        name: NodeName::parse(name).expect("a node name"),
        images: vec![],
        command: vec!["/bin/busybox".into(), "sh".into(), "-c".into(), script.into()],
        user: Some("1000:1001".into()),
        env: BTreeMap::new(),
        files: vec![],
        volumes: vec![Volume {
            name: "data".into(),
            path: "/data".into(),
            shared: false,
        }],
        ports: vec![],
        limits: Limits {
            memory_bytes: 32 << 20,
            processes: 64,
            cpu_millis: None,
        },
        readiness: None,
        result: false,
        read_only_root: true,
        log: LogConfig::default(),
        stop_signal: "SIGTERM".into(),
        stop_timeout: 1,
        machine: Some(machine.into()),
        hash: SpecHash("first".into()),
    }
}

impl<'b> Fixture<'b> {
    pub(crate) fn open(bed: &'b Bed) -> Self {
        let instance = InstanceId::new();
        let agent = SwarmAgent::connect(&bed.connection(instance), &bed::tools())
            .expect("the bed has a valid address");
        Self {
            bed,
            instance,
            agent,
            clusters: Mutex::default(),
        }
    }

    /// A new cluster with its network, dropped at the end.
    pub(crate) async fn cluster(&self) -> Result<ClusterKey> {
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: 1,
        };
        self.clusters.lock().expect("a lock").push(key.cluster);
        self.agent.ensure_network(&key, &network()).await?;
        Ok(key)
    }

    /// The machines' ids, in the order of the bed.
    pub(crate) async fn machines(&self) -> Result<Vec<String>> {
        let machines = self.agent.probe().await?.machines;
        ensure!(
            machines.len() == self.bed.machines.len() && machines.iter().all(|m| !m.address.is_empty()),
            "{machines:?}"
        );
        Ok(machines.into_iter().map(|machine| machine.id).collect())
    }

    pub(crate) async fn ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        power: &Power,
    ) -> chainpool_agent::Result<()> {
        self.agent.ensure_node(key, node, &self.bed.image, power).await
    }

    pub(crate) async fn state(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> chainpool_agent::Result<NodeState> {
        Ok(self
            .agent
            .observe(Scope::Cluster(key.cluster))
            .await?
            .node_state(key.generation, &node.name))
    }

    /// Waits until a node has printed this text, and returns its whole output.
    pub(crate) async fn wait_for_output(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        text: &str,
    ) -> Result<String> {
        let output = Mutex::new(String::new());
        eventually(&format!("node {} prints {text:?}", node.name), SOON, async || {
            let lines: Vec<_> = match self.agent.logs(key, &node.name, LogQuery::default()).await {
                Ok(log) => log.try_collect().await?,
                Err(error) => {
                    *output.lock().expect("a lock") = error.to_string();
                    return Ok(false);
                }
            };
            let printed: String = lines
                .iter()
                .map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
                .collect();
            let found = printed.contains(text);
            *output.lock().expect("a lock") = printed;
            Ok(found)
        })
        .await
        .map_err(|error| error.context(format!("its output is {:?}", output.lock().expect("a lock"))))?;
        Ok(output.into_inner().expect("a lock"))
    }

    /// Drops the clusters, and checks all machines for leaks.
    pub(crate) async fn close(&self) -> Result<()> {
        let clusters = self.clusters.lock().expect("a lock").clone();
        for cluster in clusters {
            eventually("the cluster is dropped", SOON, async || {
                match self.agent.drop_cluster(cluster, u32::MAX).await {
                    Err(error) if error.is_transient() => Ok(false),
                    other => Ok(other.map(|()| true)?),
                }
            })
            .await?;
        }
        let seen = self.agent.observe(Scope::Host).await?;
        ensure!(seen.objects.is_empty(), "observed: {seen:?}");
        let leftovers = self.bed.leak_check(self.instance).await?;
        ensure!(leftovers.0.is_empty(), "left: {leftovers:?}");
        Ok(())
    }
}

/// A random subnet, to avoid collisions with other tests.
pub(crate) fn network() -> NetworkSpec {
    let slot: u16 = rand::random_range(0..1024);
    let text = format!("10.213.{}.{}/26", slot / 4, slot % 4 * 64);
    NetworkSpec {
        subnet: Some(text.parse().expect("a subnet")),
    }
}

/// Polls a condition, up to a time limit.
pub(crate) async fn eventually(
    what: &str,
    limit: Duration,
    condition: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let deadline = tokio::time::Instant::now() + limit;
    while !condition().await? {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "not within {} s: {what}",
            limit.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
