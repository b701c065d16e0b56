//! Health of a cluster as a state machine: news in, requests out. Pure: no I/O and no clock.
//!
//! - A free degraded cluster is not offered and its nodes are started in place; if it is still unhealthy after
//!   `degraded_reset`, it is reset.
//! - A free broken cluster is reset once the verdict has lasted for a moment: an engine that shuts down stops its
//!   containers first, and that is no reason to wipe ledgers. A cluster that was broken and is still unhealthy
//!   after `broken_reset` is reset too: ledgers that lost their quorum are slow to recover, and a reset is
//!   faster. If all its nodes run and only respond late, it gets the time of a degraded one.
//! - A cluster that commits while clients exhaust the connections of its client port is left alone.
//! - A leased cluster is repaired in place and never wiped.
//! - After its host reconnected, or was first assessed by this process, a free cluster gets time, counted from the
//!   start of the last node there: a host that starts a hundred ledgers at once is slow, and resetting them would
//!   add load.
//! - A cluster with a lost ledger is not started: that would give its holder another ledger.
//! - No cluster is reset because a dependency of the platform is down: a new one could not be created either.
//!
//! `docs/health.md` draws the machine.

mod concluded;
mod decision;
mod effect;
mod exits;
mod input;
mod node;
mod repairs;

pub use effect::Effect;
pub use exits::{Exits, NodeExit};
pub use input::{Evidence, History, HostReport, Input, Inventory, LostVolumes, NodeReport, Record, Verdict};
use node::Transitions;
pub use node::{NodeHealth, NodeTracker};

use crate::HealthPolicy;
use chainpool_api::{HealthState, OperationKind, Progress, Timestamp};
use concluded::Concluded;
use repairs::Repairs;
use std::collections::{BTreeMap, BTreeSet};

/// Health of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterHealth {
    /// Recently started; a bad verdict has no effect yet.
    Starting,
    /// The ledger commits and everything participates.
    Healthy,
    /// The ledger seems healthy again; a free cluster is offered only after a proof.
    Unproven,
    /// The ledger commits, but something is missing.
    Degraded,
    /// The ledger does not commit.
    Broken {
        /// It has lasted long enough to have consequences.
        confirmed: bool,
    },
    /// Not observable.
    Unknown,
    /// Stopped on request.
    Stopped,
}

/// The latest knowledge about the platform's inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// No inventory has arrived yet.
    Nothing,
    /// An inventory of an earlier assessment.
    Earlier,
    /// An inventory of this assessment.
    Current,
    /// It has been asked for and has not arrived; `true`: an earlier one is known.
    Late(bool),
    /// The platform cannot list its objects; `true`: an earlier inventory is known.
    Unavailable(String, bool),
}

impl Known {
    fn has_arrived(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Earlier | Self::Current => true,
            Self::Late(earlier) | Self::Unavailable(_, earlier) => *earlier,
        }
    }

    /// `true` if the inventory is reliable.
    fn is_reliable(&self) -> bool {
        matches!(self, Self::Earlier | Self::Current)
    }
}

/// Since when bad evidence has been seen. Nothing counts while nothing may be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Timers {
    /// Degraded or worse, without interruption.
    unhealthy: Option<Timestamp>,
    /// When it was first broken in that time.
    first_broken: Option<Timestamp>,
    /// Broken, without interruption.
    broken: Option<Timestamp>,
}

/// State of a cluster's machine: what one generation of a cluster has shown. In memory only; after a restart of
/// the process it starts from nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    health: ClusterHealth,
    nodes: NodeTracker,
    exits: Exits,
    host: HostReport,
    record: Record,
    known: Known,
    progress: Option<(Progress, Timestamp)>,
    reconnected_at: Option<Timestamp>,
    disconnected_at: Option<Timestamp>,
    timers: Timers,
    concluded: Option<Concluded>,
    repairs: Repairs,
    blocked_by: Option<String>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            health: ClusterHealth::Starting,
            nodes: NodeTracker::default(),
            exits: Exits::default(),
            host: HostReport::Reachable { quiet_since: None },
            record: Record {
                health: HealthState::Starting,
                stopped: false,
                leased: false,
                maintenance: false,
                paused: false,
                operation: None,
                stopped_nodes: BTreeSet::new(),
                started_at: Timestamp(0),
                fault: None,
            },
            known: Known::Nothing,
            progress: None,
            reconnected_at: None,
            disconnected_at: None,
            timers: Timers::default(),
            concluded: None,
            repairs: Repairs::default(),
            blocked_by: None,
        }
    }
}

/// Advances a cluster's machine by one input.
pub fn step(
    mut state: Cluster,
    input: Input,
    policy: &HealthPolicy,
    now: Timestamp,
) -> (Cluster, Vec<Effect>) {
    let effects = match input {
        Input::Host(report) => state.host_reported(report, now),
        Input::Record(record) => {
            if record.stopped {
                state.health = ClusterHealth::Stopped;
            }
            state.record = record;
            vec![]
        }
        Input::Inventory(inventory) => state.inventory_arrived(inventory),
        Input::Evidence(evidence) => state.assess(*evidence, policy, now),
        Input::Observed { nodes, progress } => {
            state.note_transitions(state.nodes.transitions(&nodes), now);
            state
                .nodes
                .observe(&nodes, &state.record.stopped_nodes, true, now);
            state.note_progress(progress, now);
            // An operation lists the nodes before it probes them.
            if !state.known.is_reliable() {
                state.known = Known::Earlier;
            }
            vec![]
        }
        Input::NodeExited(exit) => {
            state.nodes.exited(&exit.node, exit.code, now);
            state.exits.push(exit, &policy.crash_loop);
            vec![
                Effect::ProbeAgain {
                    after: std::time::Duration::ZERO,
                },
                Effect::ProbeAgain {
                    after: policy.assessment.inventory_lag,
                },
            ]
        }
        Input::OperationStarted {
            kind,
            repairs,
            restarts,
        } => {
            state.operation_started(kind, &repairs, restarts, now);
            vec![]
        }
        Input::OperationBlocked(why) => {
            state.blocked_by = why;
            vec![]
        }
        Input::OperationEnded {
            at,
            kind,
            proven,
            blocked,
        } => {
            state.operation_ended(kind, proven, blocked, at, now);
            vec![]
        }
    };
    state.note_missing_nodes();
    (state, effects)
}

impl Cluster {
    /// Health of the cluster.
    pub fn health(&self) -> ClusterHealth {
        self.health
    }

    /// Health of its nodes.
    pub fn nodes(&self) -> &NodeTracker {
        &self.nodes
    }

    /// `true` if the platform's latest inventory is reliable.
    pub fn inventory_is_reliable(&self) -> bool {
        self.known.is_reliable()
    }

    /// Recent exits of its nodes.
    pub fn exits(&self) -> &Exits {
        &self.exits
    }

    /// The furthest progress of its ledger, and when that was first seen.
    pub fn progress(&self) -> Option<(Progress, Timestamp)> {
        self.progress
    }

    /// When a node last became responsive again.
    pub fn reconnected_at(&self) -> Option<Timestamp> {
        self.reconnected_at
    }

    /// `true` if nothing counts towards a repair, a restart or a reset.
    pub fn is_clear(&self) -> bool {
        self.nodes.is_clear()
            && self.repairs.is_clear()
            && self.blocked_by.is_none()
            && self.timers == Timers::default()
    }

    /// `true` if a time of the policy has passed since the latest assessment and decides something: the same evidence
    /// would have a consequence now that it did not have then.
    pub fn is_due(&self, policy: &HealthPolicy, now: Timestamp) -> bool {
        let decides = |concluded: Concluded| self.decides_later(concluded, policy, now);
        self.concluded.is_some_and(decides)
    }

    /// The nodes that an operation in progress must restart.
    pub fn overdue_nodes(&self, policy: &HealthPolicy, now: Timestamp) -> BTreeSet<String> {
        let quiet_since = match self.host {
            HostReport::Reachable { quiet_since } => quiet_since.unwrap_or_default(),
            HostReport::Unavailable(_) => return BTreeSet::new(),
        };
        self.nodes.overdue(policy, quiet_since, now)
    }

    /// Records that an operation in progress restarts nodes.
    pub fn nodes_restarted(&mut self, now: Timestamp) {
        self.nodes.restarted(now);
    }

    /// The earlier state that a network type may use for its verdict on these reports.
    pub fn history(&self, reports: &BTreeMap<String, NodeReport>, now: Timestamp) -> History {
        let changed = self.nodes.transitions(reports);
        History {
            progress: self.progress.map(|(progress, _)| progress),
            progress_since: self.progress.map(|(_, since)| since),
            recovering: self.is_recovering(),
            started_at: Some(self.record.started_at),
            reconnected_at: changed.reconnected.then_some(now).or(self.reconnected_at),
            disconnected_at: changed.disconnected.then_some(now).or(self.disconnected_at),
        }
    }

    fn is_recovering(&self) -> bool {
        matches!(
            self.record.health,
            HealthState::Degraded | HealthState::Broken | HealthState::Unknown
        )
    }

    fn host_reported(&mut self, report: HostReport, now: Timestamp) -> Vec<Effect> {
        self.host = report;
        let HostReport::Unavailable(reason) = &self.host else {
            return vec![];
        };
        let reason = reason.clone();
        // Problems are assessed afresh when the host reconnects.
        self.clear_faults(now, now);
        if self.record.stopped {
            return vec![];
        }
        self.health = ClusterHealth::Unknown;
        vec![Effect::Record {
            verdict: Verdict {
                state: HealthState::Unknown,
                reason,
            },
            fault: None,
        }]
    }

    fn inventory_arrived(&mut self, inventory: Inventory) -> Vec<Effect> {
        let earlier = self.known.has_arrived();
        self.known = match inventory {
            Inventory::Current => Known::Current,
            Inventory::Listed => Known::Earlier,
            Inventory::TimedOut => Known::Late(earlier),
            Inventory::Unavailable(why) => Known::Unavailable(why, earlier),
        };
        vec![]
    }

    fn operation_started(
        &mut self,
        kind: OperationKind,
        repairs: &BTreeSet<String>,
        restarts: bool,
        now: Timestamp,
    ) {
        match kind {
            OperationKind::ClusterCreate
            | OperationKind::ClusterReset
            | OperationKind::ClusterStart
            | OperationKind::ClusterRestart => self.nodes = NodeTracker::starting(),
            OperationKind::ClusterRepair => {
                self.repairs.note(repairs, now);
                if restarts {
                    self.nodes.restarted(now);
                }
            }
            _ => {}
        }
    }

    fn operation_ended(
        &mut self,
        kind: OperationKind,
        proven: bool,
        blocked: bool,
        at: Timestamp,
        now: Timestamp,
    ) {
        self.nodes.started();
        // A repair without a proof is one attempt within the cluster's recovery time; anything else restarts
        // that time.
        if proven {
            self.timers = Timers::default();
        }
        if !blocked {
            self.blocked_by = None;
        }
        if kind != OperationKind::ClusterRepair && kind != OperationKind::ClusterProve {
            self.clear_faults(at, now);
        }
    }

    /// Clears everything that counts towards a repair or a reset, and the exits reported until `at`.
    fn clear_faults(&mut self, at: Timestamp, now: Timestamp) {
        self.nodes.clear_faults(now);
        self.exits.clear_until(at);
        self.repairs.recovered();
        self.blocked_by = None;
        self.timers = Timers::default();
        self.concluded = None;
    }

    /// Takes over a probe: asks for more, or concludes with a verdict and its consequences.
    fn assess(&mut self, mut evidence: Evidence, policy: &HealthPolicy, now: Timestamp) -> Vec<Effect> {
        let assessment = &policy.assessment;
        let changed = self.nodes.transitions(&evidence.nodes);
        let conclusive = self.known != Known::Earlier;
        self.nodes
            .observe(&evidence.nodes, &self.record.stopped_nodes, conclusive, now);
        if self.known == Known::Nothing {
            return vec![Effect::ListNow {
                limit: Some(assessment.inventory_timeout),
            }];
        }
        if !conclusive && !self.nodes.all_up() {
            // Something differs from the last inventory: a paused, removed or started node. On a busy machine a
            // node may also respond late once.
            let mut effects = vec![Effect::ListNow {
                limit: Some(assessment.inventory_timeout),
            }];
            if self.nodes.any_late() {
                effects.push(Effect::ProbeAgain {
                    after: std::time::Duration::ZERO,
                });
            }
            return effects;
        }
        let known = self.known.clone();
        self.known = match &known {
            Known::Late(earlier) => Known::Late(*earlier),
            Known::Unavailable(_, false) | Known::Nothing => Known::Nothing,
            Known::Unavailable(_, true) | Known::Earlier | Known::Current => Known::Earlier,
        };
        let responds = known.has_arrived() && evidence.nodes.values().any(|node| node.answers);
        let mut effects = vec![];
        if let Known::Late(_) = known {
            // The ledger's own evidence has to do until the inventory arrives.
            effects.push(Effect::ListNow { limit: None });
            if !responds {
                return effects;
            }
        }
        if let Known::Unavailable(why, _) = &known
            && !responds
        {
            evidence.verdict = Verdict {
                state: HealthState::Unknown,
                reason: format!("no node responds, and the platform's inventory is unavailable: {why}"),
            };
            (evidence.fault, evidence.lost, evidence.crash_loop) = (None, None, None);
        }
        self.note_transitions(changed, now);
        self.note_progress(evidence.progress, now);
        effects.extend(self.conclude(evidence, known.is_reliable(), policy, now));
        effects
    }

    /// A cluster with a missing node is not healthy, even before the verdict on it.
    fn note_missing_nodes(&mut self) {
        if matches!(self.health, ClusterHealth::Healthy | ClusterHealth::Unproven) && self.nodes.any_missing()
        {
            self.health = ClusterHealth::Degraded;
        }
    }

    fn note_transitions(&mut self, changed: Transitions, now: Timestamp) {
        if changed.reconnected {
            self.reconnected_at = Some(now);
        }
        if changed.disconnected {
            self.disconnected_at = Some(now);
        }
    }

    /// Keeps the furthest progress. A sign without order is progress each time.
    fn note_progress(&mut self, progress: Option<Progress>, now: Timestamp) {
        self.progress = match (self.progress, progress) {
            (known, None) => known,
            (Some((Progress::At(known), since)), Some(Progress::At(new))) if new <= known => {
                Some((Progress::At(known), since))
            }
            (_, Some(new)) => Some((new, now)),
        };
    }
}
