//! Last observed state of one cluster.

use chainpool_agent::{NodeName, Observation};
use chainpool_api::{Evidence, NodeEvidence, Timestamp};
use chainpool_health as health;
use std::{mem, sync::Arc};

/// Last observed state of one cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterRuntime {
    /// The generation this state belongs to.
    pub(crate) generation: u32,
    /// The platform's inventory.
    pub(crate) observed: Option<Arc<Observation>>,
    /// The ledger's evidence.
    pub(crate) evidence: Option<Box<KeptEvidence>>,
    /// When the evidence was gathered.
    pub(crate) checked_at: Option<Timestamp>,
    /// The state machine of its health.
    pub(crate) health: health::Cluster,
    /// The verdict on an ongoing crash loop: the node, and its last log lines when the loop was detected.
    pub(crate) crash_loop: Option<(NodeName, String)>,
}

/// Evidence in a compact form: a map reserves room for eleven nodes, and most clusters have fewer.
#[derive(Debug, Clone)]
pub(crate) struct KeptEvidence {
    nodes: Box<[(String, NodeEvidence)]>,
    /// The evidence without nodes.
    others: Evidence,
}

impl From<Evidence> for KeptEvidence {
    fn from(mut evidence: Evidence) -> Self {
        Self {
            nodes: mem::take(&mut evidence.nodes).into_iter().collect(),
            others: evidence,
        }
    }
}

impl From<KeptEvidence> for Evidence {
    fn from(kept: KeptEvidence) -> Self {
        Self {
            nodes: kept.nodes.into_iter().collect(),
            ..kept.others
        }
    }
}

impl ClusterRuntime {
    /// Takes over the platform's inventory. Returns `true` if it differs from the previous one, which is kept otherwise.
    pub(crate) fn observe(&mut self, mut observed: Observation) -> bool {
        if self.observed.as_deref() == Some(&observed) {
            return false;
        }
        observed.objects.shrink_to_fit();
        self.observed = Some(Arc::new(observed));
        true
    }

    /// Takes over evidence gathered now.
    pub(crate) fn note_evidence(&mut self, evidence: Evidence, now: Timestamp) {
        self.evidence = Some(Box::new(evidence.into()));
        self.checked_at = Some(now);
    }

    /// The highest block.
    pub(crate) fn height(&self) -> Option<u64> {
        let (progress, _) = self.health.progress()?;
        progress.position()
    }
}
