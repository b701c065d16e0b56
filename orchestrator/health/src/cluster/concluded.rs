//! A concluded assessment, as far as its consequences depend on it.

use chainpool_api::{HealthState, Timestamp};

/// A concluded assessment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Concluded {
    pub(super) state: HealthState,
    /// The ledger is lost; a start would create another one.
    pub(super) ledger_lost: bool,
    /// The cluster seems healthy again and has no new proof.
    pub(super) needs_proof: bool,
    /// Nothing follows from it.
    pub(super) suspended: bool,
    /// The verdict is bad and has no effect, because the cluster was started recently.
    pub(super) held_back: bool,
    pub(super) at: Timestamp,
}

impl Concluded {
    pub(super) fn is_bad(self) -> bool {
        matches!(self.state, HealthState::Degraded | HealthState::Broken)
    }
}
