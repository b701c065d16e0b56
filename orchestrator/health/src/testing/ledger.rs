//! Scripted ledgers.

use crate::{HealthPolicy, History, NodeReport, Verdict};
use chainpool_api::{HealthState, Progress, Timestamp};
use std::collections::BTreeMap;

/// A ledger in a simulated world.
pub trait SimulatedLedger {
    /// `true` if the ledger commits with this many of its nodes.
    fn works(&self, takes_part: usize, total: usize) -> bool;

    /// Its verdict on these nodes, and its sign of progress.
    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        history: &History,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> (Verdict, Option<Progress>);
}

/// A ledger that commits with more than half of its nodes, with a block each second.
#[derive(Debug, Clone, Copy)]
pub struct Majority;

/// A ledger that commits with more than half of its nodes and has no heights: it works or does not.
#[derive(Debug, Clone, Copy)]
pub struct WithoutHeights;

/// A ledger whose nodes work each on its own, such as replicas of documents.
#[derive(Debug, Clone, Copy)]
pub struct NoQuorum;

impl SimulatedLedger for Majority {
    fn works(&self, takes_part: usize, total: usize) -> bool {
        2 * takes_part > total
    }

    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        _history: &History,
        _policy: &HealthPolicy,
        now: Timestamp,
    ) -> (Verdict, Option<Progress>) {
        let seconds = u64::try_from(now.0 / 1000).unwrap_or(0);
        assess(self, nodes, Progress::At(seconds))
    }
}

impl SimulatedLedger for WithoutHeights {
    fn works(&self, takes_part: usize, total: usize) -> bool {
        2 * takes_part > total
    }

    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        _history: &History,
        _policy: &HealthPolicy,
        _now: Timestamp,
    ) -> (Verdict, Option<Progress>) {
        assess(self, nodes, Progress::Alive)
    }
}

impl SimulatedLedger for NoQuorum {
    fn works(&self, takes_part: usize, _total: usize) -> bool {
        takes_part > 0
    }

    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        _history: &History,
        _policy: &HealthPolicy,
        _now: Timestamp,
    ) -> (Verdict, Option<Progress>) {
        assess(self, nodes, Progress::Alive)
    }
}

fn assess(
    ledger: &impl SimulatedLedger,
    nodes: &BTreeMap<String, NodeReport>,
    progress: Progress,
) -> (Verdict, Option<Progress>) {
    let missing: Vec<&str> = nodes
        .iter()
        .filter(|(_, node)| !node.is_up())
        .map(|(name, _)| name.as_str())
        .collect();
    let works = ledger.works(nodes.len() - missing.len(), nodes.len());
    let state = match (works, missing.is_empty()) {
        (true, true) => HealthState::Healthy,
        (true, false) => HealthState::Degraded,
        (false, _) => HealthState::Broken,
    };
    let verdict = Verdict {
        state,
        reason: format!("missing: {}", missing.join(", ")),
    };
    (verdict, works.then_some(progress))
}
