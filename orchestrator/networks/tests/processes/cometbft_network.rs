//! A CometBFT network of processes.

use crate::local::Local;
use chainpool_agent::{
    ClusterId, ClusterKey, ClusterSpec, Generation, LogConfig, NetworkSpec, NodeName, NodeSpec, NodeState,
    Object, ObjectKind, Observation, Secret, Variable,
};
use chainpool_api::{Evidence, HealthState, LogLevel, Timestamp};
use chainpool_networks::{History, NetworkType, Nodes, PublicEndpoints, Registry, RenderRequest, Verdict};
use serde_json::Value;
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
};

const GENERATION: Generation = 1;

/// A network whose nodes are child processes. Dropping it kills them.
pub(crate) struct Network {
    pub(crate) kind: Arc<dyn NetworkType>,
    parameters: Value,
    pub(crate) nodes: Nodes,
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
    pub(crate) fn prepare(preset: &str, given: &Value) -> Self {
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

    pub(crate) fn spec(&self) -> &ClusterSpec {
        &self.nodes.spec
    }

    pub(crate) fn home(&self, node: &NodeName) -> PathBuf {
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

    pub(crate) fn start(&self, node: &NodeSpec) {
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

    pub(crate) fn start_all(&self) {
        for node in &self.spec().nodes {
            self.start(node);
        }
    }

    pub(crate) fn kill(&self, node: &NodeName) {
        let mut child = self
            .running
            .lock()
            .expect("not poisoned")
            .remove(node)
            .expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    pub(crate) fn signal(&self, node: &NodeName, signal: &str) {
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
    pub(crate) fn pause(&self, node: &NodeName, reported: bool) {
        self.signal(node, "-STOP");
        if reported {
            self.paused.lock().expect("not poisoned").push(node.clone());
        }
    }

    pub(crate) fn unpause(&self, node: &NodeName) {
        self.signal(node, "-CONT");
        self.paused.lock().expect("not poisoned").retain(|n| n != node);
    }

    pub(crate) fn observed(&self) -> Observation {
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

    pub(crate) async fn probe(&self) -> Evidence {
        self.kind.probe(&self.nodes, &self.observed()).await
    }

    pub(crate) fn assess(&self, evidence: &Evidence, history: &History) -> Verdict {
        self.kind.verdict(
            &self.parameters,
            evidence,
            history,
            &self.nodes.policy,
            Timestamp::now(),
        )
    }

    /// Probes until the verdict has this state.
    pub(crate) async fn wait_for(&self, history: &History, state: HealthState) -> Verdict {
        self.wait_until(history, |_, verdict| verdict.state == state)
            .await
            .1
    }

    /// Probes until evidence and verdict match.
    pub(crate) async fn wait_until(
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
    pub(crate) async fn dial(&self, node: &NodeName) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.ports[&(node.clone(), "rpc".to_owned())])).await
    }

    /// Submits a user's transaction to a node; returns the response.
    pub(crate) async fn submit(&self, node: &NodeName, transaction: &str) -> String {
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

    pub(crate) fn logs(&self) -> String {
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

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a node name")
}
