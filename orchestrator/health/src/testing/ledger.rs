//! Ledgers of simulated worlds.

use crate::{HealthPolicy, History, NodeReport, Verdict};
use chainpool_api::{HealthState, Progress, Timestamp};
use std::collections::BTreeMap;

/// A ledger in a simulated world.
pub trait SimulatedLedger {
    /// Its verdict on these nodes, and its sign of progress.
    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        history: &History,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> (Verdict, Option<Progress>);
}

/// A ledger that commits or does not, by the number of its nodes that take part.
#[derive(Debug, Clone, Copy)]
pub struct ScriptedLedger {
    /// It commits with more than half of its nodes; `false`: each node works on its own.
    has_quorum: bool,
    /// It has a block each second; `false`: it only shows that it works.
    has_heights: bool,
}

impl ScriptedLedger {
    /// A ledger that commits with more than half of its nodes, with a block each second.
    pub const MAJORITY: Self = Self {
        has_quorum: true,
        has_heights: true,
    };
    /// A ledger that commits with more than half of its nodes and has no heights: it works or does not.
    pub const WITHOUT_HEIGHTS: Self = Self {
        has_quorum: true,
        has_heights: false,
    };
    /// A ledger whose nodes work each on its own, such as replicas of documents.
    pub const NO_QUORUM: Self = Self {
        has_quorum: false,
        has_heights: false,
    };
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MAJORITY, Self::WITHOUT_HEIGHTS, Self::NO_QUORUM];

    fn commits(self, takes_part: usize, total: usize) -> bool {
        if self.has_quorum {
            2 * takes_part > total
        } else {
            takes_part > 0
        }
    }
}

impl SimulatedLedger for ScriptedLedger {
    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        _history: &History,
        _policy: &HealthPolicy,
        now: Timestamp,
    ) -> (Verdict, Option<Progress>) {
        let missing: Vec<&str> = nodes
            .iter()
            .filter(|(_, node)| !node.is_up())
            .map(|(name, _)| name.as_str())
            .collect();
        let commits = self.commits(nodes.len() - missing.len(), nodes.len());
        let state = match (commits, missing.is_empty()) {
            (true, true) => HealthState::Healthy,
            (true, false) => HealthState::Degraded,
            (false, _) => HealthState::Broken,
        };
        let verdict = Verdict {
            state,
            reason: format!("missing: {}", missing.join(", ")),
        };
        let progress = if self.has_heights {
            Progress::At(u64::try_from(now.0 / 1000).unwrap_or(0))
        } else {
            Progress::Alive
        };
        (verdict, commits.then_some(progress))
    }
}
