//! Judges evidence. Pure.
//!
//! Reasons name no figure that changes from one look to the next, so that one verdict stays one verdict.

use super::parameters::Parameters;
use crate::{Past, Verdict, began_again_text};
use chainpool_api::{Evidence, HealthState, NodeEvidence, Timestamp};

/// The least time after which a height is stalled.
const STALLED_MS: i64 = 10_000;

/// Judges what was seen now in the light of what was seen before. The gravest finding decides.
pub(super) fn verdict(parameters: &Parameters, evidence: &Evidence, past: &Past, now: Timestamp) -> Verdict {
    let found = Findings::of(evidence);
    if evidence.nodes.is_empty() {
        return verdict_of(HealthState::Unknown, "nothing is known of its validators");
    }
    if evidence.agree == Some(false) {
        return broken(format!(
            "validators have different blocks at the same height: {}",
            hashes(evidence)
        ));
    }
    // Validators that have just begun connect within seconds. When they do not, the height stalls.
    let may_connect = found.voter_behind && is_quorum(found.answering, found.total);
    if !found.connected && !may_connect {
        return broken(found.lost_text());
    }
    let enough_vote = !found.decides || is_quorum(found.voting, found.total);
    if is_stalled(parameters, evidence, past, now, enough_vote) {
        let although = if found.decides {
            "although enough validators answer"
        } else {
            "and validators outside this cluster decide"
        };
        return broken(match evidence.height.max(past.height) {
            None => format!("it makes no block, {although}"),
            Some(height) => format!("no block follows height {height}, {although}"),
        });
    }
    if !found.connected {
        return degraded(found.behind_text());
    }
    if !found.missing.is_empty() {
        return degraded(format!("{}; it still commits", found.missing_text()));
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
            "{part} of {all} of the voting power is connected; it still commits"
        ));
    }
    if !found.non_validators_missing.is_empty() {
        return degraded(format!(
            "{}; it still commits",
            found.non_validators_missing_text()
        ));
    }
    if !found.closed.is_empty() {
        return degraded(found.closed_text());
    }
    match evidence.height {
        None => degraded("its validators are up; it has made no block yet".to_owned()),
        Some(height) if !has_recovered(parameters, height, past) => {
            degraded("all validators take part again; a new block has yet to follow".to_owned())
        }
        Some(_) => verdict_of(HealthState::Healthy, &found.healthy_text()),
    }
}

/// Whether so many validators of so many could commit on their own without their blocks: they would agree on other ones.
pub(super) fn loses_ledger(total: usize, lost: usize) -> bool {
    let of = |count| u64::try_from(count).unwrap_or(u64::MAX);
    is_quorum(of(lost), of(total))
}

/// Whether the ledger has begun again. Of a block that was seen, a quorum has the one before; so when a quorum votes and all that
/// answer are further below, blocks are lost.
pub(super) fn began_again(evidence: &Evidence, past: &Past) -> Option<String> {
    let found = Findings::of(evidence);
    let seen = past
        .height
        .filter(|seen| evidence.height.is_some_and(|height| height + 1 < *seen))?;
    (found.connected && is_quorum(found.voting, found.total)).then(|| began_again_text(seen))
}

/// Who takes part, by the evidence. Powers are those that the ledger told; before it has told any, each node counts as one.
struct Findings<'a> {
    /// The power of all validators.
    total: u64,
    /// The power of its nodes.
    own: u64,
    /// Whether its nodes have enough power to commit. Where users gave it to validators elsewhere, only blocks tell.
    decides: bool,
    /// The power of those that answer.
    answering: u64,
    /// The power of those that answer and vote.
    voting: u64,
    /// How many nodes are validators.
    validators: usize,
    /// Validators that do not run or do not answer.
    missing: Vec<(&'a str, &'a NodeEvidence)>,
    /// Nodes that answer and do not vote yet: they have just begun and look for the others, or fetch blocks.
    behind: Vec<&'a str>,
    /// Whether one of them is a validator.
    voter_behind: bool,
    /// Nodes that are validators no more, because a transaction of a user took their power.
    non_validators: Vec<&'a str>,
    /// Those of them that do not run or do not answer.
    non_validators_missing: Vec<(&'a str, &'a NodeEvidence)>,
    /// Nodes that take part and whose port for users does not answer.
    closed: Vec<&'a str>,
    /// Whether more than 2/3 of the power is connected; by the number of nodes where the ledger did not tell its powers.
    connected: bool,
    /// The power that is connected, and all, where the ledger told it.
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

    /// Why it cannot commit.
    fn lost_text(&self) -> String {
        let needed = "more than 2/3 of the power is needed to commit";
        match (self.missing.is_empty(), self.power) {
            (true, Some((part, all))) => {
                format!("{part} of {all} of the voting power is connected; {needed}")
            }
            _ => format!("{}; {needed}", self.missing_text()),
        }
    }

    fn healthy_text(&self) -> String {
        let all = match self.validators {
            1 => "its validator answers and makes blocks".to_owned(),
            validators => format!("all {validators} validators take part and agree"),
        };
        match self.non_validators.as_slice() {
            [] => all,
            [one] => format!("{all}; {one} is no longer a validator, a transaction removed its voting power"),
            many => format!(
                "{all}; {} are no longer validators, transactions removed their voting power",
                many.join(", ")
            ),
        }
    }

    /// Who does not vote yet.
    fn behind_text(&self) -> String {
        format!("catching up with the others: {}", self.behind.join(", "))
    }

    /// Who is missing, and what is known of them.
    fn missing_text(&self) -> String {
        let who = told(&self.missing);
        match (self.missing.len(), self.validators) {
            (1, 1) => format!("its only validator does not take part ({who})"),
            (1, total) => format!("1 of {total} validators does not take part ({who})"),
            (missing, total) => format!("{missing} of {total} validators do not take part ({who})"),
        }
    }

    fn non_validators_missing_text(&self) -> String {
        let who = told(&self.non_validators_missing);
        match self.non_validators_missing.len() {
            1 => format!("1 node without voting power does not take part ({who})"),
            missing => format!("{missing} nodes without voting power do not take part ({who})"),
        }
    }

    fn closed_text(&self) -> String {
        format!(
            "it commits, but the port for users does not answer at {}: clients may have used up its connections",
            self.closed.join(", ")
        )
    }
}

/// Nodes and what is known of them.
fn told(nodes: &[(&str, &NodeEvidence)]) -> String {
    let of = |(name, node): &(&str, &NodeEvidence)| match node.process.as_str() {
        "running" => format!("{name} runs and does not answer"),
        process => format!("{name} {process}"),
    };
    nodes.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// Whether a part can commit.
fn is_quorum(part: u64, all: u64) -> bool {
    3 * u128::from(part) > 2 * u128::from(all)
}

/// Whether a block is overdue. An idle ledger without empty blocks may rest for ever, so there a resting height counts only
/// together with a second sign: too few validators vote.
fn is_stalled(
    parameters: &Parameters,
    evidence: &Evidence,
    past: &Past,
    now: Timestamp,
    enough_vote: bool,
) -> bool {
    if evidence.height > past.height || (!parameters.empty_blocks && enough_vote) {
        return false;
    }
    let idle_ms = if parameters.empty_blocks {
        i64::from(parameters.empty_block_interval_s) * 1000
    } else {
        0
    };
    let limit_ms = STALLED_MS.max(5 * i64::from(parameters.block_interval_ms)) + idle_ms;
    let rests_since = past.height_since.max(past.started_at).max(past.returned_at);
    rests_since.is_some_and(|since| now.millis_since(since) > limit_ms)
}

/// Whether a ledger that was not healthy has shown that it is again: a new block, or, where blocks come only with
/// transactions or seldom without, that all of it is connected, which the caller has found.
fn has_recovered(parameters: &Parameters, height: u64, past: &Past) -> bool {
    let seldom = !parameters.empty_blocks || i64::from(parameters.empty_block_interval_s) * 1000 > STALLED_MS;
    !past.recovering || Some(height) > past.height || seldom
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
#[path = "verdict_tests.rs"]
mod tests;
