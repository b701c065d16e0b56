//! `cometbft` against the real program of version 0.38.21, whose path is in `COMETBFT`.

use crate::local::Local;
use chainpool_agent::{
    ClusterId, ClusterKey, ClusterSpec, Generation, LogConfig, NetworkSpec, NodeName, NodeSpec, NodeState,
    Object, ObjectKind, Observation, Secret, Variable,
};
use chainpool_api::{Evidence, HealthState, LogLevel, Timestamp};
use chainpool_networks::{History, NetworkType, Nodes, PublicEndpoints, Registry, RenderRequest, Verdict};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs, io,
    net::TcpListener,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const GENERATION: Generation = 1;

/// A network whose nodes are child processes. Dropping it kills them.
struct Network {
    kind: Arc<dyn NetworkType>,
    parameters: Value,
    nodes: Nodes,
    homes: tempfile::TempDir,
    ports: BTreeMap<(NodeName, String), u16>,
    running: Mutex<BTreeMap<NodeName, Child>>,
    paused: Mutex<Vec<NodeName>>,
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in self
            .running
            .lock()
            .expect("no test panics while it holds this")
            .values_mut()
        {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Network {
    /// Renders a network and writes its files for the processes.
    fn prepare(preset: &str, given: &Value) -> Self {
        let kind = Registry::default().get("cometbft").expect("it is registered");
        let parameters = kind
            .validate(preset, given.as_object().expect("an object"))
            .expect("valid parameters");
        let request = RenderRequest {
            parameters: parameters.clone(),
            chain_id: format!("cp-{}", ClusterId::new()),
            genesis_at: Timestamp::now(),
            network: NetworkSpec { subnet: None },
            ports: kind
                .requirements(&parameters)
                .ports
                .into_iter()
                .map(|need| (need, 1))
                .collect(),
            public_endpoints: PublicEndpoints {
                address: "127.0.0.1".to_owned(),
                loopback: true,
                machines: BTreeMap::new(),
            },
            images: BTreeMap::new(),
            log: LogConfig::default(),
            log_level: LogLevel::Info,
        };
        let spec = kind.render(&request, &Secret::new(rand::random()));
        let needed = spec.nodes.iter().map(|node| node.ports.len()).sum::<usize>();
        let free: Vec<TcpListener> = (0..needed)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let mut free = free.iter().map(|l| l.local_addr().expect("it is bound").port());
        let names = spec
            .nodes
            .iter()
            .flat_map(|n| n.ports.iter().map(|p| (n.name.clone(), p.name.clone())));
        let ports: BTreeMap<_, _> = names
            .map(|port| (port, free.next().expect("a port for each")))
            .collect();
        let at = |port: &u16| ([127, 0, 0, 1], *port).into();
        let agent = Arc::new(Local {
            ports: ports
                .iter()
                .map(|(name, port)| (name.clone(), at(port)))
                .collect(),
        });
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: GENERATION,
        };
        let nodes = Nodes {
            agent,
            key,
            spec: Arc::new(spec),
            policy: Arc::default(),
        };
        let network = Self {
            kind,
            parameters,
            nodes,
            homes: tempfile::tempdir().expect("a folder"),
            ports,
            running: Mutex::default(),
            paused: Mutex::default(),
        };
        for node in &network.spec().nodes {
            network.place(node);
        }
        network
    }

    fn spec(&self) -> &ClusterSpec {
        &self.nodes.spec
    }

    fn home(&self, node: &NodeName) -> PathBuf {
        self.homes.path().join(node.as_str())
    }

    fn place(&self, node: &NodeSpec) {
        for file in &node.files {
            let path = self
                .home(&node.name)
                .join(file.path.strip_prefix("/").expect("an absolute path"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            let mut content = file.content.expose().clone();
            if path.ends_with("config.toml") {
                content = self
                    .localise(&node.name, &String::from_utf8(content).expect("text"))
                    .into_bytes();
            }
            let mut open = fs::OpenOptions::new();
            let mut target = open
                .write(true)
                .create(true)
                .mode(0o600)
                .open(&path)
                .expect("a file");
            std::io::Write::write_all(&mut target, &content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).expect("its mode");
        }
    }

    /// Adapts a configuration to one machine: ports instead of names.
    fn localise(&self, node: &NodeName, config: &str) -> String {
        let port = |node: &NodeName, name: &str| self.ports[&(node.clone(), name.to_owned())];
        let mut config = config
            .replace("0.0.0.0:26657", &format!("127.0.0.1:{}", port(node, "rpc")))
            .replace("0.0.0.0:26659", &format!("127.0.0.1:{}", port(node, "health")))
            .replace("0.0.0.0:26656", &format!("127.0.0.1:{}", port(node, "p2p")));
        for other in &self.spec().nodes {
            config = config.replace(
                &format!("@{}:26656", other.name),
                &format!("@127.0.0.1:{}", port(&other.name, "p2p")),
            );
        }
        config
    }

    fn start(&self, node: &NodeSpec) {
        let program = std::env::var("COMETBFT").expect("COMETBFT names the program of version 0.38.21");
        let home = self.home(&node.name);
        let log = fs::File::create(home.join("log")).expect("a log");
        let (_, arguments) = node.command.split_first().expect("a program");
        let rooted = |argument: &String| match argument.strip_prefix('/') {
            Some(path) => home.join(path).display().to_string(),
            None => argument.clone(),
        };
        let mut command = Command::new(program);
        for (name, value) in &node.env {
            if let Variable::Plain(value) = value {
                command.env(name, value);
            }
        }
        let child = command
            .args(arguments.iter().map(rooted))
            .stdout(log.try_clone().expect("the same log"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        self.running
            .lock()
            .expect("not poisoned")
            .insert(node.name.clone(), child);
    }

    fn start_all(&self) {
        for node in &self.spec().nodes {
            self.start(node);
        }
    }

    fn kill(&self, node: &NodeName) {
        let mut child = self
            .running
            .lock()
            .expect("not poisoned")
            .remove(node)
            .expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    fn signal(&self, node: &NodeName, signal: &str) {
        let pid = self.running.lock().expect("not poisoned")[node].id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .expect("kill runs")
                .success()
        );
    }

    /// Freezes a process. `reported`: the platform reports it as paused.
    fn pause(&self, node: &NodeName, reported: bool) {
        self.signal(node, "-STOP");
        if reported {
            self.paused.lock().expect("not poisoned").push(node.clone());
        }
    }

    fn unpause(&self, node: &NodeName) {
        self.signal(node, "-CONT");
        self.paused.lock().expect("not poisoned").retain(|n| n != node);
    }

    fn observed(&self) -> Observation {
        let running = self.running.lock().expect("not poisoned");
        let paused = self.paused.lock().expect("not poisoned");
        let state = |name: &NodeName| match (running.contains_key(name), paused.contains(name)) {
            (true, true) => NodeState::Paused,
            (true, false) => NodeState::Running,
            (false, _) => NodeState::Exited(137),
        };
        let object = |node: &NodeSpec| Object {
            kind: ObjectKind::Node,
            name: node.name.to_string(),
            id: node.name.to_string(),
            cluster: self.nodes.key.cluster,
            generation: GENERATION,
            node: Some(node.name.clone()),
            hash: None,
            state: Some(state(&node.name)),
        };
        Observation {
            objects: self.spec().nodes.iter().map(object).collect(),
            ..Observation::default()
        }
    }

    async fn probe(&self) -> Evidence {
        self.kind.probe(&self.nodes, &self.observed()).await
    }

    fn assess(&self, evidence: &Evidence, history: &History) -> Verdict {
        self.kind.verdict(
            &self.parameters,
            evidence,
            history,
            &self.nodes.policy,
            Timestamp::now(),
        )
    }

    /// Probes until the verdict has this state.
    async fn wait_for(&self, history: &History, state: HealthState) -> Verdict {
        self.wait_until(history, |_, verdict| verdict.state == state)
            .await
            .1
    }

    /// Probes until evidence and verdict match.
    async fn wait_until(
        &self,
        history: &History,
        wanted: impl Fn(&Evidence, &Verdict) -> bool,
    ) -> (Evidence, Verdict) {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let evidence = self.probe().await;
            let verdict = self.assess(&evidence, history);
            if wanted(&evidence, &verdict) {
                return (evidence, verdict);
            }
            assert!(
                Instant::now() < deadline,
                "{verdict:?} on {evidence:#?} in {}",
                self.homes.path().display()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A connection to the client port.
    async fn dial(&self, node: &NodeName) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.ports[&(node.clone(), "rpc".to_owned())])).await
    }

    /// Submits a user's transaction to a node; returns the response.
    async fn submit(&self, node: &NodeName, transaction: &str) -> String {
        let escaped = transaction
            .bytes()
            .fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
        let request = format!(
            "GET /broadcast_tx_sync?tx=%22{escaped}%22 HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        );
        let mut stream = self.dial(node).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    fn logs(&self) -> String {
        let tail = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        self.spec()
            .nodes
            .iter()
            .flat_map(|n| {
                [
                    "== ".to_owned(),
                    n.name.to_string(),
                    "\n".to_owned(),
                    tail(&self.home(&n.name).join("log")),
                ]
            })
            .collect()
    }
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a node name")
}

#[tokio::test]
async fn four_validators_commit_and_their_faults_are_reported() {
    let network = Network::prepare("default", &json!({}));
    let begun = Instant::now();
    network.start_all();
    let proof = network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    println!(
        "four validators: proven {:?} after the start, {proof:?}",
        begun.elapsed()
    );
    assert_ne!(proof.written_to, proof.read_from);

    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(healthy.reason, "all 4 validators participate and agree");
    let evidence = network.probe().await;
    assert_eq!((evidence.power, evidence.agree), (Some((4, 4)), Some(true)));
    assert!(
        evidence
            .nodes
            .values()
            .all(|n| n.peers >= Some(1) && n.hash.is_some() && n.block_at.is_some()),
        "{evidence:#?}"
    );

    // One frozen: the ledger still commits.
    network.pause(&name("v2"), true);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        "1 of 4 validators unavailable (v2 paused); still committing"
    );
    network
        .kind
        .prove(&network.nodes)
        .await
        .expect("three of four commit");

    // Two frozen: it does not. The platform reports only one; the other is running but unresponsive.
    network.pause(&name("v3"), false);
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert_eq!(
        verdict.reason,
        "2 of 4 validators unavailable (v2 paused, v3 is running but unresponsive); more than 2/3 of the voting power required to commit"
    );

    // Recovered: not healthy before a new block.
    let before = network.probe().await;
    network.unpause(&name("v2"));
    network.unpause(&name("v3"));
    let history = History {
        progress: network.kind.progress(&before),
        progress_since: Some(Timestamp::now()),
        recovering: true,
        ..History::default()
    };
    network
        .kind
        .prove(&network.nodes)
        .await
        .expect("it commits again");
    network.wait_for(&history, HealthState::Healthy).await;
    assert!(network.probe().await.height > before.height);
}

#[tokio::test]
async fn a_killed_validator_restarts_with_its_state() {
    let network = Network::prepare("default", &json!({}));
    network.start_all();
    network.kind.prove(&network.nodes).await.expect("it commits");
    let v1 = name("v1");
    network.kill(&v1);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        "1 of 4 validators unavailable (v1 exited 137); still committing"
    );
    let before = network.probe().await.height;
    let begun = Instant::now();
    network.start(network.spec().node(&v1).expect("it is there"));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    println!(
        "a killed validator: healthy again {:?} after its start",
        begun.elapsed()
    );
    let proof = network.kind.prove(&network.nodes).await.expect("it commits");
    assert!(Some(proof.height) > before);
}

#[tokio::test]
async fn a_single_validator_proves_on_itself() {
    let network = Network::prepare("single", &json!({"block_interval_ms": 100}));
    let begun = Instant::now();
    network.start_all();
    let proof = network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    println!("one validator: proven {:?} after the start", begun.elapsed());
    assert_eq!(proof.written_to, proof.read_from);
    network.wait_for(&History::default(), HealthState::Healthy).await;
}

#[tokio::test]
async fn sixteen_validators_without_empty_blocks_commit() {
    let network = Network::prepare("default", &json!({"validators": 16, "empty_blocks": false}));
    let begun = Instant::now();
    network.start_all();
    network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    println!("sixteen validators: proven {:?} after the start", begun.elapsed());
    network.wait_for(&History::default(), HealthState::Healthy).await;
}

/// A network with the shortest block interval.
fn swift(preset: &str) -> Network {
    Network::prepare(
        preset,
        &json!({"block_interval_ms": 100, "empty_block_interval_s": 0}),
    )
}

/// Transactions can change voting powers; the verdict depends only on these.
#[tokio::test]
async fn a_validator_without_voting_power_is_reported_and_not_required() {
    let network = swift("default");
    network.start_all();
    network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    let key = network.spec().facts["validators"]["v3"]["public_key"]
        .as_str()
        .expect("a key");
    let answer = network.submit(&name("v0"), &format!("val=ed25519!{key}!0")).await;
    assert!(answer.contains("\"code\":0"), "{answer}");

    let voteless = |evidence: &Evidence, _: &Verdict| evidence.nodes["v3"].power == Some(0);
    let (evidence, _) = network.wait_until(&History::default(), voteless).await;
    assert!(
        ["v0", "v1", "v2"]
            .iter()
            .all(|node| evidence.nodes[*node].power == Some(1)),
        "{evidence:#?}"
    );
    let verdict = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        verdict.reason,
        "all 3 validators participate and agree; v3 is no longer a validator: a transaction removed its voting power"
    );
    assert_eq!(network.probe().await.power, Some((3, 3)));

    // Its loss is reported, and the ledger continues without it.
    network.kill(&name("v3"));
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        "1 node without voting power unavailable (v3 exited 137); still committing"
    );
    network
        .kind
        .prove(&network.nodes)
        .await
        .expect("the three that vote commit");
    // All of the three remaining voters are required.
    network.kill(&name("v2"));
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert!(
        verdict
            .reason
            .starts_with("1 of 3 validators unavailable (v2 exited 137)"),
        "{verdict:?}"
    );
}

/// More connections than a port accepts by default (`max_open_connections`).
const CLIENTS: usize = 920;

#[tokio::test]
async fn a_validator_with_an_exhausted_user_port_is_probed_at_its_health_port() {
    let network = Arc::new(swift("single"));
    network.start_all();
    network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(network.probe().await.nodes["v0"].closed_to_users, None);

    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let network = Arc::clone(&network);
        clients.spawn(async move {
            let node = name("v0");
            loop {
                // The program closes an idle connection; the client reconnects.
                if let Ok(mut stream) = network.dial(&node).await {
                    drop(stream.read_u8().await);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    let is_closed = |evidence: &Evidence| evidence.nodes["v0"].closed_to_users.is_some();
    let (closed, verdict) = network
        .wait_until(&History::default(), |evidence, _| is_closed(evidence))
        .await;
    let node = &closed.nodes["v0"];
    assert!(
        node.answers && node.silent.is_none() && closed.height.is_some() && closed.power == Some((1, 1)),
        "{closed:#?}"
    );
    let reason =
        "committing, but the client port is unresponsive at v0: clients may have exhausted its connections";
    assert_eq!(
        (verdict.state, verdict.reason.as_str()),
        (HealthState::Degraded, reason)
    );
    network
        .wait_until(&History::default(), |evidence, _| {
            is_closed(evidence) && evidence.height > closed.height
        })
        .await;

    clients.shutdown().await;
    network.wait_for(&History::default(), HealthState::Healthy).await;
}
