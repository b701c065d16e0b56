//! Last observed state of one cluster.

use chainpool_agent::{NodeName, Observation};
use chainpool_api::{Evidence, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// The highest block, and when it was first observed.
    pub(crate) height: Option<(u64, Timestamp)>,
    /// Since when a running node has been unresponsive or stalled.
    pub(crate) unresponsive_since: BTreeMap<String, Timestamp>,
    /// The nodes that have responded in this generation.
    pub(crate) answered: BTreeSet<String>,
    /// Latest process exits, as reported by the platform.
    pub(crate) exits: VecDeque<NodeExit>,
    /// When the evidence first showed broken; cleared on recovery.
    pub(crate) first_broken_at: Option<Timestamp>,
    /// Since when the evidence has shown broken without interruption.
    pub(crate) broken_since: Option<Timestamp>,
    /// Since when the evidence has shown degraded or worse without interruption.
    pub(crate) unhealthy_since: Option<Timestamp>,
    /// When a node last became responsive again.
    pub(crate) reconnected_at: Option<Timestamp>,
    /// When a node last became unresponsive.
    pub(crate) disconnected_at: Option<Timestamp>,
    /// When the last repair started.
    pub(crate) repaired_at: Option<Timestamp>,
    /// The nodes repaired since the cluster was last healthy, and the number of repairs limited to these
    /// nodes.
    pub(crate) repaired_nodes: BTreeSet<String>,
    pub(crate) repairs: u32,
    /// Why the nodes cannot be started now: the platform depends on something that is down. A reset would
    /// fail for the same reason.
    pub(crate) blocked_by: Option<String>,
    /// The verdict on an ongoing crash loop: the node, and its last log lines when the loop was detected.
    pub(crate) crash_loop: Option<(NodeName, String)>,
}

impl ClusterRuntime {
    /// Records which nodes became responsive or unresponsive since the previous evidence.
    pub(crate) fn note_transitions(&mut self, evidence: &Evidence, now: Timestamp) {
        let Some(before) = &self.evidence else { return };
        let changed = |answers: bool| {
            evidence.nodes.iter().any(|(name, node)| {
                node.answers == answers && before.nodes.get(name).is_some_and(|n| n.answers != answers)
            })
        };
        let (reconnected, disconnected) = (changed(true), changed(false));
        self.reconnected_at = if reconnected {
            Some(now)
        } else {
            self.reconnected_at
        };
        self.disconnected_at = if disconnected {
            Some(now)
        } else {
            self.disconnected_at
        };
    }

    /// Returns `true` if a running node responded in the previous evidence and does not now.
    pub(crate) fn newly_unresponsive(&self, evidence: &Evidence) -> bool {
        let answered = |name: &String| {
            self.evidence
                .as_ref()
                .and_then(|before| before.nodes.get(name))
                .is_some_and(|node| node.answers)
        };
        evidence
            .nodes
            .iter()
            .any(|(name, node)| node.process == "running" && !node.answers && answered(name))
    }

    /// Records a repair of these nodes.
    pub(crate) fn note_repair(&mut self, nodes: &BTreeSet<String>, now: Timestamp) {
        self.repairs = if nodes.is_subset(&self.repaired_nodes) {
            self.repairs.saturating_add(1)
        } else {
            1
        };
        self.repaired_nodes.extend(nodes.iter().cloned());
        self.repaired_at = Some(now);
    }

    /// Records that the cluster is healthy.
    pub(crate) fn note_recovery(&mut self) {
        self.repaired_nodes.clear();
        self.repairs = 0;
        self.blocked_by = None;
    }

    /// Records that nodes restart. All unresponsive nodes get their full time again: they may wait for each
    /// other.
    pub(crate) fn note_restart(&mut self) {
        self.unresponsive_since.clear();
    }

    /// Clears everything that counts towards a repair or a reset.
    pub(crate) fn clear_faults(&mut self) {
        self.unresponsive_since.clear();
        self.exits.clear();
        self.note_recovery();
        self.reset_timers();
    }

    /// Restarts the delay before a bad verdict has consequences.
    pub(crate) fn reset_timers(&mut self) {
        (self.broken_since, self.first_broken_at, self.unhealthy_since) = (None, None, None);
    }
}

/// The exit of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeExit {
    pub(crate) node: NodeName,
    pub(crate) code: i64,
    pub(crate) at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::NodeEvidence;

    fn evidence(process: &str, answers: bool) -> Evidence {
        let node = NodeEvidence {
            process: process.to_owned(),
            answers,
            ..NodeEvidence::default()
        };
        Evidence {
            nodes: [("v0".to_owned(), node)].into(),
            ..Evidence::default()
        }
    }

    #[test]
    fn a_node_is_newly_unresponsive_when_it_runs_and_responded_before() {
        let runtime = |before: Option<Evidence>| ClusterRuntime {
            evidence: before,
            ..ClusterRuntime::default()
        };
        let unresponsive = evidence("running", false);
        assert!(runtime(Some(evidence("running", true))).newly_unresponsive(&unresponsive));
        assert!(
            !runtime(Some(unresponsive.clone())).newly_unresponsive(&unresponsive),
            "it was unresponsive before"
        );
        assert!(
            !runtime(None).newly_unresponsive(&unresponsive),
            "no previous evidence"
        );
        assert!(!runtime(Some(evidence("running", true))).newly_unresponsive(&evidence("exited 137", false)));
        assert!(!runtime(Some(evidence("running", true))).newly_unresponsive(&evidence("running", true)));
    }
}
