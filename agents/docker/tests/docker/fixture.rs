//! The fixture of a test: its own instance and image on the engine, and a leak check at the end.

use crate::busybox;
use anyhow::{Context, Result, ensure};
use bollard::{
    Docker, body_full,
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
        RemoveVolumeOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use chainpool_agent::{
    Agent, ClusterId, ClusterKey, Connection, File, ImageRef, InstanceId, LABEL_INSTANCE, Limits, LogConfig,
    LogQuery, NetworkSpec, NodeName, NodeSpec, NodeState, Power, Scope, Secret, SpecHash, Volume,
    node_object_name,
};
use chainpool_agent_docker::DockerAgent;
use futures::{FutureExt, TryStreamExt};
use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, TcpListener},
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

pub(crate) const RUN: Power = Power::On { after: None };

static PORTS: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random_range(0..4_000)));
static SUBNETS: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random_range(0..1024)));

/// One test's instance on the engine.
pub(crate) struct Fixture {
    pub(crate) instance: InstanceId,
    pub(crate) agent: DockerAgent,
    pub(crate) docker: Docker,
    pub(crate) image: ImageRef,
    /// Foreign containers from the test, which must exist at its end.
    foreign: Mutex<Vec<String>>,
}

/// Runs a test with its own fixture, and cleans up in any case. A passed test must leave nothing behind and
/// keep foreign objects.
pub(crate) fn with_fixture(test: impl AsyncFnOnce(&Fixture) -> Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let fixture = Fixture::open()
            .await
            .expect("the engine and busybox are needed for this test");
        let outcome = AssertUnwindSafe(test(&fixture)).catch_unwind().await;
        let leftovers = fixture.leak_check().await;
        fixture.clear().await.expect("the fixture is cleaned up");
        match outcome {
            Err(panic) => resume_unwind(panic),
            Ok(result) => result.expect("the test"),
        }
        leftovers.expect("no leftovers");
    });
}

pub(crate) fn engine_address() -> String {
    std::env::var("CHAINPOOL_TEST_DOCKER").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

pub(crate) fn connection(instance: InstanceId) -> Connection {
    Connection {
        instance,
        address: engine_address(),
        tls: None,
        insecure: true,
        bind: Ipv4Addr::LOCALHOST.into(),
        kubeconfig: None,
        storage_class: None,
        mirror: None,
        registry: None,
    }
}

pub(crate) fn key() -> ClusterKey {
    ClusterKey {
        cluster: ClusterId::new(),
        generation: 1,
    }
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a node name")
}

/// A subnet that is unique in this run.
pub(crate) fn network() -> NetworkSpec {
    let slot = SUBNETS.fetch_add(1, Ordering::Relaxed) % 1024;
    let text = format!("10.212.{}.{}/26", slot / 4, slot % 4 * 64);
    NetworkSpec {
        subnet: Some(text.parse().expect("a subnet")),
    }
}

/// An unused port, a new one at each call, below the ephemeral range.
pub(crate) fn free_port() -> u16 {
    let mut next =
        || 5_000 + u16::try_from(PORTS.fetch_add(1, Ordering::Relaxed) % 4_000).expect("below 4000");
    std::iter::repeat_with(&mut next)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
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

/// A node that runs a shell script, with a volume `data` at `/data`.
pub(crate) fn node(node: &str, script: &str) -> NodeSpec {
    NodeSpec {
        name: name(node),
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
        read_only_root: false,
        log: LogConfig::default(),
        stop_signal: "SIGTERM".into(),
        stop_timeout: 1,
        machine: None,
        hash: SpecHash("first".into()),
    }
}

/// The end of a script: runs until stopped.
pub(crate) const STAY: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/// Polls a condition, up to 30 s.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await? {
        ensure!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

impl Fixture {
    async fn open() -> Result<Self> {
        let instance = InstanceId::new();
        let docker = Docker::connect_with_host(&engine_address())?
            .negotiate_version()
            .await
            .context("start dockerd, as `make test` does")?;
        let image = busybox::import(&docker, instance).await?;
        let agent = DockerAgent::connect(&connection(instance))?;
        Ok(Self {
            instance,
            agent,
            docker,
            image,
            foreign: Mutex::default(),
        })
    }

    /// Creates a network and one running node.
    pub(crate) async fn start(&self, key: &ClusterKey, node: &NodeSpec) -> Result<()> {
        self.agent.ensure_network(key, &network()).await?;
        self.ensure(key, node, &RUN).await?;
        Ok(())
    }

    pub(crate) async fn ensure(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        power: &Power,
    ) -> chainpool_agent::Result<()> {
        self.agent.ensure_node(key, node, &self.image, power).await
    }

    pub(crate) async fn inspect(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
    ) -> Result<ContainerInspectResponse> {
        Ok(self
            .docker
            .inspect_container(&node_object_name(key, &node.name), None)
            .await?)
    }

    pub(crate) async fn state(&self, key: &ClusterKey, node: &NodeSpec) -> Result<NodeState> {
        Ok(self
            .agent
            .observe(Scope::Cluster(key.cluster))
            .await?
            .node_state(key.generation, &node.name))
    }

    pub(crate) async fn wait_for_state(
        &self,
        key: &ClusterKey,
        node: &NodeSpec,
        state: NodeState,
    ) -> Result<()> {
        eventually(&format!("{state:?}"), async || {
            Ok(self.state(key, node).await? == state)
        })
        .await
    }

    /// Puts an empty file into a node's volume `data`, past the agent.
    pub(crate) async fn put(&self, key: &ClusterKey, node: &NodeSpec, path: &str) -> Result<()> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, std::io::empty())?;
        let options = UploadToContainerOptionsBuilder::default().path("/data").build();
        let container = node_object_name(key, &node.name);
        Ok(self
            .docker
            .upload_to_container(&container, Some(options), body_full(tar.into_inner()?.into()))
            .await?)
    }

    /// The output of a node so far.
    pub(crate) async fn output(&self, key: &ClusterKey, node: &NodeSpec) -> Result<String> {
        let lines: Vec<_> = self
            .agent
            .logs(key, &node.name, LogQuery::default())
            .await?
            .try_collect()
            .await?;
        Ok(lines
            .iter()
            .map(|l| String::from_utf8_lossy(&l.bytes).into_owned())
            .collect())
    }

    pub(crate) async fn wait_for_output(&self, key: &ClusterKey, node: &NodeSpec, text: &str) -> Result<()> {
        eventually(&format!("the node prints {text:?}"), async || {
            Ok(self.output(key, node).await?.contains(text))
        })
        .await
    }

    /// A container of another owner.
    pub(crate) async fn foreign_container(
        &self,
        name: &str,
        mut body: ContainerCreateBody,
    ) -> Result<String> {
        body.image = Some(self.image.pinned.clone());
        body.cmd = Some(["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec());
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let id = self.docker.create_container(Some(options), body).await?.id;
        self.foreign.lock().expect("a lock").push(id.clone());
        Ok(id)
    }

    /// Removes a foreign container during a test, as its owner would.
    pub(crate) async fn release(&self, id: &str) -> Result<()> {
        self.foreign.lock().expect("a lock").retain(|other| other != id);
        Ok(self
            .docker
            .remove_container(
                id,
                Some(RemoveContainerOptionsBuilder::default().force(true).build()),
            )
            .await?)
    }

    pub(crate) async fn ours(&self) -> Result<(Vec<String>, Vec<String>, Vec<String>)> {
        let filters = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={}", self.instance)])]);
        let containers = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let containers = self
            .docker
            .list_containers(Some(containers))
            .await?
            .into_iter()
            .filter_map(|c| c.id)
            .collect();
        let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = self
            .docker
            .list_networks(Some(networks))
            .await?
            .into_iter()
            .filter_map(|n| n.id)
            .collect();
        let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let volumes = self
            .docker
            .list_volumes(Some(volumes))
            .await?
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|v| v.name)
            .collect();
        Ok((containers, networks, volumes))
    }

    async fn leak_check(&self) -> Result<()> {
        let (containers, networks, volumes) = self.ours().await?;
        ensure!(containers.is_empty(), "containers left: {containers:?}");
        ensure!(networks.is_empty(), "networks left: {networks:?}");
        ensure!(volumes.is_empty(), "volumes left: {volumes:?}");
        let foreign = self.foreign.lock().expect("a lock").clone();
        for id in foreign {
            self.docker
                .inspect_container(&id, None)
                .await
                .with_context(|| format!("{id} is foreign and must exist"))?;
        }
        Ok(())
    }

    /// Removes all objects of the test, foreign ones by id.
    async fn clear(&self) -> Result<()> {
        let (mut containers, networks, volumes) = self.ours().await?;
        containers.append(&mut self.foreign.lock().expect("a lock"));
        for id in containers {
            gone(
                self.docker
                    .remove_container(
                        &id,
                        Some(
                            RemoveContainerOptionsBuilder::default()
                                .force(true)
                                .v(true)
                                .build(),
                        ),
                    )
                    .await,
            )?;
        }
        for id in networks {
            gone(self.docker.remove_network(&id).await)?;
        }
        for name in volumes {
            gone(
                self.docker
                    .remove_volume(&name, Some(RemoveVolumeOptionsBuilder::default().build()))
                    .await,
            )?;
        }
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        gone(
            self.docker
                .remove_image(&self.image.name, Some(options), None)
                .await
                .map(drop),
        )
    }
}

/// Treats absent as success.
fn gone(result: Result<(), bollard::errors::Error>) -> Result<()> {
    match result {
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
