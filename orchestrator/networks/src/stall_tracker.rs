//! Tracks stalled and unresponsive nodes until only a restart helps.

use chainpool_agent::NodeName;
use chainpool_api::Evidence;
use chainpool_health::Repair;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A fault that only a restart fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Stalled,
    /// It was responsive earlier.
    Unresponsive,
}

impl Fault {
    /// Time limit: a newly started node may appear stalled.
    fn limit(self, policy: &Repair) -> Duration {
        match self {
            Self::Stalled => policy.node_stalled,
            Self::Unresponsive => policy.node_unresponsive,
        }
    }
}

/// Tracks how long nodes have a fault.
#[derive(Debug)]
pub struct StallTracker {
    policy: Repair,
    since: BTreeMap<String, (Fault, Instant)>,
    answered: BTreeSet<String>,
    restarts: u32,
}

impl StallTracker {
    /// A tracker for nodes of which these were responsive earlier.
    pub fn new(policy: &Repair, answered: BTreeSet<String>) -> Self {
        Self {
            policy: policy.clone(),
            since: BTreeMap::new(),
            answered,
            restarts: 0,
        }
    }

    /// Nodes to restart, because they are stalled or unresponsive beyond the time limit. If there are any,
    /// the limits of all nodes restart and grow: nodes may wait for each other, and on a busy machine
    /// frequent restarts prevent progress.
    pub fn overdue(&mut self, evidence: &Evidence, now: Instant) -> Vec<NodeName> {
        self.answered.extend(
            evidence
                .nodes
                .iter()
                .filter(|(_, node)| node.answers)
                .map(|(name, _)| name.clone()),
        );
        let fault = |name: &String| match evidence.nodes.get(name)? {
            node if node.stuck => Some(Fault::Stalled),
            node if !node.answers && self.answered.contains(name) => Some(Fault::Unresponsive),
            _ => None,
        };
        let faults: BTreeMap<&String, Fault> = evidence
            .nodes
            .keys()
            .filter_map(|name| Some((name, fault(name)?)))
            .collect();
        self.since
            .retain(|name, (fault, _)| faults.get(name) == Some(fault));
        for (name, fault) in faults {
            self.since.entry(name.clone()).or_insert((fault, now));
        }
        let factor = (self.restarts + 1).min(self.policy.node_limit_factor);
        let overdue = self
            .since
            .iter()
            .filter(|(_, (fault, since))| now - *since >= fault.limit(&self.policy) * factor);
        let overdue: Vec<NodeName> = overdue
            .filter_map(|(name, _)| NodeName::parse(name).ok())
            .collect();
        if !overdue.is_empty() {
            self.restarts += 1;
            self.since.values_mut().for_each(|(_, since)| *since = now);
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::NodeEvidence;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    fn tracker(answered: &[&str]) -> StallTracker {
        let answered = answered.iter().map(|name| (*name).to_owned()).collect();
        StallTracker::new(&Repair::default(), answered)
    }

    /// Evidence of nodes that are `stalled`, `responsive` or `unresponsive`.
    fn evidence<const N: usize>(states: [&str; N]) -> Evidence {
        let node = |state: &str| NodeEvidence {
            stuck: state == "stalled",
            answers: state == "responsive",
            ..NodeEvidence::default()
        };
        let nodes = ["a", "b"]
            .into_iter()
            .zip(states)
            .map(|(name, state)| (name.to_owned(), node(state)));
        Evidence {
            nodes: nodes.collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn time_limits_of_stalled_nodes_grow_after_each_restart() {
        let (start, mut tracker) = (Instant::now(), tracker(&[]));
        let mut at = |seconds, states: [&str; 2]| {
            tracker.overdue(&evidence(states), start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, ["stalled", "stalled"]), []);
        assert_eq!(at(10, ["stalled", "responsive"]), []);
        assert_eq!(at(14, ["stalled", "stalled"]), []);
        assert_eq!(at(15, ["stalled", "stalled"]), [node("a")]);
        assert_eq!(
            at(30, ["stalled", "stalled"]),
            [],
            "b waited for a, which needs time to start"
        );
        assert_eq!(at(45, ["stalled", "stalled"]), [node("a"), node("b")]);
        assert_eq!(at(80, ["stalled", "responsive"]), []);
        assert_eq!(at(90, ["stalled", "stalled"]), [node("a")]);
        assert_eq!(at(1000, ["stalled", "responsive"]), [node("a")]);
        assert_eq!(at(1059, ["stalled", "responsive"]), []);
        assert_eq!(
            at(1060, ["stalled", "responsive"]),
            [node("a")],
            "the growth is limited"
        );
    }

    #[test]
    fn only_previously_responsive_nodes_are_restarted_when_unresponsive() {
        let start = Instant::now();
        let after = |tracker: &mut StallTracker, state, seconds| {
            tracker
                .overdue(&evidence([state]), start + Duration::from_secs(seconds))
                .len()
        };
        let mut slow = tracker(&[]);
        assert_eq!(
            [0, 29, 1000].map(|seconds| after(&mut slow, "unresponsive", seconds)),
            [0, 0, 0],
            "the start may take long"
        );
        assert_eq!(
            [1001, 1002].map(|seconds| after(&mut slow, "responsive", seconds)),
            [0, 0]
        );
        assert_eq!(
            [1003, 1032, 1033].map(|seconds| after(&mut slow, "unresponsive", seconds)),
            [0, 0, 1]
        );
        let mut known = tracker(&["a"]);
        assert_eq!(
            [0, 29, 30].map(|seconds| after(&mut known, "unresponsive", seconds)),
            [0, 0, 1]
        );
    }

    #[test]
    fn a_new_fault_gets_its_full_time_limit() {
        let (start, mut tracker) = (Instant::now(), tracker(&["a"]));
        let mut at = |seconds, state: &str| {
            tracker
                .overdue(&evidence([state]), start + Duration::from_secs(seconds))
                .len()
        };
        assert_eq!(
            [
                at(0, "unresponsive"),
                at(20, "stalled"),
                at(34, "stalled"),
                at(35, "stalled")
            ],
            [0, 0, 0, 1]
        );
    }
}
