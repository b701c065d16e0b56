//! What a platform says of itself and of our objects.

use crate::{ClusterId, Generation, NodeName, SpecHash};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// The kinds of platform. Data for people and for the host's type field; nobody above an agent branches on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformKind {
    /// One Docker engine.
    Docker,
    /// A Docker Swarm, reached through a manager.
    Swarm,
    /// A Kubernetes cluster.
    Kubernetes,
}

impl fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Swarm => "swarm",
            Self::Kubernetes => "kubernetes",
        })
    }
}

/// The part that an engine plays in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwarmRole {
    /// In no swarm.
    None,
    /// A manager.
    Manager,
    /// A worker.
    Worker,
}

/// What a look at the platform's own API found. Changes nothing there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What answered.
    pub kind: PlatformKind,
    /// Its own lasting identity (Docker: `ID` of `/info`).
    pub engine_id: String,
    /// Its name for itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The API version spoken with it.
    pub api_version: String,
    /// How it stores layers (Docker: `overlay2`).
    pub storage_driver: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// Its part in a swarm.
    pub swarm: SwarmRole,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Free and total bytes where it keeps containers; `None` where its API does not tell and its disk is not ours to read.
    pub disk: Option<(u64, u64)>,
    /// Its clock minus ours, in milliseconds; `None` where it does not tell.
    pub skew_ms: Option<i64>,
    /// The machines that it spans; empty where there is but one and it goes without saying.
    pub machines: Vec<Machine>,
}

/// One machine of a platform that spans several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The platform's lasting id of it; what [`NodeSpec::machine`](crate::NodeSpec::machine) names.
    pub id: String,
    /// Its host name.
    pub name: String,
    /// Where its published ports are reached.
    pub address: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Why no new node may go there (drained, down, not ready); `None` when it may.
    pub closed: Option<String>,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All objects of this instance on the host.
    Host,
    /// Those of one cluster, all generations.
    Cluster(ClusterId),
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A node's main object (container, service, stateful set).
    Node,
    /// A job's main object, running or ended, or the record of its success.
    Job,
    /// A network or namespace.
    Network,
    /// A volume or claim.
    Volume,
    /// A config or secret that holds files of a node, or whatever else serves a node's making.
    Part,
}

/// One object of ours as the platform has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name on the platform.
    pub name: String,
    /// The platform's own id of it.
    pub id: String,
    /// The cluster in its labels.
    pub cluster: ClusterId,
    /// The generation in its labels.
    pub generation: Generation,
    /// The node or job in its labels.
    pub node: Option<NodeName>,
    /// The spec hash in its labels.
    pub hash: Option<SpecHash>,
    /// A node's or job's state; `None` for other kinds.
    pub state: Option<NodeState>,
}

/// The state of a node's process, by the platform's word. Says nothing about the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "with")]
pub enum NodeState {
    /// Made, not started yet.
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// Its process ended with this code, or was killed (137).
    Exited(i64),
    /// The platform is between two states; or the process runs and lacks something that a node must have, such as its place in the network, so
    /// that it does not do its work. Says what; `ensure_node` puts it right.
    Changing(String),
    /// There is no such object.
    Absent,
}

/// One listing of what is ours, made at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// All objects in scope.
    pub objects: Vec<Object>,
    /// What is not ours and in our way. Told of a whole host, empty for one cluster.
    pub taken: Taken,
}

/// What is in use on a host and not this instance's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Taken {
    /// Other networks of the platform, and the machine's own routes where they can be read. A cluster's network must
    /// overlap none of them.
    pub networks: Vec<Ipv4Net>,
    /// Published by others, and listened on by the machine's own programs where that can be read.
    pub ports: BTreeSet<u16>,
}

impl Observation {
    /// The node's main object in one generation.
    pub fn node(&self, generation: Generation, node: &NodeName) -> Option<&Object> {
        self.objects.iter().find(|o| {
            o.kind == ObjectKind::Node && o.generation == generation && o.node.as_ref() == Some(node)
        })
    }

    /// The node's state in one generation, `Absent` when it is not there.
    pub fn node_state(&self, generation: Generation, node: &NodeName) -> NodeState {
        self.node(generation, node)
            .and_then(|o| o.state.clone())
            .unwrap_or(NodeState::Absent)
    }
}

/// One life of a node's process, opaque and by the platform's own word (Docker: container id and start time).
/// Two equal values are the same life; a restart has happened when the value differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub String);
