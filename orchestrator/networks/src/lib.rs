//! Network types: one module each, and their registry.
//!
//! A type is data and a few small parts. `describe`, `validate`, `requirements`, `render`, `verdict`,
//! `sections`, `drawing` and `bundle` are pure functions. Only `init`, `probe` and `prove` connect to nodes,
//! and only through [`Nodes`].

mod cell;
mod client;
mod cometbft;
mod fabric;
mod node_mark;
mod node_reports;
mod nodes;
mod parameters;
mod process_state;
mod registry;
#[cfg(test)]
mod replay_tests;
mod retry;
mod saturation;
mod shell;

pub use cell::cell;
pub use chainpool_health::{History, Verdict};
pub use node_mark::node_mark;
pub use node_reports::node_reports;
pub use nodes::{Nodes, NodesError};
pub use process_state::process_state;
pub use registry::{Registry, UnknownNetworkType};
pub use saturation::is_client_saturated;

use async_trait::async_trait;
use chainpool_agent::{
    Audience, ClusterSpec, ImageName, LogConfig, NetworkSpec, NodeName, Observation, Protocol, Secret,
};
use chainpool_api as api;
use chainpool_health::HealthPolicy;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of blockchain network.
#[async_trait]
pub trait NetworkType: Send + Sync {
    /// Public description: parameters, presets, images.
    fn describe(&self) -> api::NetworkType;

    /// Repositories of the images that this source can build, each with the command; for errors about missing
    /// images.
    fn image_builds(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// How to build one of these images; `None` if this source builds none of them.
    fn image_advice(&self, images: &[String]) -> Option<String> {
        let builds = self.image_builds();
        images.iter().find_map(|image| {
            let repository = ImageName(image).repository();
            let (_, command) = builds.iter().find(|(known, _)| *known == repository)?;
            Some(format!("build {image} with `{command}`"))
        })
    }

    /// Resolves a preset name: `default` is the type's first preset unless a preset has that name.
    fn preset(&self, name: &str) -> String {
        let presets = self.describe().presets;
        let first = presets
            .first()
            .filter(|_| name == "default" && presets.iter().all(|preset| preset.name != name));
        first.map_or_else(|| name.to_owned(), |preset| preset.name.clone())
    }

    /// Validates parameters and fills in the preset's values and the defaults. The result holds every
    /// parameter.
    fn validate(
        &self,
        preset: &str,
        given: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, ParameterErrors>;

    /// Version line and consensus protocol of a network with these validated parameters.
    fn software_line(&self, _parameters: &serde_json::Value) -> SoftwareLine {
        let api::NetworkType {
            version, consensus, ..
        } = self.describe();
        SoftwareLine { version, consensus }
    }

    /// Host resources that a network with these validated parameters needs.
    fn requirements(&self, parameters: &serde_json::Value) -> Requirements;

    /// Renders the spec of one generation. All keys derive from the seed: the same input gives the same
    /// bytes.
    fn render(&self, request: &RenderRequest, seed: &Seed) -> ClusterSpec;

    /// Changes the [amendable](api::Parameter::amendable) parameters of a running network. Pure. Nodes that
    /// the change does not affect stay byte-identical. The phases of [`ClusterSpec::boot`] lead from the old
    /// spec to the new one and are idempotent. New keys derive from the seed. A value that the network cannot
    /// change to is an error under the parameter's name.
    fn amend(
        &self,
        _spec: &ClusterSpec,
        _change: &Amendment,
        _seed: &Seed,
    ) -> Result<ClusterSpec, ParameterErrors> {
        let why = format!(
            "a running {} network cannot be changed; create another cluster",
            self.describe().name
        );
        Err(ParameterErrors(BTreeMap::from([("parameters".to_owned(), why)])))
    }

    /// Performs the named action of [`Boot::Init`](chainpool_agent::Boot::Init) once, as far as the nodes
    /// allow. Idempotent.
    async fn init(&self, nodes: &Nodes, action: &str) -> Result<(), InitError>;

    /// Probes the nodes. The result is evidence without a verdict; an unresponsive node is evidence too.
    async fn probe(&self, nodes: &Nodes, observed: &Observation) -> api::Evidence;

    /// The ledger's sign of progress in this evidence; `None` if it shows none. Pure. By default the height, once
    /// the ledger has a block.
    fn progress(&self, evidence: &api::Evidence) -> Option<api::Progress> {
        evidence
            .height
            .filter(|height| *height > 0)
            .map(api::Progress::At)
    }

    /// Assesses evidence. Pure.
    fn verdict(
        &self,
        parameters: &serde_json::Value,
        evidence: &api::Evidence,
        history: &History,
        policy: &HealthPolicy,
        now: api::Timestamp,
    ) -> Verdict;

    /// Facts of this evidence as tables, for any front end. Pure. By default none.
    fn sections(
        &self,
        _parameters: &serde_json::Value,
        _evidence: &api::Evidence,
        _now: api::Timestamp,
    ) -> Vec<api::Section> {
        Vec::new()
    }

    /// Nodes of this evidence and their connections as a graph, for any front end. Pure. Edges connect nodes
    /// of the drawing. By default none.
    fn drawing(&self, _parameters: &serde_json::Value, _evidence: &api::Evidence) -> Option<api::Drawing> {
        None
    }

    /// Returns true if the ledger would restart from nothing when these nodes start with empty volumes. Pure.
    /// By default one node that keeps its volumes is enough to restore the others.
    fn loses_ledger(&self, spec: &ClusterSpec, lost: &BTreeSet<NodeName>) -> bool {
        let mut with_volumes = spec
            .nodes
            .iter()
            .filter(|node| !node.volumes.is_empty())
            .peekable();
        with_volumes.peek().is_some() && with_volumes.all(|node| lost.contains(&node.name))
    }

    /// Human-readable reason if the ledger lost committed blocks: enough nodes answer to know its newest
    /// block, and that block is below one seen earlier. Pure. `None` if this cannot be determined, which is
    /// the default. The finding is permanent until the next generation.
    fn ledger_regression(
        &self,
        _parameters: &serde_json::Value,
        _evidence: &api::Evidence,
        _history: &History,
    ) -> Option<String> {
        None
    }

    /// Commits a transaction and reads it back from another node.
    async fn prove(&self, nodes: &Nodes) -> Result<api::Proof, ProveError>;

    /// Connection bundle for users.
    fn bundle(&self, spec: &ClusterSpec, public_endpoints: &PublicEndpoints) -> BundleParts;
}

/// 32 fresh random bytes from which one generation's keys derive; dropped after the render.
pub type Seed = Secret<[u8; 32]>;

/// Errors by parameter name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; "))]
pub struct ParameterErrors(pub BTreeMap<String, String>);

/// Software version line and consensus protocol of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftwareLine {
    /// The ledger software's version line.
    pub version: String,
    /// The consensus protocol.
    pub consensus: String,
}

/// Host resources that a network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// Number of nodes.
    pub size: u32,
    /// The ports to publish.
    pub ports: Vec<PortNeed>,
    /// The sum of its nodes' memory limits in bytes.
    pub memory_bytes: u64,
    /// Nodes placed on the machine of another node, by name: a database goes where its peer goes. Both are
    /// useless if either is lost.
    pub colocated: BTreeMap<NodeName, NodeName>,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortNeed {
    /// The node.
    pub node: NodeName,
    /// The port's name.
    pub port: String,
}

/// Input of a render beside the seed.
#[derive(Debug, Clone)]
pub struct RenderRequest {
    /// Validated parameters.
    pub parameters: serde_json::Value,
    /// The ledger's id; never reused.
    pub chain_id: String,
    /// Genesis time.
    pub genesis_at: api::Timestamp,
    /// The network.
    pub network: NetworkSpec,
    /// Allocated ports, one for each of [`Requirements::ports`].
    pub ports: BTreeMap<PortNeed, u16>,
    /// Public addresses of the nodes; certificates name them.
    pub public_endpoints: PublicEndpoints,
    /// Image references by role; they replace the type's defaults.
    pub images: BTreeMap<String, Vec<String>>,
    /// Log configuration of the nodes.
    pub log: LogConfig,
    /// Log level of the nodes.
    pub log_level: api::LogLevel,
}

/// A change of a running network.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// As for a new network with the changed parameters; chain id and network are those of the running one.
    pub request: RenderRequest,
    /// Renew all certificates.
    pub renew_certificates: bool,
    /// Outcome of the previous change.
    pub previous: PreviousChange,
}

/// Outcome of the previous change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PreviousChange {
    /// It completed, or there was none.
    #[default]
    Completed,
    /// It did not complete.
    Unfinished,
    /// It is in progress and continues on other ports, because a port turned out to be in use.
    InProgress,
}

/// Reason for a ledger whose newest block is below one seen earlier.
fn ledger_regression_reason(height: u64) -> String {
    format!(
        "newest block is below previously seen block {height}: the ledger was replaced or restarted and committed data is lost; release or reset the cluster"
    )
}

/// An action that is not done yet; retry until the operation's deadline.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct InitError {
    /// Human-readable reason.
    pub why: String,
    /// Stalled nodes to restart before the retry.
    pub restart: Vec<NodeName>,
}

impl InitError {
    /// An error without nodes to restart.
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            restart: vec![],
        }
    }
}

/// A failed proof; retry until the operation's deadline.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ProveError(pub String);

/// Public addresses of a cluster's nodes.
#[derive(Debug, Clone)]
pub struct PublicEndpoints {
    /// The host's public address.
    pub address: String,
    /// The address works only on the host itself.
    pub loopback: bool,
    /// Addresses of the host's machines by name, if Chainpool places nodes on machines.
    pub machines: BTreeMap<String, String>,
}

impl PublicEndpoints {
    /// All addresses at which a node may be reachable from outside.
    pub fn addresses(&self) -> BTreeSet<&str> {
        self.machines
            .values()
            .chain([&self.address])
            .map(String::as_str)
            .collect()
    }

    /// User-facing endpoints of a node.
    pub fn endpoints(&self, node: &chainpool_agent::NodeSpec) -> Vec<api::Endpoint> {
        let is_for_users =
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
            .filter(is_for_users)
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
    /// A command that commits a transaction.
    pub write: String,
    /// A command that reads it back from another node.
    pub read: String,
    /// Files by name.
    pub files: BTreeMap<String, String>,
}
