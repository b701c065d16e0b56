//! Requests of a cluster's machine. Holding back is the absence of an effect.

use super::input::Verdict;
use std::{collections::BTreeSet, time::Duration};

/// A request of a cluster's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Record the verdict.
    Record {
        /// The verdict.
        verdict: Verdict,
        /// The ledger lost committed data, with the reason. Recorded until the next generation.
        fault: Option<String>,
    },
    /// Start and restart nodes in place; a free cluster is proven afterwards.
    Repair {
        /// Nodes that do not run.
        start: BTreeSet<String>,
        /// Running nodes that are unresponsive or stalled.
        restart: BTreeSet<String>,
    },
    /// Commit a transaction and read it back: a free cluster is offered again only after that.
    Prove,
    /// Wipe the cluster and create it again, for this reason.
    Reset(String),
    /// Read the platform's inventory now.
    ListNow {
        /// How long the assessment waits for it; `None`: assessments continue without it until it arrives.
        limit: Option<Duration>,
    },
    /// Probe the ledger again after this time, because the evidence is not sufficient yet.
    ProbeAgain {
        /// The delay.
        after: Duration,
    },
}
