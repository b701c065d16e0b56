//! News for a cluster's machine.

use super::exits::NodeExit;
use chainpool_api::{HealthState, OperationKind, ProcessState, Progress, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// One piece of news about a cluster. All but exits and the ends of operations are states, not changes: the
/// same news twice is the same as once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The state of the cluster's host.
    Host(HostReport),
    /// The record of the cluster.
    Record(Record),
    /// The platform's inventory arrived or did not.
    Inventory(Inventory),
    /// The ledger was probed.
    Evidence(Box<Evidence>),
    /// An operation in progress probed the ledger; its own conclusion counts.
    Observed {
        /// The nodes by name.
        nodes: BTreeMap<String, NodeReport>,
        /// The ledger's sign of progress.
        progress: Option<Progress>,
    },
    /// A node's process exited.
    NodeExited(NodeExit),
    /// An operation on the cluster begins to run in this process.
    OperationStarted {
        /// Its kind.
        kind: OperationKind,
        /// The nodes that a repair starts or restarts.
        repairs: BTreeSet<String>,
        /// It restarts running nodes.
        restarts: bool,
    },
    /// An operation cannot continue, because something that the platform depends on is down; `None`: it can.
    OperationBlocked(Option<String>),
    /// An operation on the cluster ended.
    OperationEnded {
        /// When it ended. Exits that the platform reported later are new faults.
        at: Timestamp,
        /// Its kind.
        kind: OperationKind,
        /// It proved the ledger.
        proven: bool,
        /// Something that the platform depends on is down, and the operation failed because of it.
        blocked: bool,
    },
}

/// The state of a cluster's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostReport {
    /// It responds.
    Reachable {
        /// When it reconnected, or the last node started there afterwards. `None`: this process has not
        /// assessed it since its event stream was interrupted.
        quiet_since: Option<Timestamp>,
    },
    /// Nothing is known about the cluster, with the reason: the host is unreachable or paused.
    Unavailable(String),
}

/// The record of a cluster, as far as its health depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The recorded health.
    pub health: HealthState,
    /// The cluster was stopped on request.
    pub stopped: bool,
    /// It is leased.
    pub leased: bool,
    /// Maintenance of the cluster or its host.
    pub maintenance: bool,
    /// The whole installation is paused.
    pub paused: bool,
    /// The operation in progress.
    pub operation: Option<OperationKind>,
    /// Nodes that were stopped on request.
    pub stopped_nodes: BTreeSet<String>,
    /// When Chainpool last started nodes.
    pub started_at: Timestamp,
    /// The recorded finding that the ledger lost committed data. It lasts until a reset.
    pub fault: Option<String>,
}

/// The outcome of a listing of the platform's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inventory {
    /// It arrived for this assessment.
    Current,
    /// It arrived outside of an assessment.
    Listed,
    /// It did not arrive in time, and is still awaited.
    TimedOut,
    /// The platform cannot list its objects, with the reason.
    Unavailable(String),
}

/// A probe of a ledger, with the verdict of its network type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeReport>,
    /// The verdict of the network type.
    pub verdict: Verdict,
    /// The ledger's sign of progress.
    pub progress: Option<Progress>,
    /// Clients exhaust the connections of the client ports, and nothing else is wrong.
    pub saturated: bool,
    /// The ledger lost committed data, with the reason.
    pub fault: Option<String>,
    /// Nodes lost their volumes.
    pub lost: Option<LostVolumes>,
    /// A node is in a crash loop, with the reason.
    pub crash_loop: Option<String>,
}

/// Volumes of nodes that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVolumes {
    /// The ledger is lost with them and must not be started.
    pub ledger: bool,
    /// The text for the verdict.
    pub text: String,
}

/// A node in a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its process, as the platform reports it.
    pub process: ProcessState,
    /// It responded.
    pub answers: bool,
    /// It makes no progress or blocks the others.
    pub stalled: bool,
}

impl NodeReport {
    /// `true` if the node runs, responds and progresses.
    pub fn is_up(&self) -> bool {
        self.process.is_running() && self.answers && !self.stalled
    }
}

/// Assessment of a ledger with a human-readable reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Healthy`, `Degraded`, `Broken` or `Unknown`.
    pub state: HealthState,
    /// Human-readable reason.
    pub reason: String,
}

/// State known before a probe, for the verdict on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The furthest progress seen.
    pub progress: Option<Progress>,
    /// When it was first seen.
    pub progress_since: Option<Timestamp>,
    /// The recorded health is neither healthy nor starting: recovery needs progress.
    pub recovering: bool,
    /// When Chainpool last started the nodes. A ledger is stalled only after it had time to progress.
    pub started_at: Option<Timestamp>,
    /// When an unresponsive node last became responsive, for any reason (restarted engine, unpaused node). A
    /// ledger is stalled only after it had time to progress again.
    pub reconnected_at: Option<Timestamp>,
    /// When a responsive node last became unresponsive: the others may have to elect another leader.
    pub disconnected_at: Option<Timestamp>,
}

impl History {
    /// The furthest position seen, if the progress has an order.
    pub fn position(&self) -> Option<u64> {
        self.progress.and_then(Progress::position)
    }
}
