//! Health verdicts from evidence. Pure. Reasons contain no figure that changes between probes.

use super::{chain::is_quorum, render::Parameters};
use chainpool_api::{Evidence, HealthState, ProcessState, Timestamp};
use chainpool_health::{CometBft, millis};
use chainpool_networks::{History, Verdict};

/// Assesses the evidence in the light of the history, with the clock of the other BFT ledger. The gravest
/// finding decides.
pub(super) fn verdict(
    parameters: &Parameters,
    evidence: &Evidence,
    past: &History,
    policy: &CometBft,
    now: Timestamp,
) -> Verdict {
    let (state, reason) = assess(parameters, evidence, past, policy, now);
    Verdict { state, reason }
}

fn assess(
    parameters: &Parameters,
    evidence: &Evidence,
    past: &History,
    policy: &CometBft,
    now: Timestamp,
) -> (HealthState, String) {
    let total = evidence.nodes.len();
    let missing: Vec<_> = evidence.nodes.iter().filter(|(_, node)| !node.answers).collect();
    if total == 0 {
        return (HealthState::Unknown, "its nodes are unknown".to_owned());
    }
    if evidence.agree == Some(false) {
        return (
            HealthState::Broken,
            "nodes have different blocks at the same height".to_owned(),
        );
    }
    let absent = missing.iter().map(|(name, node)| match &node.process {
        ProcessState::Running => format!("{name} is running but unresponsive"),
        process => format!("{name} {process}"),
    });
    let absent = format!(
        "{} of {total} nodes missing ({})",
        missing.len(),
        absent.collect::<Vec<_>>().join(", ")
    );
    let (voting, all) = evidence
        .power
        .map_or((total - missing.len(), total), |(voting, all)| {
            (count(voting), count(all))
        });
    if !is_quorum(voting, all) {
        return (
            HealthState::Broken,
            format!("{absent}; more than 2/3 of the members are needed to commit"),
        );
    }
    let intervals = i64::try_from(parameters.interval_ms.saturating_mul(5)).unwrap_or(i64::MAX);
    let limit = millis(policy.stalled).max(intervals);
    let unchanged_since = past.progress_since.max(past.started_at).max(past.reconnected_at);
    if evidence.height <= past.position()
        && unchanged_since.is_some_and(|since| now.millis_since(since) > limit)
    {
        return (
            HealthState::Broken,
            "no new block, although enough members respond".to_owned(),
        );
    }
    if !missing.is_empty() {
        return (HealthState::Degraded, format!("{absent}; still committing"));
    }
    if voting < all {
        return (
            HealthState::Degraded,
            format!("{voting} of {all} members connected; still committing"),
        );
    }
    match evidence.height {
        None => (
            HealthState::Degraded,
            "its nodes are up; it has no block yet".to_owned(),
        ),
        Some(height) if past.recovering && Some(height) <= past.position() => (
            HealthState::Degraded,
            "all members available again; waiting for a new block".to_owned(),
        ),
        Some(_) => (
            HealthState::Healthy,
            format!("all {total} nodes respond and agree"),
        ),
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
