//! What was last seen of one cluster, and since when.

use chainpool_agent::{NodeName, Observation};
use chainpool_api::{Evidence, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What was last seen of one cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The generation that it was seen in.
    pub(crate) generation: u32,
    /// The platform's listing.
    pub(crate) observed: Option<Observation>,
    /// The ledger's evidence.
    pub(crate) evidence: Option<Evidence>,
    /// When the evidence was gathered.
    pub(crate) checked_at: Option<Timestamp>,
    /// The highest block, and when it was first seen.
    pub(crate) height: Option<(u64, Timestamp)>,
    /// Since when a running node has not answered, or has stood still.
    pub(crate) silent: BTreeMap<String, Timestamp>,
    /// The nodes that have answered in this generation.
    pub(crate) answered: BTreeSet<String>,
    /// Newest process ends, by the platform's own word.
    pub(crate) deaths: VecDeque<Death>,
    /// When the evidence first said broken, until it says healthy again.
    pub(crate) was_broken_at: Option<Timestamp>,
    /// Since when the evidence has said broken, uninterrupted.
    pub(crate) broken_since: Option<Timestamp>,
    /// Since when the evidence has said degraded or worse, uninterrupted.
    pub(crate) bad_since: Option<Timestamp>,
    /// When a node last began to answer that had not answered before.
    pub(crate) returned_at: Option<Timestamp>,
    /// When a node last ceased to answer that had answered before.
    pub(crate) left_at: Option<Timestamp>,
    /// When the last repair was begun.
    pub(crate) repaired_at: Option<Timestamp>,
    /// The nodes that were mended since it was last healthy, and how often these or some of these.
    pub(crate) mended: BTreeSet<String>,
    pub(crate) repairs: u32,
    /// Why its nodes cannot be started now: something that their platform stands on is down. A new ledger could not be made either.
    pub(crate) hindered: Option<String>,
    /// The verdict on a crash loop that stands: with its node, the node's last lines as they were when it was first seen.
    pub(crate) crash_loop: Option<(NodeName, String)>,
}

impl Seen {
    /// Notes which nodes began or ceased to answer since the evidence before this.
    pub(crate) fn turn(&mut self, evidence: &Evidence, now: Timestamp) {
        let Some(before) = &self.evidence else { return };
        let turned = |answers: bool| {
            evidence.nodes.iter().any(|(name, node)| {
                node.answers == answers && before.nodes.get(name).is_some_and(|n| n.answers != answers)
            })
        };
        let (returned, left) = (turned(true), turned(false));
        self.returned_at = if returned { Some(now) } else { self.returned_at };
        self.left_at = if left { Some(now) } else { self.left_at };
    }

    /// Whether a node that runs does not answer now and did so in the evidence before this.
    pub(crate) fn newly_silent(&self, evidence: &Evidence) -> bool {
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

    /// Notes that these nodes are mended.
    pub(crate) fn repairs(&mut self, nodes: &BTreeSet<String>, now: Timestamp) {
        self.repairs = if nodes.is_subset(&self.mended) {
            self.repairs.saturating_add(1)
        } else {
            1
        };
        self.mended.extend(nodes.iter().cloned());
        self.repaired_at = Some(now);
    }

    /// It is healthy: what was mended is whole.
    pub(crate) fn recovers(&mut self) {
        self.mended.clear();
        self.repairs = 0;
        self.hindered = None;
    }

    /// Some nodes are started anew. All that are silent get their time once more: they may wait for each other.
    pub(crate) fn restarts(&mut self) {
        self.silent.clear();
    }

    /// Forgets all that counts towards a repair or a reset.
    pub(crate) fn forget_faults(&mut self) {
        self.silent.clear();
        self.deaths.clear();
        self.recovers();
        self.stop_clocks();
    }

    /// Lets the time until a bad verdict has consequences begin anew.
    pub(crate) fn stop_clocks(&mut self) {
        (self.broken_since, self.was_broken_at, self.bad_since) = (None, None, None);
    }
}

/// The end of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Death {
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
    fn a_node_is_newly_silent_when_it_runs_and_has_just_answered() {
        let seen = |before: Option<Evidence>| Seen {
            evidence: before,
            ..Seen::default()
        };
        let silent = evidence("running", false);
        assert!(seen(Some(evidence("running", true))).newly_silent(&silent));
        assert!(!seen(Some(silent.clone())).newly_silent(&silent), "for long");
        assert!(!seen(None).newly_silent(&silent), "never seen before");
        assert!(!seen(Some(evidence("running", true))).newly_silent(&evidence("exited 137", false)));
        assert!(!seen(Some(evidence("running", true))).newly_silent(&evidence("running", true)));
    }
}
