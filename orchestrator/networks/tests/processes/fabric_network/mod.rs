//! A Fabric network of processes.

mod change;
mod probe;

use crate::local::Local;
use chainpool_agent::{
    Boot, ClusterId, ClusterKey, ClusterSpec, Generation, LogConfig, NetworkSpec, NodeName, NodeSpec,
    NodeState, Object, ObjectKind, Observation, Secret, Variable,
};
use chainpool_api::{Evidence, HealthState, LogLevel, Proof, Timestamp};
use chainpool_health::{HealthPolicy, NodeTracker};
use chainpool_networks::{
    History, NetworkType, Nodes, PublicEndpoints, Registry, RenderRequest, Verdict, node_reports,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const GENERATION: Generation = 1;

/// How long probes are repeated because a node is late.
const BUSY: Duration = Duration::from_secs(10);

/// Time limit that only a hang exceeds.
pub(crate) const HANGS: Duration = Duration::from_mins(2);

/// Prefix of a node's paths, and folders of the images.
const HOME: &str = "/var/hyperledger";
const CONFIG: &str = "/etc/hyperledger/fabric";
const BUILDER: &str = "/opt/hyperledger/ccaas_builder";

/// A network whose nodes are child processes. Dropping it kills them.
pub(crate) struct Network {
    pub(crate) kind: Arc<dyn NetworkType>,
    request: RenderRequest,
    pub(crate) nodes: Nodes,
    homes: tempfile::TempDir,
    tools: String,
    /// Second and third byte of its nodes' addresses in 127.0.0.0/8.
    subnet: [u8; 2],
    addresses: BTreeMap<NodeName, Ipv4Addr>,
    running: Mutex<BTreeMap<NodeName, Child>>,
    frozen: Mutex<BTreeSet<NodeName>>,
    tracker: Mutex<NodeTracker>,
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
        let kind = Registry::default().get("fabric").expect("it is registered");
        let parameters = kind
            .validate(preset, given.as_object().expect("an object"))
            .expect("valid parameters");
        let request = RenderRequest {
            ports: kind
                .requirements(&parameters)
                .ports
                .into_iter()
                .zip(20_001..)
                .collect(),
            parameters,
            chain_id: format!("cp-{}", ClusterId::new()),
            genesis_at: Timestamp::now(),
            network: NetworkSpec { subnet: None },
            public_endpoints: public_endpoints(),
            images: BTreeMap::new(),
            log: LogConfig::default(),
            log_level: LogLevel::Info,
        };
        let begun = Instant::now();
        let spec = kind.render(&request, &Secret::new(rand::random()));
        let tools = tools(&request.parameters);
        println!("{preset}: rendered in {:?}", begun.elapsed());
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: GENERATION,
        };
        let agent = Arc::new(Local {
            ports: BTreeMap::new(),
        });
        let mut network = Self {
            kind,
            request,
            nodes: Nodes {
                agent,
                key,
                spec: Arc::new(spec.clone()),
                policy: Arc::default(),
            },
            homes: tempfile::tempdir().expect("a folder"),
            tools,
            subnet: rand::random(),
            addresses: BTreeMap::new(),
            running: Mutex::default(),
            frozen: Mutex::default(),
            tracker: Mutex::new(NodeTracker::starting()),
        };
        network.use_spec(spec);
        for node in &network.spec().nodes {
            network.place(node);
        }
        network
    }

    /// Adopts a spec: new nodes get addresses, which are added to the hosts file.
    fn use_spec(&mut self, spec: ClusterSpec) {
        for node in &spec.nodes {
            let next = u8::try_from(self.addresses.len() + 2).expect("a few nodes");
            let address = Ipv4Addr::new(127, self.subnet[0].clamp(1, 254), self.subnet[1], next);
            self.addresses.entry(node.name.clone()).or_insert(address);
        }
        let port = |node: &NodeSpec, name: &str, inside| {
            (
                (node.name.clone(), name.to_owned()),
                (self.addresses[&node.name], inside).into(),
            )
        };
        let ports = spec
            .nodes
            .iter()
            .flat_map(|node| node.ports.iter().map(|p| port(node, &p.name, p.inside)))
            .collect();
        let hosts = self
            .addresses
            .iter()
            .map(|(name, address)| format!("{address} {name}"))
            .collect::<Vec<_>>()
            .join("\n");
        // The file is overwritten in place: running nodes have it mounted.
        fs::write(
            self.homes.path().join("hosts"),
            format!("127.0.0.1 localhost\n{hosts}\n"),
        )
        .expect("written");
        self.nodes = Nodes {
            agent: Arc::new(Local { ports }),
            key: self.nodes.key,
            spec: Arc::new(spec),
            policy: Arc::default(),
        };
    }

    pub(crate) fn spec(&self) -> &ClusterSpec {
        &self.nodes.spec
    }

    /// Path of one of Fabric's programs.
    pub(crate) fn program(&self, name: &str) -> String {
        format!("{}/bin/{name}", self.tools)
    }

    fn home(&self, node: &NodeName) -> PathBuf {
        self.homes.path().join(node.as_str())
    }

    fn place(&self, node: &NodeSpec) {
        fs::create_dir_all(self.home(&node.name)).expect("folders");
        for file in &node.files {
            let path = self.home(&node.name).join(
                Path::new(&file.path)
                    .strip_prefix(HOME)
                    .expect("below the volume"),
            );
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            let mut content = file.content.expose().clone();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                content = self
                    .localise(&node.name, &String::from_utf8(content).expect("text"))
                    .into_bytes();
            }
            let mut open = fs::OpenOptions::new();
            let mut target = open
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .expect("a file");
            std::io::Write::write_all(&mut target, &content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).expect("its mode");
        }
    }

    /// Adapts a setting to one machine: with the node's own address and folder.
    fn localise(&self, node: &NodeName, setting: &str) -> String {
        let address = self.addresses[node].to_string();
        setting
            .replace("0.0.0.0", &address)
            .replace("127.0.0.1:7052", &format!("{address}:7052"))
            .replace(CONFIG, &format!("{}/config", self.tools))
            .replace(BUILDER, &format!("{}/ccaas_builder", self.tools))
            .replace(HOME, &self.home(node).display().to_string())
    }

    fn start(&self, node: &NodeSpec) {
        // The program of a chaincode is in its image, not in the spec.
        let chaincode = ["chaincode".to_owned()];
        let command = if node.command.is_empty() {
            &chaincode[..]
        } else {
            &node.command[..]
        };
        let [program, arguments @ ..] = command else {
            panic!("a node without a program")
        };
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home(&node.name).join("log"))
            .expect("a log");
        let mut command = Command::new("unshare");
        for (name, value) in &node.env {
            if let Variable::Plain(value) = value {
                command.env(name, self.localise(&node.name, value));
            }
        }
        // Each program replaces the previous one: the child is the node itself.
        let run = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        let child = command
            .args(["--mount", "--propagation", "private", "sh", "-c", run])
            .arg(self.homes.path().join("hosts"))
            .arg(self.program(program))
            .args(arguments)
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

    pub(crate) fn start_node(&self, node: &NodeName) {
        self.start(self.spec().node(node).expect("it is there"));
    }

    /// Performs the boot phases, starting with `Start` of all nodes.
    pub(crate) async fn boot(&self) {
        for phase in &self.spec().boot {
            let begun = Instant::now();
            match phase {
                Boot::Start(names) => names.iter().for_each(|name| self.start_node(name)),
                Boot::Ready(names) => {
                    assert!(names.is_empty(), "Fabric's nodes are ready when they have joined");
                }
                Boot::Init(action) => self.init(action).await,
                Boot::Job(job) => panic!("Fabric has no jobs: {job}"),
            }
            println!("{phase:?}: {:?}", begun.elapsed());
        }
    }

    pub(crate) async fn init(&self, action: &str) {
        let done = self.kind.init(&self.nodes, action).await;
        done.unwrap_or_else(|e| panic!("{action}: {e}\n{}", self.logs()));
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

    /// Freezes a process without the platform's knowledge.
    pub(crate) fn freeze(&self, node: &NodeName) {
        self.frozen.lock().expect("not poisoned").insert(node.clone());
        self.signal(node, "-STOP");
    }

    /// Resumes a frozen process.
    pub(crate) fn thaw(&self, node: &NodeName) {
        self.signal(node, "-CONT");
        self.frozen.lock().expect("not poisoned").remove(node);
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

    fn observed(&self) -> Observation {
        let mut running = self.running.lock().expect("not poisoned");
        let mut state = |name: &NodeName| match running
            .get_mut(name)
            .map(|child| child.try_wait().expect("a child of ours"))
        {
            Some(None) => NodeState::Running,
            // It exited by itself.
            Some(Some(status)) => NodeState::Exited(
                status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
                    .into(),
            ),
            None => NodeState::Exited(137),
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

    pub(crate) async fn prove(&self) -> Proof {
        let begun = Instant::now();
        self.kind
            .prove(&self.nodes)
            .await
            .unwrap_or_else(|e| panic!("{e} after {:?}\n{}", begun.elapsed(), self.logs()))
    }

    /// Runs a user's command in the bundle's folder with node names in the hosts file; returns its output.
    pub(crate) fn run(&self, command: &str) -> String {
        let ran = self.user(command).output().expect("it runs");
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert!(ran.status.success(), "{command}: {said}");
        said
    }

    /// Prepares a user's command.
    fn user(&self, command: &str) -> Command {
        let folder = self.homes.path().join("bundle");
        for (path, text) in self.kind.bundle(self.spec(), &public_endpoints()).files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, self.named(&text)).expect("written");
        }
        let path = format!("{}/bin:{}", self.tools, std::env::var("PATH").expect("a path"));
        let run = r#"mount --bind "$0" /etc/hosts && eval "$1""#;
        let mut user = Command::new("unshare");
        user.args(["--mount", "--propagation", "private", "sh", "-c", run])
            .arg(self.homes.path().join("hosts"))
            .arg(self.named(command))
            .current_dir(folder)
            .env("PATH", path);
        user
    }

    /// Replaces published addresses by node names and ports.
    fn named(&self, text: &str) -> String {
        let ports = self
            .spec()
            .nodes
            .iter()
            .flat_map(|node| node.ports.iter().map(move |port| (node, port)));
        ports
            .filter_map(|(node, port)| Some((node, port, port.published?)))
            .fold(text.to_owned(), |text, (node, port, published)| {
                text.replace(
                    &format!("127.0.0.1:{published}"),
                    &format!("{}:{}", node.name, port.inside),
                )
            })
    }

    pub(crate) fn leader(&self, evidence: &Evidence) -> NodeName {
        let leader = evidence
            .channels
            .values()
            .find_map(|channel| channel.leader.as_deref());
        name(leader.unwrap_or_else(|| panic!("no leader: {evidence:#?}\n{}", self.logs())))
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        let of =
            |node: &NodeSpec| format!("== {}\n{}\n", node.name, tail(&self.home(&node.name).join("log")));
        self.spec().nodes.iter().map(of).collect()
    }
}

/// Folder with the programs of a network's version line.
fn tools(parameters: &Value) -> String {
    let (variable, what) = match parameters["version"].as_str() {
        Some("2.5") => ("FABRIC_TOOLS", "the folder that scripts/fabric-tools.sh prints"),
        _ => (
            "FABRIC_3_TOOLS",
            "a folder with the layout of scripts/fabric-tools.sh and the programs of Fabric 3.1",
        ),
    };
    std::env::var(variable).unwrap_or_else(|_| panic!("not run: {variable} does not name {what}"))
}

pub(crate) fn public_endpoints() -> PublicEndpoints {
    PublicEndpoints {
        address: "127.0.0.1".to_owned(),
        loopback: true,
        machines: BTreeMap::new(),
    }
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a node name")
}
