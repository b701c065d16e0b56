//! Judges evidence. Pure.
//!
//! Reasons name no figure that changes from one look to the next, so that one verdict stays one verdict. A channel makes no block
//! while nobody writes, so a height that rests says nothing; what counts is who leads, and who is there to order and to endorse.

use super::{consensus::Consensus, facts::Duty, parameters::Parameters, words};
use crate::{Past, Verdict, began_again_text};
use chainpool_api::{ChannelEvidence, Evidence, HealthState, NodeEvidence, Timestamp};
use std::collections::BTreeMap;

/// What nodes are called.
const ORDERERS: (&str, &str) = ("orderer", "orderers");
const PEERS: (&str, &str) = ("peer", "peers");
const CHAINCODES: (&str, &str) = ("chaincode", "chaincodes");
const DATABASES: (&str, &str) = ("state database", "state databases");
const SERVERS: (&str, &str) = ("Fabric CA", "Fabric CAs");

/// How long nodes that have just begun are given.
const START_MS: i64 = 12_000;
/// How long before its end a certificate is worth a word, and which part of its time that is at most.
const WARNING_DAYS: i64 = 30;
const WARNING_PART: i64 = 3;
const DAY_S: i64 = 86_400;

/// Judges what was seen now in the light of what was seen before. The gravest finding decides.
pub(super) fn verdict(parameters: &Parameters, evidence: &Evidence, past: &Past, now: Timestamp) -> Verdict {
    let found = Findings::of(parameters.consensus, evidence);
    if found.orderers.total() == 0 {
        return of(HealthState::Unknown, "nothing is known of its nodes".to_owned());
    }
    let broken = found
        .forked()
        .or_else(|| found.unordered(past, now))
        .or_else(|| found.leaderless(past, now))
        .or_else(|| found.unendorsed(past, now));
    if let Some(verdict) = broken {
        return verdict;
    }
    let unheard = found.unheard_text(past, now);
    let heard = if unheard.is_some() {
        found.heard()
    } else {
        found.orderers.present()
    };
    let margin = words::margin(found.consensus, heard, found.orderers.total());
    let degraded = [
        found.missing_text(),
        unheard,
        found.behind_text(),
        found.undefined_text(),
        ending_text(parameters, evidence, now),
    ];
    let degraded: Vec<String> = degraded.into_iter().flatten().collect();
    if degraded.is_empty() {
        return found
            .unproven(past)
            .unwrap_or_else(|| of(HealthState::Healthy, format!("{}; {margin}", found.whole_text())));
    }
    of(
        HealthState::Degraded,
        format!("{}; it still commits, {margin}", degraded.join("; ")),
    )
}

/// Whether the ledger has begun again: all orderers and peers answer and lack nothing of each other's, and none has the block before one that
/// was seen. The newest one may have been seen at a node a moment before it was lost with its machine.
pub(super) fn began_again(evidence: &Evidence, past: &Past) -> Option<String> {
    let seen = past
        .height
        .filter(|seen| evidence.height.is_some_and(|height| height + 1 < *seen))?;
    let mut members = evidence
        .nodes
        .values()
        .filter(|node| matches!(node.role.as_deref(), Some("orderer" | "peer")));
    let is_whole = evidence.channels.values().all(|channel| channel.height.is_some());
    (is_whole && members.all(|node| node.answers && node.catching_up == Some(false)))
        .then(|| began_again_text(seen))
}

/// A node, and why it takes no part.
struct Node<'a> {
    name: &'a str,
    evidence: &'a NodeEvidence,
    absent: Option<String>,
}

/// Nodes of one role.
#[derive(Default)]
struct Nodes<'a>(Vec<Node<'a>>);

impl<'a> Nodes<'a> {
    /// The nodes that do this. One that has blocks and has not joined every channel takes no part.
    fn of(duty: Duty, evidence: &'a Evidence) -> Self {
        let outside = |node: &NodeEvidence| {
            made(evidence)
                .map(|(name, _)| name)
                .find(|channel| !node.channels.contains_key(*channel))
        };
        let nodes = evidence
            .nodes
            .iter()
            .filter(|(_, node)| node.role.as_deref() == Some(duty.as_str()));
        let with_reason = nodes.map(|(name, evidence)| Node {
            name,
            evidence,
            absent: match (evidence.answers, outside(evidence)) {
                (false, _) => Some(words::node(name, evidence)),
                (true, _) if evidence.unable.is_some() => {
                    evidence.unable.as_deref().map(|why| words::unable(name, why))
                }
                (true, Some(channel)) if matches!(duty, Duty::Orderer | Duty::Peer) => {
                    Some(format!("{name} has not joined channel {channel}"))
                }
                (true, _) => None,
            },
        });
        Self(with_reason.collect())
    }

    fn total(&self) -> usize {
        self.0.len()
    }

    /// How many take part.
    fn present(&self) -> usize {
        self.0.iter().filter(|node| node.absent.is_none()).count()
    }

    /// Who is missing, and what is known of them. The words are for one of them and for several.
    fn missing_text(&self, (one, several): (&str, &str)) -> Option<String> {
        let who: Vec<&str> = self.0.iter().filter_map(|node| node.absent.as_deref()).collect();
        let (missing, total, who) = (who.len(), self.total(), who.join(", "));
        match (missing, total) {
            (0, _) => None,
            (1, 1) => Some(format!("its only {one} does not take part ({who})")),
            (1, total) => Some(format!("1 of {total} {several} does not take part ({who})")),
            (missing, total) => Some(format!("{missing} of {total} {several} do not take part ({who})")),
        }
    }
}

/// The channels that somebody has joined. Where nobody has joined any, all of them: then they are not new, but lost.
fn made(evidence: &Evidence) -> impl Iterator<Item = (&String, &ChannelEvidence)> {
    let none = evidence.channels.values().all(|seen| seen.height.is_none());
    evidence
        .channels
        .iter()
        .filter(move |(_, seen)| none || seen.height.is_some())
}

/// Who takes part, by the evidence.
struct Findings<'a> {
    consensus: Consensus,
    evidence: &'a Evidence,
    orderers: Nodes<'a>,
    peers: Nodes<'a>,
    chaincodes: Nodes<'a>,
    /// The Fabric CAs.
    servers: Nodes<'a>,
    databases: Nodes<'a>,
}

impl<'a> Findings<'a> {
    fn of(consensus: Consensus, evidence: &'a Evidence) -> Self {
        let of = |duty| Nodes::of(duty, evidence);
        let (orderers, peers) = (of(Duty::Orderer), of(Duty::Peer));
        let (chaincodes, servers, databases) = (of(Duty::Chaincode), of(Duty::Ca), of(Duty::Database));
        Self {
            consensus,
            evidence,
            orderers,
            peers,
            chaincodes,
            servers,
            databases,
        }
    }

    fn quorum(&self) -> usize {
        self.consensus.quorum(self.orderers.total())
    }

    /// Whether orderers began, came back or left so short a time ago that they may have to elect a leader.
    fn may_elect(&self, past: &Past, now: Timestamp) -> bool {
        is_recent(
            past.started_at.max(past.returned_at).max(past.left_at),
            now,
            self.consensus.election_ms(),
        )
    }

    fn channels(&self) -> impl Iterator<Item = (&'a String, &'a ChannelEvidence)> {
        made(self.evidence)
    }

    /// Whether orderers are missing that a change brings: none of them was seen to have ended, and all channels are led without them,
    /// or nodes were started so short a time ago that a channel may be new. They count only when the channels have taken them in. By BFT
    /// that a channel is led says nothing: its leader does not notice that it has lost the others.
    fn grows(&self, past: &Past, now: Timestamp) -> bool {
        let ended =
            |node: &Node| node.evidence.process.starts_with("exited") || node.evidence.process == "paused";
        let is_led =
            self.consensus.leader_steps_down() && self.channels().all(|(_, seen)| seen.leader.is_some());
        (is_led || is_recent(past.started_at, now, START_MS))
            && !self
                .orderers
                .0
                .iter()
                .filter(|node| node.absent.is_some())
                .any(ended)
    }

    /// Peers have different blocks at one height.
    fn forked(&self) -> Option<Verdict> {
        let (channel, _) = self.channels().find(|(_, seen)| seen.agree == Some(false))?;
        let hash = |node: &Node| {
            Some(format!(
                "{} {}",
                node.name,
                node.evidence.hash.as_deref()?.get(..8)?
            ))
        };
        let hashes = self
            .peers
            .0
            .iter()
            .filter_map(hash)
            .collect::<Vec<_>>()
            .join(", ");
        Some(broken(format!(
            "peers have different blocks at the same height of channel {channel}: {hashes}"
        )))
    }

    /// Too few orderers take part.
    fn unordered(&self, past: &Past, now: Timestamp) -> Option<Verdict> {
        if self.orderers.present() >= self.quorum() || self.grows(past, now) {
            return None;
        }
        let missing = self.orderers.missing_text(ORDERERS)?;
        let needed = match self.orderers.total() {
            1 => String::new(),
            _ => format!("; {} are needed to order", self.quorum()),
        };
        Some(broken(format!(
            "{}: {missing}{needed}",
            words::unordered(self.consensus)
        )))
    }

    /// Enough orderers take part, and nobody leads, or the leader hears too few of them.
    fn leaderless(&self, past: &Past, now: Timestamp) -> Option<Verdict> {
        let quorum = u32::try_from(self.quorum()).unwrap_or(u32::MAX);
        if let Some((channel, _)) = self.channels().find(|(_, seen)| seen.leader.is_none()) {
            return Some(if self.may_elect(past, now) {
                of(
                    HealthState::Degraded,
                    format!("the orderers of channel {channel} elect a leader"),
                )
            } else {
                broken(format!(
                    "no {} leader on channel {channel}, although enough orderers answer",
                    self.consensus.title()
                ))
            });
        }
        let unheard = |(_, seen): &(&String, &ChannelEvidence)| {
            seen.active.is_some_and(|active| active > 0 && active < quorum)
        };
        let (channel, seen) = self.channels().find(unheard)?;
        let leader = seen.leader.as_deref().unwrap_or_default();
        if is_recent(past.started_at, now, self.consensus.election_ms()) {
            return Some(of(
                HealthState::Degraded,
                format!("{leader} leads channel {channel} and waits for the orderers that were just started"),
            ));
        }
        Some(broken(format!(
            "{}: {quorum} are needed to order",
            words::unheard(self.consensus, leader, channel)
        )))
    }

    /// How many orderers are heard on every channel. A leader that has counted nobody yet says 0.
    fn heard(&self) -> usize {
        let active = self
            .channels()
            .filter_map(|(_, seen)| seen.active)
            .filter(|active| *active > 0);
        active
            .filter_map(|active| usize::try_from(active).ok())
            .chain([self.orderers.present()])
            .min()
            .unwrap_or_default()
    }

    /// Orderers that answer us and that the leader does not hear. Orderers that were just started are given their time.
    fn unheard_text(&self, past: &Past, now: Timestamp) -> Option<String> {
        let (heard, present) = (self.heard(), self.orderers.present());
        let is_told = heard < present && !self.may_elect(past, now);
        is_told.then(|| {
            words::heard(
                self.consensus,
                heard,
                &format!("the {present} orderers that answer"),
            )
        })
    }

    /// The organisations that have peers, and whether one of them takes part.
    fn organisations(&self) -> BTreeMap<&'a str, bool> {
        let mut organisations = BTreeMap::new();
        for node in &self.peers.0 {
            *organisations
                .entry(node.evidence.organisation.as_deref().unwrap_or_default())
                .or_default() |= node.absent.is_none();
        }
        organisations
    }

    /// Too few organisations have a peer that takes part: transactions are ordered and all found invalid. Peers that were just started,
    /// perhaps those of an organisation that is new, are given their time.
    fn unendorsed(&self, past: &Past, now: Timestamp) -> Option<Verdict> {
        if is_recent(past.started_at, now, START_MS) {
            return None;
        }
        let organisations = self.organisations();
        let silent: Vec<&str> = organisations
            .iter()
            .filter(|(_, endorses)| !**endorses)
            .map(|(name, _)| *name)
            .collect();
        let (total, needed) = (organisations.len(), organisations.len() / 2 + 1);
        if total - silent.len() >= needed {
            return None;
        }
        let missing = self.peers.missing_text(PEERS)?;
        Some(broken(match total {
            1 => format!("{missing}: nobody can endorse"),
            _ => format!(
                "{missing}: {} cannot endorse, and {needed} of {total} organisations must",
                silent.join(", ")
            ),
        }))
    }

    /// Nodes that are not needed for every commit.
    fn missing_text(&self) -> Option<String> {
        let organisations = self.organisations().into_iter().filter(|(_, endorses)| !endorses);
        let silent = organisations.map(|(name, _)| format!("{name} cannot endorse"));
        let texts = [
            self.orderers.missing_text(ORDERERS),
            self.peers.missing_text(PEERS),
            self.databases.missing_text(DATABASES),
            self.chaincodes.missing_text(CHAINCODES),
            self.closed_text(),
        ];
        words::list(texts.into_iter().flatten().chain(silent))
    }

    /// Organisations whose Fabric CA is away: who is enrolled goes on, and nobody is enrolled.
    fn closed_text(&self) -> Option<String> {
        let away = self.servers.0.iter().filter(|node| node.absent.is_some());
        let of: Vec<&str> = away
            .filter_map(|node| node.evidence.organisation.as_deref())
            .collect();
        Some(format!(
            "{}: no new identities of {}",
            self.servers.missing_text(SERVERS)?,
            of.join(", ")
        ))
    }

    /// Nodes that answer and lack blocks.
    fn behind_text(&self) -> Option<String> {
        let nodes = self.orderers.0.iter().chain(&self.peers.0);
        let behind: Vec<&str> = nodes
            .filter(|node| node.evidence.catching_up == Some(true))
            .map(|node| node.name)
            .collect();
        (!behind.is_empty()).then(|| format!("catching up with the others: {}", behind.join(", ")))
    }

    /// Channels that nobody has joined, and chaincodes that were not committed.
    fn undefined_text(&self) -> Option<String> {
        let unmade = self
            .evidence
            .channels
            .keys()
            .filter(|name| self.channels().all(|(made, _)| made != *name));
        let unmade = unmade.map(|channel| format!("nobody has joined channel {channel} yet"));
        let undefined = self.channels().flat_map(|(channel, seen)| {
            let missing = seen.chaincodes.iter().filter(|(_, is_committed)| !**is_committed);
            missing.map(move |(name, _)| format!("chaincode {name} is not committed on channel {channel}"))
        });
        words::list(unmade.chain(undefined))
    }

    /// A ledger that was not healthy has to show that it is again: by a new block, or by a leader that has counted a quorum. An
    /// only orderer counts nobody; that it leads is all that there is to show.
    fn unproven(&self, past: &Past) -> Option<Verdict> {
        let progressed = self.evidence.height.is_some() && self.evidence.height > past.height;
        let quorum = u32::try_from(self.quorum()).unwrap_or(u32::MAX);
        let counts =
            |seen: &ChannelEvidence| seen.leader.is_some() && (quorum == 1 || seen.active >= Some(quorum));
        let is_shown = !past.recovering || progressed || self.channels().all(|(_, seen)| counts(seen));
        (!is_shown).then(|| of(HealthState::Degraded, words::uncounted(self.consensus).to_owned()))
    }

    fn whole_text(&self) -> String {
        let orderers = match self.orderers.total() {
            1 => "its orderer leads".to_owned(),
            total => format!("all {total} orderers take part"),
        };
        let peers = match self.peers.total() {
            1 => "its peer answers".to_owned(),
            total => format!("all {total} peers agree"),
        };
        format!("{orderers}, {peers}")
    }
}

/// Certificates that end soon. One of short life is told later.
fn ending_text(parameters: &Parameters, evidence: &Evidence, now: Timestamp) -> Option<String> {
    let warning = WARNING_DAYS.min(i64::from(parameters.certificate_days) / WARNING_PART);
    let ends = evidence
        .certificate_ends
        .filter(|ends| *ends < now.plus_seconds(warning * DAY_S))?;
    let day = ends.to_string();
    let day = day.get(..10).unwrap_or(&day);
    let shows = |node: &NodeEvidence| node.certificate_ends.is_some_and(|of_node| of_node <= ends);
    Some(match evidence.nodes.iter().find(|(_, node)| shows(node)) {
        Some((name, _)) => format!("the certificate of {name} ends on {day}"),
        None => format!("one of its certificates ends on {day}"),
    })
}

/// Whether it was so short a time ago that nodes may still be busy with it.
fn is_recent(since: Option<Timestamp>, now: Timestamp, limit_ms: i64) -> bool {
    since.is_some_and(|since| now.millis_since(since) <= limit_ms)
}

fn broken(reason: String) -> Verdict {
    of(HealthState::Broken, reason)
}

fn of(state: HealthState, reason: String) -> Verdict {
    Verdict { state, reason }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
