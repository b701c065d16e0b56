//! Last observed state of one cluster.

use chainpool_agent::{NodeName, Observation};
use chainpool_api::{Evidence, Timestamp};
use chainpool_health as health;

/// Last observed state of one cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterRuntime {
    /// The generation this state belongs to.
    pub(crate) generation: u32,
    /// The platform's inventory.
    pub(crate) observed: Option<Observation>,
    /// The ledger's evidence.
    pub(crate) evidence: Option<Evidence>,
    /// When the evidence was gathered.
    pub(crate) checked_at: Option<Timestamp>,
    /// The state machine of its health.
    pub(crate) health: health::Cluster,
    /// The verdict on an ongoing crash loop: the node, and its last log lines when the loop was detected.
    pub(crate) crash_loop: Option<(NodeName, String)>,
}

impl ClusterRuntime {
    /// The highest block.
    pub(crate) fn height(&self) -> Option<u64> {
        let (progress, _) = self.health.progress()?;
        progress.position()
    }
}
