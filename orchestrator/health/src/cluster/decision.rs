//! The conclusion of an assessment: the verdict, and what follows from it.

use super::{Cluster, ClusterHealth, Effect, Evidence, HostReport, Timers, Verdict, concluded::Concluded};
use crate::{HealthPolicy, millis, text};
use chainpool_api::{HealthState, OperationKind, Timestamp};
use std::{collections::BTreeSet, time::Duration};

/// A concluded assessment, and the time at which its consequences are decided.
struct Conclusion<'a> {
    concluded: Concluded,
    policy: &'a HealthPolicy,
    now: Timestamp,
}

impl Conclusion<'_> {
    fn elapsed(&self, since: Option<Timestamp>, limit: Duration) -> bool {
        since.is_some_and(|since| self.now.millis_since(since) >= millis(limit))
    }
}

impl Cluster {
    /// Concludes an assessment. `reliable`: the platform's inventory is.
    pub(super) fn conclude(
        &mut self,
        evidence: Evidence,
        reliable: bool,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> Vec<Effect> {
        let fault = self.record.fault.clone().or_else(|| evidence.fault.clone());
        let ledger_lost = fault.is_some() || evidence.lost.as_ref().is_some_and(|lost| lost.ledger);
        let verdict = self.verdict(&evidence, fault.as_deref());
        let in_grace = self.in_grace(policy, now);
        let suspended = !reliable
            || self.record.maintenance
            || self.record.paused
            || in_grace
            || evidence.saturated
            || !matches!(self.host, HostReport::Reachable { .. });
        self.run_timers(verdict.state, suspended, now);
        let needs_proof = self.is_recovering()
            && !self.record.leased
            && !self.record.maintenance
            && verdict.state == HealthState::Healthy;
        let mut concluded = Concluded {
            state: verdict.state,
            ledger_lost,
            needs_proof,
            suspended,
            held_back: false,
            at: now,
        };
        let held_back = in_grace && concluded.is_bad() && !ledger_lost;
        concluded.held_back = held_back;
        self.concluded = Some(concluded);
        let conclusion = Conclusion {
            concluded,
            policy,
            now,
        };
        self.health = match verdict.state {
            _ if held_back => ClusterHealth::Starting,
            HealthState::Healthy if needs_proof => ClusterHealth::Unproven,
            HealthState::Healthy => ClusterHealth::Healthy,
            HealthState::Degraded => ClusterHealth::Degraded,
            HealthState::Broken => ClusterHealth::Broken {
                confirmed: conclusion.elapsed(self.timers.broken, policy.repair.broken_confirm),
            },
            _ => ClusterHealth::Unknown,
        };
        // An operation that changes the cluster ends with a verdict of its own.
        if !matches!(
            self.record.operation,
            None | Some(OperationKind::ClusterRepair | OperationKind::ClusterProve)
        ) {
            return vec![];
        }
        let mut effects = vec![];
        if !needs_proof && !held_back {
            effects.push(Effect::Record {
                verdict,
                fault: evidence.fault,
            });
        }
        if !suspended {
            effects.extend(self.decide(&conclusion));
        }
        effects
    }

    /// `true` for a while after a start: a bad verdict has no effect yet.
    fn in_grace(&self, policy: &HealthPolicy, now: Timestamp) -> bool {
        self.record.health == HealthState::Starting
            && now.millis_since(self.record.started_at) < millis(policy.assessment.start_grace)
    }

    /// `true` if an earlier conclusion has a consequence now that it did not have then.
    pub(super) fn decides_later(&self, concluded: Concluded, policy: &HealthPolicy, now: Timestamp) -> bool {
        if concluded.held_back {
            return !self.in_grace(policy, now);
        }
        let decide = |now| {
            self.decide(&Conclusion {
                concluded,
                policy,
                now,
            })
        };
        !concluded.suspended && decide(now).is_some_and(|next| decide(concluded.at) != Some(next))
    }

    /// The verdict of the network type, and what it cannot know.
    fn verdict(&self, evidence: &Evidence, fault: Option<&str>) -> Verdict {
        let broken = |reason: &str| Verdict {
            state: HealthState::Broken,
            reason: reason.to_owned(),
        };
        let mut verdict = match &evidence.crash_loop {
            Some(reason) => broken(reason),
            None => evidence.verdict.clone(),
        };
        match (&evidence.lost, fault) {
            (Some(lost), _) if lost.ledger => verdict = broken(&lost.text),
            (_, Some(reason)) => verdict = broken(reason),
            (lost, None) if verdict.state != HealthState::Healthy => {
                let lost = lost.as_ref().map(|lost| lost.text.clone());
                let blocked = self
                    .blocked_by
                    .as_ref()
                    .map(|why| format!("it cannot be repaired now: {why}"));
                for more in lost.into_iter().chain(blocked) {
                    verdict.reason = format!("{}; {more}", verdict.reason);
                }
            }
            _ => {}
        }
        if verdict.state != HealthState::Healthy && !self.record.stopped_nodes.is_empty() {
            let stopped: Vec<&str> = self.record.stopped_nodes.iter().map(String::as_str).collect();
            verdict.reason = format!("{} (stopped on request: {})", verdict.reason, stopped.join(", "));
        }
        verdict
    }

    /// Runs the timers of bad evidence. While nothing may be done, they do not start.
    fn run_timers(&mut self, state: HealthState, suspended: bool, now: Timestamp) {
        let broken = state == HealthState::Broken;
        let bad = broken || state == HealthState::Degraded;
        self.timers = if suspended || !bad {
            Timers::default()
        } else {
            Timers {
                unhealthy: self.timers.unhealthy.or(Some(now)),
                first_broken: self.timers.first_broken.or(broken.then_some(now)),
                broken: self.timers.broken.filter(|_| broken).or(broken.then_some(now)),
            }
        };
        if state == HealthState::Healthy {
            self.repairs.recovered();
            self.nodes.recovered();
            self.blocked_by = None;
        }
    }

    fn decide(&self, conclusion: &Conclusion<'_>) -> Option<Effect> {
        if let Some(why) = self.reason_to_reset(conclusion) {
            return Some(Effect::Reset(why));
        }
        let lagging = self
            .exits
            .within(conclusion.policy.assessment.inventory_lag, conclusion.now)
            .next()
            .is_some();
        let concluded = conclusion.concluded;
        if concluded.ledger_lost
            || self.record.operation.is_some()
            || lagging
            || !(concluded.is_bad() || concluded.needs_proof)
        {
            return None;
        }
        let start = self.nodes.to_start();
        let restart = match self.host {
            HostReport::Reachable {
                quiet_since: Some(quiet),
            } => self.nodes.overdue(conclusion.policy, quiet, conclusion.now),
            _ => BTreeSet::new(),
        };
        let restart: BTreeSet<String> = restart.difference(&start).cloned().collect();
        let nodes: BTreeSet<String> = start.union(&restart).cloned().collect();
        let backoff = &conclusion.policy.repair.backoff;
        if self.repairs.is_too_soon(&nodes, backoff, conclusion.now) {
            return None;
        }
        // Without a node to repair, a free cluster can still be proven healthy; a leased one is left to its
        // ledger.
        match (nodes.is_empty(), concluded.needs_proof) {
            (true, false) => None,
            (true, true) => Some(Effect::Prove),
            (false, _) => Some(Effect::Repair { start, restart }),
        }
    }

    /// Why the cluster must be reset, if it must.
    fn reason_to_reset(&self, conclusion: &Conclusion<'_>) -> Option<String> {
        let HealthPolicy { repair, host, .. } = conclusion.policy;
        let HostReport::Reachable { quiet_since } = self.host else {
            return None;
        };
        // A reconnected engine starts its containers itself, and the ledger needs a moment to recover.
        if self.record.leased || !conclusion.elapsed(quiet_since, host.settle) {
            return None;
        }
        let Timers {
            unhealthy,
            first_broken,
            broken,
        } = self.timers;
        let confirmed = conclusion.elapsed(broken, repair.broken_confirm);
        let concluded = conclusion.concluded;
        if concluded.ledger_lost {
            return confirmed.then(|| "the free cluster lost its ledger".to_owned());
        }
        if self.blocked_by.is_some() || !concluded.is_bad() {
            return None;
        }
        let only_slow = self.nodes.only_slow();
        if !only_slow && concluded.state == HealthState::Broken && confirmed {
            Some("the free cluster is broken".to_owned())
        } else if !only_slow && conclusion.elapsed(first_broken, repair.broken_reset) {
            Some(format!(
                "still unhealthy {} after a failure",
                text(repair.broken_reset)
            ))
        } else if conclusion.elapsed(unhealthy, repair.degraded_reset) {
            Some(format!("still unhealthy after {}", text(repair.degraded_reset)))
        } else {
            None
        }
    }
}
