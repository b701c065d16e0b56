//! The desired state of a network, independent of any platform.

use crate::{NodeName, Secret};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt};

/// One generation of one network, rendered once and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Its nodes.
    pub nodes: Vec<NodeSpec>,
    /// Programs that run to completion during boot; see [`Boot::Job`]. Names are unique among nodes and jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<NodeSpec>,
    /// The boot order.
    pub boot: Vec<Boot>,
    /// Its network.
    pub network: NetworkSpec,
    /// Public facts that probes, proofs and the bundle need (chain id, node ids …), by name.
    pub facts: serde_json::Value,
    /// Secrets that no node holds and boot, probe, proof and the bundle need (an administrator's key …), by
    /// name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, Secret<Vec<u8>>>,
}

/// The network of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its addresses, where the platform takes a chosen subnet.
    pub subnet: Option<Ipv4Net>,
}

/// One boot phase. Phases run in order, the members of a phase at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// Create and start these nodes.
    Start(Vec<NodeName>),
    /// Wait until each of these nodes is ready.
    Ready(Vec<NodeName>),
    /// Run an action of the network type over the nodes' own ports, by the type's name for it.
    Init(String),
    /// Run this job to completion, once per name and hash in a generation. It is specified like a node, but
    /// its ports are not reachable.
    Job(NodeName),
}

/// One node, or one job: one process with its files and volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name in the cluster; also its host name there.
    pub name: NodeName,
    /// Acceptable images, in order of preference.
    pub images: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `uid:gid`; `None`: the image's.
    pub user: Option<String>,
    /// Its environment.
    pub env: BTreeMap<String, Variable>,
    /// Its files, placed before its first start.
    pub files: Vec<File>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Its ports, reachable from inside the cluster's network or from outside.
    pub ports: Vec<Port>,
    /// Its resource limits.
    pub limits: Limits,
    /// The check that decides when it is ready; `None`: as soon as its process runs. Never of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// It is a job with a [result](crate::job_result): its log is kept until it is dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub result: bool,
    /// Its root file system is read-only; every file then lies below a volume.
    pub read_only_root: bool,
    /// The machine that it runs on, by [`Machine::id`](crate::Machine::id); `None`: the platform chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The destination of its output.
    pub log: LogConfig,
    /// The signal that stops it.
    pub stop_signal: String,
    /// Grace period of a stop, in seconds.
    pub stop_timeout: u32,
    /// Computed once at render by [`ClusterSpec::with_hashes`]; afterwards only compared.
    pub hash: SpecHash,
}

/// An environment variable's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variable {
    /// Not secret.
    Plain(String),
    /// Secret: sealed in the store, never shown.
    Secret(Secret<String>),
}

/// A file in a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its absolute path.
    pub path: String,
    /// Its content.
    pub content: Secret<Vec<u8>>,
    /// Its mode, such as `0o400`.
    pub mode: u32,
    /// Its owner, `(uid, gid)`.
    pub owner: (u32, u32),
    /// Its content is secret: sealed in the store, never shown.
    pub secret: bool,
    /// Written only when absent; the node owns it from then on (a validator's state).
    pub once: bool,
}

/// A named volume of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name in the node; of a shared volume, its name in the cluster.
    pub name: String,
    /// Its mount path.
    pub path: String,
    /// One volume for all nodes of the cluster that name it. They run as one user and on one machine. It belongs to
    /// no node: it is removed with the cluster alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// A port of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its purpose: `rpc`, `p2p` …
    pub name: String,
    /// The port inside.
    pub inside: u16,
    /// Its transport.
    pub protocol: Protocol,
    /// Its audience.
    pub audience: Audience,
    /// The port on the host; `None`: not published.
    pub published: Option<u16>,
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The audience of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The holder of the lease; the port is in the bundle.
    User,
    /// Chainpool only.
    Control,
    /// The other nodes of the cluster only.
    Peers,
}

/// Resource limits of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Processor time, in thousandths of a processor; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
}

/// A check of a node's readiness. The platform runs it in the node, again and again. Its failure restarts no node,
/// except on a platform that replaces nodes that are no longer ready. Until the first success, other nodes may be
/// unable to resolve the node's name, so a check must not depend on nodes that depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// The program and its arguments. Exit code 0: ready.
    pub command: Vec<String>,
    /// Pause between two runs, in seconds.
    pub interval: u32,
    /// Time limit of a run, in seconds. A run that exceeds it has failed.
    pub timeout: u32,
}

impl Readiness {
    /// Number of consecutive failures after which a ready node is no longer ready.
    pub const FAILURES: u32 = 3;
}

/// The destination of a node's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The type of destination.
    pub kind: LogType,
    /// The syslog server: `udp://10.0.0.9:514`.
    pub server: Option<String>,
    /// The largest size of one log file in bytes.
    pub max_bytes: u64,
    /// Maximum number of log files.
    pub max_files: u32,
}

/// A type of log destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogType {
    /// Files of limited size on the platform.
    Local,
    /// A syslog server.
    Syslog,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            kind: LogType::Local,
            server: None,
            max_bytes: 10_000_000,
            max_files: 3,
        }
    }
}

/// A resolved image: pinned by digest when pulled, by id when local.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// The candidate that was found, for display.
    pub name: String,
    /// The exact content.
    pub pinned: String,
}

/// Identifies one rendering of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecHash(pub String);

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A spec without its secret contents, and those contents in order.
#[derive(Debug, Clone)]
pub struct SealedSpec {
    /// The spec; secret contents are empty.
    pub public: ClusterSpec,
    /// The contents that belong there, for the store to seal.
    pub secrets: Vec<Secret<Vec<u8>>>,
}

impl ClusterSpec {
    /// Computes the hash of every node and job without one. Called at the end of a render, and of a change,
    /// which keeps the hashes of untouched nodes.
    #[must_use]
    pub fn with_hashes(mut self) -> Self {
        for node in self.processes_mut().filter(|node| node.hash.0.is_empty()) {
            let bytes = serde_json::to_vec(node).expect("a spec has only string keys");
            node.hash = SpecHash(hex::encode(&Sha256::digest(bytes)[..16]));
        }
        self
    }

    /// Sets the machine of each node and job, and recomputes the hash where the machine changes.
    #[must_use]
    pub fn placed(mut self, machines: &BTreeMap<NodeName, String>) -> Self {
        for node in self.processes_mut() {
            let machine = machines.get(&node.name).cloned();
            if node.machine != machine {
                (node.machine, node.hash) = (machine, SpecHash(String::new()));
            }
        }
        self.with_hashes()
    }

    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeSpec> {
        self.nodes.iter().find(|n| &n.name == name)
    }

    /// The job of this name.
    pub fn job(&self, name: &NodeName) -> Option<&NodeSpec> {
        self.jobs.iter().find(|job| &job.name == name)
    }

    /// Its nodes, then its jobs: all that need an image and a machine.
    pub fn processes(&self) -> impl Iterator<Item = &NodeSpec> {
        self.nodes.iter().chain(&self.jobs)
    }

    fn processes_mut(&mut self) -> impl Iterator<Item = &mut NodeSpec> {
        self.nodes.iter_mut().chain(&mut self.jobs)
    }

    /// Separates the secret contents; the rest may be stored in the clear.
    #[must_use]
    pub fn seal(mut self) -> SealedSpec {
        let mut secrets = Vec::new();
        self.each_secret(|content| secrets.push(std::mem::take(content)));
        SealedSpec {
            public: self,
            secrets,
        }
    }

    /// Visits every secret content in a fixed order.
    fn each_secret(&mut self, mut visit: impl FnMut(&mut Secret<Vec<u8>>)) {
        for node in self.processes_mut() {
            for variable in node.env.values_mut() {
                if let Variable::Secret(text) = variable {
                    let mut bytes = Secret::new(text.expose().clone().into_bytes());
                    visit(&mut bytes);
                    *text = Secret::new(String::from_utf8_lossy(bytes.expose()).into_owned());
                }
            }
            for file in &mut node.files {
                if file.secret {
                    visit(&mut file.content);
                }
            }
        }
        self.keys.values_mut().for_each(visit);
    }
}

impl SealedSpec {
    /// Restores the secret contents. `None` when their number does not match the spec.
    pub fn open(self) -> Option<ClusterSpec> {
        let Self { mut public, secrets } = self;
        let mut rest = secrets.into_iter();
        let mut missing = false;
        public.each_secret(|content| match rest.next() {
            Some(secret) => *content = secret,
            None => missing = true,
        });
        (!missing && rest.next().is_none()).then_some(public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ClusterSpec {
        let name = NodeName::parse("v0").expect("a node name");
        let file = |path: &str, content: &str, secret| File {
            path: path.into(),
            content: Secret::new(content.as_bytes().to_vec()),
            mode: 0o400,
            owner: (0, 0),
            secret,
            once: false,
        };
        ClusterSpec {
            nodes: vec![NodeSpec {
                name: name.clone(),
                images: vec!["image".into()],
                command: vec!["run".into()],
                user: None,
                env: BTreeMap::from([
                    ("A".to_owned(), Variable::Plain("plain".into())),
                    ("B".to_owned(), Variable::Secret(Secret::new("hidden".into()))),
                ]),
                files: vec![file("/a", "open", false), file("/b", "key", true)],
                volumes: vec![],
                ports: vec![],
                limits: Limits {
                    memory_bytes: 1,
                    processes: 1,
                    cpu_millis: None,
                },
                readiness: None,
                result: false,
                read_only_root: false,
                machine: None,
                log: LogConfig::default(),
                stop_signal: "SIGTERM".into(),
                stop_timeout: 1,
                hash: SpecHash(String::new()),
            }],
            jobs: vec![],
            boot: vec![Boot::Start(vec![name])],
            network: NetworkSpec { subnet: None },
            facts: serde_json::json!({}),
            keys: BTreeMap::from([("admin".to_owned(), Secret::new(b"hidden key".to_vec()))]),
        }
        .with_hashes()
    }

    #[test]
    fn a_sealed_spec_holds_no_secret_and_opens_to_the_original() {
        let spec = spec();
        let sealed = spec.clone().seal();
        let stored = serde_json::to_string(&sealed.public).expect("json");
        assert!(!stored.contains("hidden"), "{stored}");
        assert!(
            sealed.public.keys.values().all(|key| key.expose().is_empty()),
            "a key is stored in the clear"
        );
        let files = sealed
            .public
            .nodes
            .iter()
            .flat_map(|node| &node.files)
            .filter(|file| file.secret);
        assert!(
            files.clone().count() > 0 && files.clone().all(|file| file.content.expose().is_empty()),
            "a secret file is stored in the clear"
        );
        assert_eq!(sealed.secrets.len(), 3);
        assert_eq!(sealed.open(), Some(spec));
    }

    #[test]
    fn a_job_is_hashed_placed_and_sealed_like_a_node() {
        let mut spec = spec();
        let before = serde_json::to_string(&spec).expect("json");
        assert!(
            !before.contains("jobs"),
            "a spec without jobs is stored without the field"
        );
        let job = NodeSpec {
            name: NodeName::parse("setup").expect("a name"),
            hash: SpecHash(String::new()),
            ..spec.nodes[0].clone()
        };
        spec.jobs.push(job);
        let spec = spec.with_hashes();
        let [node, job] = [&spec.nodes[0], &spec.jobs[0]];
        assert!(
            !job.hash.0.is_empty()
                && job.hash != node.hash
                && spec.job(&job.name) == Some(job)
                && spec.node(&job.name).is_none()
        );
        let placed = spec
            .clone()
            .placed(&BTreeMap::from([(job.name.clone(), "m1".to_owned())]));
        assert_eq!(
            (placed.jobs[0].machine.as_deref(), &placed.nodes),
            (Some("m1"), &spec.nodes)
        );
        assert_ne!(placed.jobs[0].hash, job.hash);
        let sealed = spec.clone().seal();
        assert!(
            !serde_json::to_string(&sealed.public)
                .expect("json")
                .contains("hidden"),
            "a job's secret is stored in the clear"
        );
        assert_eq!((sealed.secrets.len(), sealed.open()), (5, Some(spec)));
    }

    #[test]
    fn a_hash_depends_on_every_field_of_its_node_only() {
        let a = spec();
        let mut b = a.clone();
        b.nodes[0].stop_timeout = 2;
        assert_eq!(
            a.nodes[0].hash,
            b.clone().with_hashes().nodes[0].hash,
            "a hash is computed once"
        );
        b.nodes[0].hash = SpecHash(String::new());
        assert_ne!(a.nodes[0].hash, b.with_hashes().nodes[0].hash);
        let machines = BTreeMap::from([(a.nodes[0].name.clone(), "m1".to_owned())]);
        let placed = a.clone().placed(&machines);
        assert_ne!(placed.nodes[0].hash, a.nodes[0].hash);
        assert_eq!(placed.clone().placed(&machines), placed);
    }
}
