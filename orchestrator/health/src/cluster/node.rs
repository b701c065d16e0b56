//! Health of the nodes of a cluster, and which of them only a restart helps.
//!
//! One tracker serves both the watchdog and the steps of a running operation.

use super::input::NodeReport;
use crate::{HealthPolicy, millis};
use chainpool_api::{ProcessState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Health of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeHealth {
    /// It runs and responds.
    Up,
    /// It runs and did not respond once. It is probed again before it counts as unresponsive.
    Late {
        /// When it first did not respond.
        since: Timestamp,
    },
    /// It runs and does not respond.
    Unresponsive {
        /// When it first did not respond, or was last restarted.
        since: Timestamp,
    },
    /// It runs and makes no progress, or blocks the others.
    Stalled {
        /// When it first was stalled, or was last restarted.
        since: Timestamp,
    },
    /// It does not run.
    Down {
        /// The exit code, if its process has exited.
        code: Option<i64>,
        /// When that was first seen, or nodes were last restarted.
        since: Timestamp,
    },
    /// Its process is frozen.
    Paused {
        /// When that was first seen, or nodes were last restarted.
        since: Timestamp,
    },
    /// It was stopped on request, and nothing starts it.
    StoppedOnPurpose,
}

impl NodeHealth {
    /// `true` if the process runs, as far as is known.
    pub fn runs(&self) -> bool {
        matches!(
            self,
            Self::Up | Self::Late { .. } | Self::Unresponsive { .. } | Self::Stalled { .. }
        )
    }

    /// `true` if a repair must start the node.
    fn needs_start(&self) -> bool {
        matches!(self, Self::Down { .. } | Self::Paused { .. })
    }
}

/// The nodes that have responded, so that an unresponsive one is not just starting.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Responded {
    /// All: the cluster has been ready.
    All,
    /// These, since the operation that starts the nodes began.
    Only(BTreeSet<String>),
}

impl Responded {
    fn has(&self, node: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(nodes) => nodes.contains(node),
        }
    }
}

/// Health of all nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTracker {
    /// By name. A map would reserve room for eleven nodes in each of thousands of clusters.
    nodes: Box<[(String, NodeHealth)]>,
    responded: Responded,
    /// Restarts since the cluster was last healthy, each of one or more nodes.
    restarts: u32,
}

impl Default for NodeTracker {
    fn default() -> Self {
        Self {
            nodes: Box::default(),
            responded: Responded::All,
            restarts: 0,
        }
    }
}

/// Nodes that became responsive or unresponsive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Transitions {
    pub(super) reconnected: bool,
    pub(super) disconnected: bool,
}

impl NodeTracker {
    /// A tracker of nodes that an operation is about to start: none has responded yet.
    pub fn starting() -> Self {
        Self {
            responded: Responded::Only(BTreeSet::new()),
            ..Self::default()
        }
    }

    /// Health of each node, by name.
    pub fn nodes(&self) -> &[(String, NodeHealth)] {
        &self.nodes
    }

    /// Health of a node; `None` if nothing is known of it.
    pub fn node(&self, name: &str) -> Option<&NodeHealth> {
        self.place(name).map(|place| &self.nodes[place].1)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.nodes
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
            .ok()
    }

    fn each(&self) -> impl Iterator<Item = &NodeHealth> + Clone {
        self.nodes.iter().map(|(_, node)| node)
    }

    /// Which nodes would become responsive or unresponsive with these reports.
    pub(super) fn transitions(&self, reports: &BTreeMap<String, NodeReport>) -> Transitions {
        let changed = |answers: bool| {
            reports.iter().any(|(name, report)| {
                let before = self.node(name).map(|node| *node == NodeHealth::Up);
                report.is_up() == answers && before.is_some_and(|before| before != answers)
            })
        };
        Transitions {
            reconnected: changed(true),
            disconnected: changed(false),
        }
    }

    /// Takes over reports of the nodes. A running node that responded before and does not now is late; it is
    /// unresponsive if it was late before, or if these reports are `final_word`.
    pub fn observe(
        &mut self,
        reports: &BTreeMap<String, NodeReport>,
        stopped: &BTreeSet<String>,
        final_word: bool,
        now: Timestamp,
    ) {
        let mut nodes = Vec::with_capacity(reports.len());
        for (name, report) in reports {
            let before = self.node(name);
            let health = if stopped.contains(name) {
                NodeHealth::StoppedOnPurpose
            } else {
                after(before, report, final_word, now)
            };
            if health == NodeHealth::Up
                && let Responded::Only(responded) = &mut self.responded
            {
                responded.insert(name.clone());
            }
            nodes.push((name.clone(), health));
        }
        self.nodes = nodes.into();
    }

    /// Records the exit of a node's process.
    pub(super) fn exited(&mut self, node: &str, code: i64, now: Timestamp) {
        if let Some(place) = self.place(node)
            && self.nodes[place].1 != NodeHealth::StoppedOnPurpose
        {
            self.nodes[place].1 = NodeHealth::Down {
                code: Some(code),
                since: now,
            };
        }
    }

    /// `true` if a node is late.
    pub(super) fn any_late(&self) -> bool {
        self.each().any(|node| matches!(node, NodeHealth::Late { .. }))
    }

    /// `true` if every node that should run responds.
    pub(super) fn all_up(&self) -> bool {
        self.each()
            .all(|node| matches!(node, NodeHealth::Up | NodeHealth::StoppedOnPurpose))
    }

    /// `true` if all nodes that should run do, and some of them only respond late: the host may be busy, and a
    /// new ledger would be no faster.
    pub(super) fn only_slow(&self) -> bool {
        let mut wanted = self.each().filter(|node| **node != NodeHealth::StoppedOnPurpose);
        wanted.clone().all(NodeHealth::runs)
            && wanted.any(|node| {
                matches!(
                    node,
                    NodeHealth::Late { .. } | NodeHealth::Unresponsive { .. } | NodeHealth::Stalled { .. }
                )
            })
    }

    /// The nodes that a repair must start.
    pub(super) fn to_start(&self) -> BTreeSet<String> {
        self.named(NodeHealth::needs_start)
    }

    /// The nodes to restart: not responding or stalled beyond the limit, which counts at the earliest from
    /// `quiet_since`, when the host had started its last node. The limit grows with each restart, because nodes
    /// may wait for each other, and on a busy machine frequent restarts prevent progress. A node that has not
    /// responded since an operation began to start it may still be starting.
    pub fn overdue(&self, policy: &HealthPolicy, quiet_since: Timestamp, now: Timestamp) -> BTreeSet<String> {
        let factor = (self.restarts + 1).min(policy.repair.node_limit_factor);
        let elapsed = |since: Timestamp, limit: std::time::Duration| {
            now.millis_since(since.max(quiet_since)) >= millis(limit.saturating_mul(factor))
        };
        let overdue = self.nodes.iter().filter(|(name, node)| match node {
            NodeHealth::Unresponsive { since }
            | NodeHealth::Down { since, .. }
            | NodeHealth::Paused { since } => {
                self.responded.has(name) && elapsed(*since, policy.repair.node_unresponsive)
            }
            NodeHealth::Stalled { since } => elapsed(*since, policy.repair.node_stalled),
            _ => false,
        });
        overdue.map(|(name, _)| name.clone()).collect()
    }

    /// Records that nodes are restarted. All others get their full time again: they may wait for them.
    pub fn restarted(&mut self, now: Timestamp) {
        self.restarts = self.restarts.saturating_add(1);
        self.count_from(now);
    }

    /// The operation that started the nodes has ended: a node that does not respond is not just starting.
    pub(super) fn started(&mut self) {
        self.responded = Responded::All;
    }

    /// Forgets the restarts: the cluster is healthy.
    pub(super) fn recovered(&mut self) {
        self.restarts = 0;
    }

    /// Forgets the restarts and how long nodes have been unresponsive or stalled.
    pub(super) fn clear_faults(&mut self, now: Timestamp) {
        self.restarts = 0;
        self.count_from(now);
    }

    fn count_from(&mut self, now: Timestamp) {
        for (_, node) in &mut self.nodes {
            match node {
                NodeHealth::Unresponsive { since }
                | NodeHealth::Stalled { since }
                | NodeHealth::Down { since, .. }
                | NodeHealth::Paused { since } => *since = now,
                NodeHealth::Up | NodeHealth::Late { .. } | NodeHealth::StoppedOnPurpose => {}
            }
        }
    }

    /// `true` if nothing counts towards a start or restart. A late node does not count yet.
    pub fn is_clear(&self) -> bool {
        self.restarts == 0 && !self.any_missing()
    }

    /// `true` if a node is known not to take part.
    pub(super) fn any_missing(&self) -> bool {
        self.each().any(|node| {
            !matches!(
                node,
                NodeHealth::Up | NodeHealth::Late { .. } | NodeHealth::StoppedOnPurpose
            )
        })
    }

    fn named(&self, which: fn(&NodeHealth) -> bool) -> BTreeSet<String> {
        let found = self.nodes.iter().filter(|(_, node)| which(node));
        found.map(|(name, _)| name.clone()).collect()
    }
}

/// Health of a node that should run, after a report.
fn after(before: Option<&NodeHealth>, report: &NodeReport, final_word: bool, now: Timestamp) -> NodeHealth {
    let down_since = match before {
        Some(NodeHealth::Down { since, .. } | NodeHealth::Paused { since }) => *since,
        _ => now,
    };
    let down = |code| NodeHealth::Down {
        code,
        since: down_since,
    };
    match report.process {
        ProcessState::Running | ProcessState::Unready => {}
        ProcessState::Paused => return NodeHealth::Paused { since: down_since },
        ProcessState::Exited(code) => return down(Some(code)),
        ProcessState::Created | ProcessState::Changing(_) | ProcessState::Absent | ProcessState::Unknown => {
            return down(None);
        }
    }
    if report.stalled {
        let since = match before {
            Some(NodeHealth::Stalled { since }) => *since,
            _ => now,
        };
        return NodeHealth::Stalled { since };
    }
    if report.answers && report.process.is_running() {
        return NodeHealth::Up;
    }
    match before {
        Some(NodeHealth::Late { since } | NodeHealth::Unresponsive { since }) => {
            NodeHealth::Unresponsive { since: *since }
        }
        Some(NodeHealth::Up) if !final_word => NodeHealth::Late { since: now },
        _ => NodeHealth::Unresponsive { since: now },
    }
}

#[cfg(test)]
mod tests;
