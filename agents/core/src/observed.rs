//! Observed state of a platform and of our objects.

use crate::{ClusterId, Generation, NodeName, PlatformKind, SpecHash};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The role of an engine in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwarmRole {
    /// Not in a swarm.
    None,
    /// A manager.
    Manager,
    /// A worker.
    Worker,
}

/// The result of a read-only probe of the platform's API.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The kind of platform that answered.
    pub kind: PlatformKind,
    /// Its own stable id (Docker: `ID` of `/info`).
    pub engine_id: String,
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The API version in use.
    pub api_version: String,
    /// Its storage driver (Docker: `overlay2`).
    pub storage_driver: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// Its role in a swarm.
    pub swarm: SwarmRole,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Free and total bytes of the container storage; `None` where the API does not report it and the disk is
    /// not readable.
    pub disk: Option<(u64, u64)>,
    /// Its clock minus ours, in milliseconds; `None` where it does not report the time.
    pub skew_ms: Option<i64>,
    /// The machines that it spans; empty for a single machine.
    pub machines: Vec<Machine>,
}

/// One machine of a platform that spans several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The platform's stable id of it, used in [`NodeSpec::machine`](crate::NodeSpec::machine).
    pub id: String,
    /// Its host name.
    pub name: String,
    /// The address of its published ports.
    pub address: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The reason why it accepts no new node (drained, down, not ready); `None`: schedulable.
    pub closed: Option<String>,
}

/// The scope of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All objects of this instance on the host.
    Host,
    /// All objects of one cluster, all generations.
    Cluster(ClusterId),
}

/// The kind of an object.
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
    /// A config or secret with files of a node, or another auxiliary object of a node.
    Part,
}

/// One of our objects on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its kind.
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

/// The state of a node's process as the platform reports it. Independent of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "with")]
pub enum NodeState {
    /// Created, not started yet.
    Created,
    /// Its process runs and, if it has a readiness check, is ready.
    Running,
    /// Its process runs, and its readiness check has not succeeded yet, or no longer does.
    Unready,
    /// Its process is frozen.
    Paused,
    /// Its process exited with this code, or was killed (137).
    Exited(i64),
    /// In transition, or running without something that it needs, such as its network. The text names it;
    /// `ensure_node` repairs it.
    Changing(String),
    /// The object does not exist.
    Absent,
}

/// One listing of our objects at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// All objects in scope.
    pub objects: Vec<Object>,
    /// Resources in use by others. Reported for a whole host, empty for one cluster.
    pub resources_in_use: ResourcesInUse,
}

/// Resources of a host that are in use by others than this instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourcesInUse {
    /// Other networks of the platform, and the machine's routes where readable. A cluster's network must
    /// overlap none of them.
    pub networks: Vec<Ipv4Net>,
    /// Ports published by others, and ports that the machine's own programs listen on, where readable.
    pub ports: BTreeSet<u16>,
}

impl Observation {
    /// The node's main object in one generation.
    pub fn node(&self, generation: Generation, node: &NodeName) -> Option<&Object> {
        self.objects.iter().find(|o| {
            o.kind == ObjectKind::Node && o.generation == generation && o.node.as_ref() == Some(node)
        })
    }

    /// The node's state in one generation, `Absent` when it does not exist.
    pub fn node_state(&self, generation: Generation, node: &NodeName) -> NodeState {
        self.node(generation, node)
            .and_then(|o| o.state.clone())
            .unwrap_or(NodeState::Absent)
    }
}

/// One run of a node's process, as an opaque value of the platform (Docker: container id and start time). The
/// value changes with each restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub String);
