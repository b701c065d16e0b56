//! Network types: one module each, and their registry.
//!
//! A type is data and a few small parts. `describe`, `settle`, `layout`, `render`, `verdict` and `bundle` are pure:
//! the same values in, the same values out. Only `probe` and `prove` speak to nodes, through [`Nodes`] and nothing else.

mod cometbft;
mod nodes;
mod registry;

pub use nodes::{Nodes, NodesError};
pub use registry::{Registry, TypeUnknown};

use async_trait::async_trait;
use chainpool_agent::{Audience, ClusterSpec, LogConfig, NetworkSpec, NodeName, Observation, Protocol, Secret};
use chainpool_api as api;
use std::collections::BTreeMap;

/// A kind of blockchain network.
#[async_trait]
pub trait NetworkType: Send + Sync {
    /// What people see of it: parameters, presets, images.
    fn describe(&self) -> api::NetworkType;

    /// Checks parameters and fills in the preset's and the defaults; the result holds every parameter.
    fn settle(&self, preset: &str, given: &serde_json::Map<String, serde_json::Value>) -> Result<serde_json::Value, ParameterErrors>;

    /// What these settled parameters need of a host.
    fn layout(&self, parameters: &serde_json::Value) -> Layout;

    /// Makes the whole spec of one generation. All keys come from the seed, so that the same input gives the same bytes.
    fn render(&self, order: &Order, seed: &Seed) -> ClusterSpec;

    /// Asks the nodes for what they know. Evidence, never a verdict; a node that does not answer is evidence too.
    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence;

    /// Judges evidence.
    fn verdict(&self, parameters: &serde_json::Value, evidence: &api::Evidence, past: &Past, now: api::Timestamp) -> Verdict;

    /// Commits a transaction and reads it back through another node.
    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError>;

    /// What a user needs to connect.
    fn bundle(&self, spec: &ClusterSpec, reach: &Reach) -> BundleParts;
}

/// 32 fresh random bytes from which one generation's keys are derived; dropped after the render.
pub type Seed = Secret<[u8; 32]>;

/// What is wrong with which parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; "))]
pub struct ParameterErrors(pub BTreeMap<String, String>);

/// What a network needs of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// How many nodes it has.
    pub size: u32,
    /// The ports to publish.
    pub ports: Vec<PortNeed>,
    /// The sum of its nodes' memory limits in bytes.
    pub memory_bytes: u64,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortNeed {
    /// The node.
    pub node: NodeName,
    /// The port's name.
    pub port: String,
}

/// Everything that a render needs beside the seed.
#[derive(Debug, Clone)]
pub struct Order {
    /// The settled parameters.
    pub parameters: serde_json::Value,
    /// The ledger's own name; unique for ever.
    pub chain_id: String,
    /// When the ledger begins.
    pub genesis_at: api::Timestamp,
    /// The network.
    pub network: NetworkSpec,
    /// The ports that were given to it, one for each need of the layout.
    pub ports: BTreeMap<PortNeed, u16>,
    /// Image references by role, instead of the type's own.
    pub images: BTreeMap<String, Vec<String>>,
    /// How nodes log.
    pub log: LogConfig,
    /// How much nodes tell.
    pub log_level: api::LogLevel,
}

/// What was known before this evidence.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The highest block seen before.
    pub height: Option<u64>,
    /// When that height was first seen.
    pub height_since: Option<api::Timestamp>,
    /// The last verdict was neither healthy nor starting: recovery needs progress.
    pub recovering: bool,
    /// When the nodes were last started by us; a height is not stalled before it had time to move.
    pub started_at: Option<api::Timestamp>,
    /// When a node last began to answer that had not answered before, by whoever's doing (an engine that came back, an
    /// unpaused node). A height is not stalled before it had time to move again.
    pub returned_at: Option<api::Timestamp>,
}

/// What evidence says, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Healthy`, `Degraded`, `Broken` or `Unknown`.
    pub state: api::HealthState,
    /// Why.
    pub reason: String,
}

/// Why a proof did not come about; worth another try until the operation's deadline.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ProveError(pub String);

/// Where users reach the nodes.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The host's public address.
    pub address: String,
    /// Whether that works on the host's own machine only.
    pub loopback: bool,
    /// The addresses of the host's machines, where its nodes are on machines of our choice.
    pub machines: BTreeMap<String, String>,
}

impl Reach {
    /// The addresses of a node that its user may know.
    pub fn endpoints(&self, node: &chainpool_agent::NodeSpec) -> Vec<api::Endpoint> {
        let of_user = |port: &&chainpool_agent::Port| port.audience == Audience::User && port.protocol == Protocol::Tcp;
        let address = node.machine.as_ref().and_then(|machine| self.machines.get(machine)).unwrap_or(&self.address);
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        node.ports
            .iter()
            .filter(of_user)
            .filter_map(|port| Some(api::Endpoint { name: port.name.clone(), address: format!("{host}:{}", port.published?) }))
            .collect()
    }
}

/// A type's part of a bundle.
#[derive(Debug, Clone)]
pub struct BundleParts {
    /// The nodes.
    pub nodes: Vec<api::BundleNode>,
    /// One command that commits a transaction.
    pub write: String,
    /// One command that reads it back elsewhere.
    pub read: String,
    /// Files by name.
    pub files: BTreeMap<String, String>,
}
