//! Network types: one module each, and their registry.
//!
//! A type is data and a few small parts. `describe`, `settle`, `layout`, `render`, `verdict` and `bundle` are pure:
//! the same values in, the same values out. Only `probe` and `prove` speak to nodes, through [`Nodes`] and nothing else.

mod cometbft;
mod fabric;
mod nodes;
mod parameters;
mod process;
mod registry;
mod shell;
mod stuck;

pub use nodes::{Nodes, NodesError};
pub use registry::{Registry, TypeUnknown};
pub use stuck::Stuck;

use async_trait::async_trait;
use chainpool_agent::{
    Audience, ClusterSpec, LogConfig, NetworkSpec, NodeName, Observation, Protocol, Secret,
};
use chainpool_api as api;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of blockchain network.
#[async_trait]
pub trait NetworkType: Send + Sync {
    /// What people see of it: parameters, presets, images.
    fn describe(&self) -> api::NetworkType;

    /// The preset that a name means: `default` is the type's first where none of its own is called so.
    fn preset(&self, name: &str) -> String {
        let presets = self.describe().presets;
        let first = presets
            .first()
            .filter(|_| name == "default" && presets.iter().all(|preset| preset.name != name));
        first.map_or_else(|| name.to_owned(), |preset| preset.name.clone())
    }

    /// Checks parameters and fills in the preset's and the defaults; the result holds every parameter.
    fn settle(
        &self,
        preset: &str,
        given: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, ParameterErrors>;

    /// The version line and the consensus of a network of these settled parameters, where a type has more than one.
    fn line(&self, _parameters: &serde_json::Value) -> Line {
        let api::NetworkType {
            version, consensus, ..
        } = self.describe();
        Line { version, consensus }
    }

    /// What these settled parameters need of a host.
    fn layout(&self, parameters: &serde_json::Value) -> Layout;

    /// Makes the whole spec of one generation. All keys come from the seed, so that the same input gives the same bytes.
    fn render(&self, order: &Order, seed: &Seed) -> ClusterSpec;

    /// Changes the spec of a network that runs, by its [amendable](api::Parameter::amendable) parameters alone. Pure. Nodes that the
    /// change does not touch stay as they are to the byte; the phases of [`ClusterSpec::boot`] lead from the old spec to the new one,
    /// and may be gone through again. New keys come from the seed. A value that cannot be reached from the present one is refused by
    /// the parameter's name.
    fn amend(
        &self,
        _spec: &ClusterSpec,
        _change: &Amendment,
        _seed: &Seed,
    ) -> Result<ClusterSpec, ParameterErrors> {
        let why = format!(
            "nothing of a {} network can be changed while it runs; make another",
            self.describe().name
        );
        Err(ParameterErrors(BTreeMap::from([("parameters".to_owned(), why)])))
    }

    /// Performs the action of [`Boot::Init`](chainpool_agent::Boot::Init) of this name once, as far as the nodes let it by now.
    /// What is done already counts as done.
    async fn init(&self, nodes: &Nodes, action: &str) -> Result<(), InitError>;

    /// Asks the nodes for what they know. Evidence, never a verdict; a node that does not answer is evidence too.
    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence;

    /// Judges evidence.
    fn verdict(
        &self,
        parameters: &serde_json::Value,
        evidence: &api::Evidence,
        past: &Past,
        now: api::Timestamp,
    ) -> Verdict;

    /// Whether the ledger would begin again from nothing if these nodes were started without what they had in their volumes. Pure. Those
    /// that keep theirs give the others what they lack; by default, as long as there is one.
    fn loses_ledger(&self, spec: &ClusterSpec, lost: &BTreeSet<NodeName>) -> bool {
        let mut with_volumes = spec
            .nodes
            .iter()
            .filter(|node| !node.volumes.is_empty())
            .peekable();
        with_volumes.peek().is_some() && with_volumes.all(|node| lost.contains(&node.name))
    }

    /// Why this evidence is of a ledger that has begun again: enough of it answers to know its newest block, and that is below one that was
    /// seen before. Pure; `None`, by default, where that cannot be told. What is found stands until the next generation.
    fn began_again(
        &self,
        _parameters: &serde_json::Value,
        _evidence: &api::Evidence,
        _past: &Past,
    ) -> Option<String> {
        None
    }

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

/// What a network runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The ledger software's version line.
    pub version: String,
    /// How its nodes agree.
    pub consensus: String,
}

/// What a network needs of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// How many nodes it has.
    pub size: u32,
    /// The ports to publish.
    pub ports: Vec<PortNeed>,
    /// The sum of its nodes' memory limits in bytes.
    pub memory_bytes: u64,
    /// Nodes that go where another one goes, by their names: a database to whom it serves. Where one of the two is lost, so is what both do.
    pub together: BTreeMap<NodeName, NodeName>,
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
    /// Where users will reach the nodes: certificates name these addresses.
    pub reach: Reach,
    /// Image references by role, instead of the type's own.
    pub images: BTreeMap<String, Vec<String>>,
    /// How nodes log.
    pub log: LogConfig,
    /// How much nodes tell.
    pub log_level: api::LogLevel,
}

/// How a network that runs is to be changed.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// As for a new network of the changed parameters; its chain id and its network are the running one's.
    pub order: Order,
    /// Whether all certificates are to be issued anew.
    pub renew_certificates: bool,
    /// What became of the change before.
    pub before: Before,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Before {
    /// It came to its end, or there was none.
    #[default]
    Ended,
    /// It did not come to its end.
    Unfinished,
    /// It is under way, and the same goes on elsewhere: a port turned out to be in use.
    UnderWay,
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
    /// When a node last ceased to answer that had answered before: the others may have to elect another leader.
    pub left_at: Option<api::Timestamp>,
}

/// What evidence says, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Healthy`, `Degraded`, `Broken` or `Unknown`.
    pub state: api::HealthState,
    /// Why.
    pub reason: String,
}

/// The words for a ledger whose newest block is below one that was seen before.
fn began_again_text(height: u64) -> String {
    format!(
        "its newest block is below block {height}, which was seen before: the ledger has begun again, and what was committed before is lost; release or reset the cluster"
    )
}

/// Why an action did not come about yet; worth another try until the operation's deadline.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct InitError {
    /// What is missing.
    pub why: String,
    /// Nodes that stand still and have to be started anew before that try.
    pub restart: Vec<NodeName>,
}

impl InitError {
    /// One that only needs time.
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            restart: vec![],
        }
    }
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
    /// Every address at which a node may be reached from outside.
    pub fn addresses(&self) -> BTreeSet<&str> {
        self.machines
            .values()
            .chain([&self.address])
            .map(String::as_str)
            .collect()
    }

    /// The addresses of a node that its user may know.
    pub fn endpoints(&self, node: &chainpool_agent::NodeSpec) -> Vec<api::Endpoint> {
        let of_user =
            |port: &&chainpool_agent::Port| port.audience == Audience::User && port.protocol == Protocol::Tcp;
        let address = node
            .machine
            .as_ref()
            .and_then(|machine| self.machines.get(machine))
            .unwrap_or(&self.address);
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.clone()
        };
        node.ports
            .iter()
            .filter(of_user)
            .filter_map(|port| {
                Some(api::Endpoint {
                    name: port.name.clone(),
                    address: format!("{host}:{}", port.published?),
                })
            })
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
