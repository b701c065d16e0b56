//! Availability of a host as a state machine. Pure: no I/O and no clock.
//!
//! A host that reconnects may start all its nodes at once. Until it has been quiet for a while, nothing there is
//! reset. `docs/health.md` draws the machine.

use crate::{HealthPolicy, millis};
use chainpool_api::{HostState, Timestamp};

/// Availability of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAvailability {
    /// It responds, and has for a while.
    Available,
    /// It responds again, and its platform may still be starting nodes.
    WarmingUp {
        /// When it responded first.
        since: Timestamp,
        /// When the last node started there afterwards.
        last_node_up: Option<Timestamp>,
    },
    /// It responds but cannot report its state, for example while managers elect a leader. Its clusters continue.
    Busy {
        /// When it last reported its state.
        since: Timestamp,
    },
    /// It does not respond.
    Unreachable {
        /// Since when.
        since: Timestamp,
        /// Why.
        error: String,
    },
    /// Nothing is changed there until an operator ends the pause.
    Paused {
        /// Why.
        reason: String,
    },
}

/// One piece of news about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostInput {
    /// The record: an operator may have changed it.
    Recorded {
        /// The recorded state.
        state: HostState,
        /// Its reason.
        reason: String,
        /// Since when.
        since: Timestamp,
        /// When the host last reported its state.
        reported_at: Option<Timestamp>,
    },
    /// A probe ended.
    Probed(Probed),
    /// The platform's event stream was interrupted: anything there may have restarted meanwhile.
    EventsInterrupted,
    /// A node became responsive at this time.
    NodeUp(Timestamp),
}

/// The outcome of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The registered platform reported its state.
    Reported,
    /// Another platform responds at the address.
    Other {
        /// The text for the operator.
        reason: String,
    },
    /// It responds and cannot report its state.
    Busy {
        /// Why.
        reason: String,
    },
    /// It does not respond.
    Failed {
        /// Why.
        error: String,
    },
}

/// A request of a host's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEffect {
    /// Record this state.
    Record {
        /// The state.
        state: HostState,
        /// Its reason; empty if there is none.
        reason: String,
    },
    /// Assess all clusters of the host: what is known about them has changed.
    AssessClusters,
}

/// State of a host's machine. In memory only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    availability: HostAvailability,
    /// When the host first responded, since this process started, it was unreachable or its event stream was
    /// interrupted; `None`: not yet.
    reachable_since: Option<Timestamp>,
    /// When it reconnected, or the last node started there afterwards.
    quiet_since: Timestamp,
    /// It was unreachable, so its platform may start everything at once.
    may_start_nodes: bool,
    reported_at: Option<Timestamp>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            availability: HostAvailability::Available,
            reachable_since: None,
            quiet_since: Timestamp(0),
            may_start_nodes: false,
            reported_at: None,
        }
    }
}

/// Advances a host's machine by one input.
pub fn host_step(
    mut host: Host,
    input: HostInput,
    policy: &HealthPolicy,
    now: Timestamp,
) -> (Host, Vec<HostEffect>) {
    let effects = match input {
        HostInput::Recorded {
            state,
            reason,
            since,
            reported_at,
        } => {
            host.reported_at = host.reported_at.max(reported_at);
            host.recorded(state, reason, since);
            vec![]
        }
        HostInput::Probed(probed) => host.probed(probed, policy, now),
        HostInput::EventsInterrupted => {
            host.reachable_since = None;
            vec![]
        }
        HostInput::NodeUp(at) => {
            host.node_up(at, policy);
            vec![]
        }
    };
    host.warm_up(policy, now);
    (host, effects)
}

impl Host {
    /// Availability of the host.
    pub fn availability(&self) -> &HostAvailability {
        &self.availability
    }

    /// The public state of the host.
    pub fn state(&self) -> HostState {
        match self.availability {
            HostAvailability::Available
            | HostAvailability::WarmingUp { .. }
            | HostAvailability::Busy { .. } => HostState::Active,
            HostAvailability::Unreachable { .. } => HostState::Unreachable,
            HostAvailability::Paused { .. } => HostState::Paused,
        }
    }

    /// When the host reconnected, or the last node started there afterwards. `None`: it is unavailable, or this
    /// process has not probed it since its event stream was interrupted.
    pub fn quiet_since(&self) -> Option<Timestamp> {
        self.reachable_since.map(|_| self.quiet_since)
    }

    fn recorded(&mut self, state: HostState, reason: String, since: Timestamp) {
        if self.state() == state {
            if let HostAvailability::Paused { reason: known } = &mut self.availability {
                *known = reason;
            }
            return;
        }
        match state {
            // Somebody ended a pause.
            HostState::Active => self.availability = HostAvailability::Available,
            HostState::Unreachable => {
                self.unavailable(HostAvailability::Unreachable { since, error: reason });
            }
            HostState::Paused => self.unavailable(HostAvailability::Paused { reason }),
        }
    }

    fn unavailable(&mut self, availability: HostAvailability) {
        self.availability = availability;
        self.reachable_since = None;
        self.may_start_nodes = true;
    }

    fn probed(&mut self, probed: Probed, policy: &HealthPolicy, now: Timestamp) -> Vec<HostEffect> {
        let before = self.state();
        match probed {
            Probed::Reported => {
                self.reported_at = Some(now);
                if before != HostState::Paused {
                    self.responded(policy, now);
                }
            }
            Probed::Other { reason } => self.unavailable(HostAvailability::Paused { reason }),
            Probed::Busy { reason } => {
                let reported = self.reported_at.filter(|at| {
                    before == HostState::Active && now.millis_since(*at) < millis(policy.host.busy_max)
                });
                let Some(since) = reported else {
                    return self.failed(reason, before, now);
                };
                self.availability = HostAvailability::Busy { since };
                return vec![];
            }
            Probed::Failed { error } => return self.failed(error, before, now),
        }
        self.effects(before)
    }

    /// The host does not respond, or has not reported its state for too long.
    fn failed(&mut self, error: String, before: HostState, now: Timestamp) -> Vec<HostEffect> {
        match &mut self.availability {
            HostAvailability::Paused { reason } => *reason = error,
            HostAvailability::Unreachable { error: known, .. } => *known = error,
            _ => self.unavailable(HostAvailability::Unreachable { since: now, error }),
        }
        self.effects(before)
    }

    fn responded(&mut self, policy: &HealthPolicy, now: Timestamp) {
        match self.reachable_since {
            None => {
                (self.reachable_since, self.quiet_since) = (Some(now), now);
                self.availability = HostAvailability::WarmingUp {
                    since: now,
                    last_node_up: None,
                };
            }
            Some(since) => {
                self.may_start_nodes &= starts_up(since, now, policy);
                if matches!(self.availability, HostAvailability::Busy { .. }) {
                    self.availability = HostAvailability::Available;
                }
            }
        }
    }

    /// A node started to respond, perhaps the last of those that the platform starts after a reconnect.
    fn node_up(&mut self, at: Timestamp, policy: &HealthPolicy) {
        if self.may_start_nodes
            && self
                .reachable_since
                .is_some_and(|since| starts_up(since, at, policy))
        {
            self.quiet_since = self.quiet_since.max(at);
        }
    }

    /// Shows whether the host is still warming up.
    fn warm_up(&mut self, policy: &HealthPolicy, now: Timestamp) {
        let Some(since) = self.reachable_since else { return };
        if !matches!(
            self.availability,
            HostAvailability::Available | HostAvailability::WarmingUp { .. }
        ) {
            return;
        }
        self.availability = if now.millis_since(self.quiet_since) >= millis(policy.host.settle) {
            HostAvailability::Available
        } else {
            HostAvailability::WarmingUp {
                since,
                last_node_up: (self.quiet_since > since).then_some(self.quiet_since),
            }
        };
    }

    fn effects(&self, before: HostState) -> Vec<HostEffect> {
        let state = self.state();
        let reason = match &self.availability {
            HostAvailability::Unreachable { error, .. } => error.clone(),
            HostAvailability::Paused { reason } => reason.clone(),
            _ => String::new(),
        };
        let mut effects = vec![HostEffect::Record { state, reason }];
        if state != before {
            effects.push(HostEffect::AssessClusters);
        }
        effects
    }
}

/// `true` if a node that starts now counts as started by the platform of its reconnected host.
fn starts_up(reachable_since: Timestamp, now: Timestamp, policy: &HealthPolicy) -> bool {
    now.millis_since(reachable_since) <= millis(policy.host.startup)
}

#[cfg(test)]
mod tests;
