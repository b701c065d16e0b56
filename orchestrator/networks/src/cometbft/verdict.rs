//! Assesses evidence. Pure.
//!
//! Reasons contain no value that changes between probes, so a verdict stays the same.

use super::parameters::Parameters;
use crate::{History, Verdict, ledger_regression_reason};
use chainpool_api::{Evidence, HealthState, NodeEvidence, ProcessState, Timestamp};
use chainpool_health::{CometBft, millis};

/// Assesses evidence together with the history. The most severe finding decides.
pub(super) fn verdict(
    parameters: &Parameters,
    evidence: &Evidence,
    history: &History,
    policy: &CometBft,
    now: Timestamp,
) -> Verdict {
    let found = Findings::of(evidence);
    if evidence.nodes.is_empty() {
        return verdict_of(HealthState::Unknown, "no information about the validators");
    }
    if evidence.agree == Some(false) {
        return broken(format!(
            "validators have different blocks at the same height: {}",
            hashes(evidence)
        ));
    }
    // Newly started validators connect within seconds. If they do not, the height stalls.
    let may_connect = found.voter_behind && is_quorum(found.answering, found.total);
    if !found.connected && !may_connect {
        return broken(found.lost_text());
    }
    let enough_vote = !found.decides || is_quorum(found.voting, found.total);
    if is_stalled(parameters, evidence, history, policy, now, enough_vote) {
        let cause = if found.decides {
            " although enough validators are responsive"
        } else {
            ": validators outside this cluster decide"
        };
        return broken(match evidence.height.max(history.position()) {
            None => format!("no block produced{cause}"),
            Some(height) => format!("no new block after height {height}{cause}"),
        });
    }
    if !found.connected {
        return degraded(found.behind_text());
    }
    if !found.missing.is_empty() {
        return degraded(format!("{}; still committing", found.missing_text()));
    }
    if !found.behind.is_empty() {
        return degraded(found.behind_text());
    }
    if !found.decides {
        let (own, all) = (found.own, found.total);
        return degraded(format!(
            "{} of {all} of the voting power belongs to validators outside this cluster",
            all.saturating_sub(own)
        ));
    }
    if let Some((part, all)) = evidence.power.filter(|(part, all)| part < all) {
        return degraded(format!(
            "{part} of {all} of the voting power connected; still committing"
        ));
    }
    if !found.non_validators_missing.is_empty() {
        return degraded(format!(
            "{}; still committing",
            found.non_validators_missing_text()
        ));
    }
    if !found.closed.is_empty() {
        return degraded(found.closed_text());
    }
    match evidence.height {
        None => degraded("the validators are up; no block produced yet".to_owned()),
        Some(height) if !has_recovered(parameters, height, history, policy) => {
            degraded("all validators available again; waiting for a new block".to_owned())
        }
        Some(_) => verdict_of(HealthState::Healthy, &found.healthy_text()),
    }
}

/// Returns true if the validators without blocks form a quorum: they would commit different blocks.
pub(super) fn loses_ledger(total: usize, lost: usize) -> bool {
    let of = |count| u64::try_from(count).unwrap_or(u64::MAX);
    is_quorum(of(lost), of(total))
}

/// Reason if the ledger lost blocks. A quorum has the block before any block seen; so if a quorum votes and
/// all responsive nodes are below that, blocks are lost.
pub(super) fn ledger_regression(evidence: &Evidence, history: &History) -> Option<String> {
    let found = Findings::of(evidence);
    let seen = history
        .position()
        .filter(|seen| evidence.height.is_some_and(|height| height + 1 < *seen))?;
    (found.connected && is_quorum(found.voting, found.total)).then(|| ledger_regression_reason(seen))
}

/// Findings from the evidence. Powers are those that the ledger reports; without a report each node counts as
/// one.
struct Findings<'a> {
    /// Voting power of all validators.
    total: u64,
    /// Voting power of the cluster's nodes.
    own: u64,
    /// The cluster's nodes can form a quorum. If users moved power to validators elsewhere, only blocks are
    /// evidence.
    decides: bool,
    /// Voting power of responsive nodes.
    answering: u64,
    /// Voting power of responsive nodes that vote.
    voting: u64,
    /// Number of nodes that are validators.
    validators: usize,
    /// Unavailable validators.
    missing: Vec<(&'a str, &'a NodeEvidence)>,
    /// Responsive nodes that do not vote yet: they are connecting or catching up.
    behind: Vec<&'a str>,
    /// One of `behind` is a validator.
    voter_behind: bool,
    /// Nodes that are no longer validators, because a transaction removed their power.
    non_validators: Vec<&'a str>,
    /// Unavailable ones of `non_validators`.
    non_validators_missing: Vec<(&'a str, &'a NodeEvidence)>,
    /// Participating nodes with an unresponsive client port.
    closed: Vec<&'a str>,
    /// More than 2/3 of the power is connected; of the nodes if the ledger does not report powers.
    connected: bool,
    /// Connected and total power, if the ledger reports it.
    power: Option<(u64, u64)>,
}

impl<'a> Findings<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let nodes = || evidence.nodes.iter().map(|(name, node)| (name.as_str(), node));
        let weight = |node: &NodeEvidence| node.power.unwrap_or(1);
        let is_behind = |node: &NodeEvidence| node.answers && node.catching_up == Some(true);
        let power_of = |which: &dyn Fn(&NodeEvidence) -> bool| {
            nodes()
                .filter(|(_, node)| which(node))
                .map(|(_, node)| weight(node))
                .sum()
        };
        let (voters, non_validators): (Vec<_>, Vec<_>) = nodes().partition(|(_, node)| weight(node) > 0);
        let has_powers = nodes().any(|(_, node)| node.power.is_some());
        let total = evidence
            .power
            .filter(|_| has_powers)
            .map_or_else(|| power_of(&|_| true), |(_, all)| all);
        let answering = power_of(&|node| node.answers);
        let own = power_of(&|_| true);
        let decides = is_quorum(own, total) || total == 0;
        let missing_of = |these: &[(&'a str, &'a NodeEvidence)]| {
            these.iter().filter(|(_, node)| !node.answers).copied().collect()
        };
        Self {
            total,
            own,
            decides,
            answering,
            voting: power_of(&|node| node.answers && !is_behind(node)),
            validators: voters.len(),
            missing: missing_of(&voters),
            behind: nodes()
                .filter(|(_, node)| is_behind(node))
                .map(|(name, _)| name)
                .collect(),
            voter_behind: voters.iter().any(|(_, node)| is_behind(node)),
            non_validators_missing: missing_of(&non_validators),
            non_validators: non_validators.into_iter().map(|(name, _)| name).collect(),
            closed: nodes()
                .filter(|(_, node)| node.closed_to_users.is_some())
                .map(|(name, _)| name)
                .collect(),
            connected: !decides
                || evidence
                    .power
                    .map_or_else(|| is_quorum(answering, total), |(part, all)| is_quorum(part, all)),
            power: evidence.power,
        }
    }

    /// Reason why the ledger cannot commit.
    fn lost_text(&self) -> String {
        let needed = "more than 2/3 of the voting power required to commit";
        match (self.missing.is_empty(), self.power) {
            (true, Some((part, all))) => {
                format!("{part} of {all} of the voting power connected; {needed}")
            }
            _ => format!("{}; {needed}", self.missing_text()),
        }
    }

    fn healthy_text(&self) -> String {
        let all = match self.validators {
            1 => "the validator is responsive and produces blocks".to_owned(),
            validators => format!("all {validators} validators participate and agree"),
        };
        match self.non_validators.as_slice() {
            [] => all,
            [one] => format!("{all}; {one} is no longer a validator: a transaction removed its voting power"),
            many => format!(
                "{all}; {} are no longer validators: transactions removed their voting power",
                many.join(", ")
            ),
        }
    }

    /// Nodes that do not vote yet.
    fn behind_text(&self) -> String {
        format!("catching up: {}", self.behind.join(", "))
    }

    /// Unavailable validators with their process states.
    fn missing_text(&self) -> String {
        let who = node_list(&self.missing);
        match (self.missing.len(), self.validators) {
            (1, 1) => format!("the only validator is unavailable ({who})"),
            (missing, total) => format!("{missing} of {total} validators unavailable ({who})"),
        }
    }

    fn non_validators_missing_text(&self) -> String {
        let who = node_list(&self.non_validators_missing);
        match self.non_validators_missing.len() {
            1 => format!("1 node without voting power unavailable ({who})"),
            missing => format!("{missing} nodes without voting power unavailable ({who})"),
        }
    }

    fn closed_text(&self) -> String {
        format!(
            "committing, but the client port is unresponsive at {}: clients may have exhausted its connections",
            self.closed.join(", ")
        )
    }
}

/// Unavailable nodes with their process states.
fn node_list(nodes: &[(&str, &NodeEvidence)]) -> String {
    let of = |(name, node): &(&str, &NodeEvidence)| match &node.process {
        ProcessState::Running => format!("{name} is running but unresponsive"),
        process => format!("{name} {process}"),
    };
    nodes.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// Returns true if this part of the voting power can commit.
pub(super) fn is_quorum(part: u64, all: u64) -> bool {
    3 * u128::from(part) > 2 * u128::from(all)
}

/// Returns true if a block is overdue. An idle ledger without empty blocks keeps its height indefinitely, so
/// there a constant height counts only if too few validators vote as well.
fn is_stalled(
    parameters: &Parameters,
    evidence: &Evidence,
    history: &History,
    policy: &CometBft,
    now: Timestamp,
    enough_vote: bool,
) -> bool {
    if evidence.height > history.position() || (!parameters.empty_blocks && enough_vote) {
        return false;
    }
    let idle_ms = if parameters.empty_blocks {
        i64::from(parameters.empty_block_interval_s) * 1000
    } else {
        0
    };
    let limit_ms = millis(policy.stalled).max(5 * i64::from(parameters.block_interval_ms)) + idle_ms;
    let unchanged_since = history
        .progress_since
        .max(history.started_at)
        .max(history.reconnected_at);
    unchanged_since.is_some_and(|since| now.millis_since(since) > limit_ms)
}

/// Returns true if the recovery is confirmed: by a new block, or, if blocks without transactions are disabled
/// or rare, by the connected voting power, which the caller has checked.
fn has_recovered(parameters: &Parameters, height: u64, history: &History, policy: &CometBft) -> bool {
    let blocks_are_rare = !parameters.empty_blocks
        || i64::from(parameters.empty_block_interval_s) * 1000 > millis(policy.stalled);
    !history.recovering || Some(height) > history.position() || blocks_are_rare
}

fn hashes(evidence: &Evidence) -> String {
    let of =
        |(name, node): (&String, &NodeEvidence)| Some(format!("{name} {}", node.hash.as_deref()?.get(..8)?));
    evidence
        .nodes
        .iter()
        .filter_map(of)
        .collect::<Vec<_>>()
        .join(", ")
}

fn broken(reason: String) -> Verdict {
    Verdict {
        state: HealthState::Broken,
        reason,
    }
}

fn degraded(reason: String) -> Verdict {
    Verdict {
        state: HealthState::Degraded,
        reason,
    }
}

fn verdict_of(state: HealthState, reason: &str) -> Verdict {
    Verdict {
        state,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
