//! A node of the ledger: its genesis, its copy of the ledger, its faulty behavior.

use chainpool_agent::NodeName;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The genesis of a ledger, part of each node's command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Genesis {
    /// The ledger's own name.
    pub(crate) chain_id: String,
    /// The initial members.
    pub(crate) members: BTreeSet<NodeName>,
    /// Milliseconds between blocks.
    pub(crate) interval_ms: u64,
}

impl Genesis {
    /// The program of a node.
    pub(crate) const PROGRAM: &str = "ledger";
    /// The program of a job.
    pub(crate) const SETUP: &str = "ledger-setup";
}

/// A node's copy of its ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(super) height: u64,
    /// The members that the genesis does not contain.
    pub(super) admitted: BTreeSet<NodeName>,
    /// Each key's value and the block that holds it.
    pub(super) entries: BTreeMap<String, (String, u64)>,
}

impl Copy {
    pub(super) fn is_member(&self, genesis: &Genesis, node: &NodeName) -> bool {
        genesis.members.contains(node) || self.admitted.contains(node)
    }

    /// The number of members.
    pub(super) fn members(&self, genesis: &Genesis) -> usize {
        genesis.members.len() + self.admitted.len()
    }
}

/// Faulty behavior of a ledger node, until its next start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeBehavior {
    /// It runs and accepts no connection.
    pub unresponsive: bool,
    /// It answers but takes no part: its height stays.
    pub stalled: bool,
    /// Its blocks differ from the other nodes' blocks.
    pub forked: bool,
    /// It refuses all transactions.
    pub refuses_writes: bool,
    /// The delay of each answer.
    pub delay: Duration,
}
