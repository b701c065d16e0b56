//! Assesses evidence. Pure.
//!
//! Reasons contain no value that changes between probes, so a verdict stays the same. An idle channel has no
//! blocks, so a constant height is no evidence; leaders, available orderers and endorsers are.

use crate::{
    History, Verdict,
    fabric::{
        health::messages,
        model::NodeKind,
        parameters::{Parameters, consensus::Consensus},
    },
    ledger_regression_reason,
};
use chainpool_api::{ChannelEvidence, Evidence, HealthState, NodeEvidence, ProcessState, Timestamp};
use chainpool_health::{Fabric, millis};
use std::{collections::BTreeMap, time::Duration};

/// Singular and plural names of nodes.
const ORDERERS: (&str, &str) = ("orderer", "orderers");
const PEERS: (&str, &str) = ("peer", "peers");
const CHAINCODES: (&str, &str) = ("chaincode", "chaincodes");
const DATABASES: (&str, &str) = ("state database", "state databases");
const SERVERS: (&str, &str) = ("Fabric CA", "Fabric CAs");

/// A certificate expires soon from this many days before its expiry, but from at most this fraction of its
/// validity.
const WARNING_DAYS: i64 = 30;
const WARNING_PART: i64 = 3;
const DAY_S: i64 = 86_400;

/// Assesses evidence together with the history. The most severe finding decides.
pub(crate) fn verdict(
    parameters: &Parameters,
    evidence: &Evidence,
    history: &History,
    policy: &Fabric,
    now: Timestamp,
) -> Verdict {
    let found = Findings::of(parameters.consensus, evidence, policy);
    if found.orderers.total() == 0 {
        return of(HealthState::Unknown, "no information about the nodes".to_owned());
    }
    let broken = found
        .forked()
        .or_else(|| found.without_quorum(history, now))
        .or_else(|| found.leaderless(history, now))
        .or_else(|| found.without_endorsers(history, now));
    if let Some(verdict) = broken {
        return verdict;
    }
    let not_following = found.not_following_text(history, now);
    let following = if not_following.is_some() {
        found.following()
    } else {
        found.orderers.present()
    };
    let margin = messages::margin(found.consensus, following, found.orderers.total());
    let degraded = [
        found.missing_text(),
        not_following,
        found.behind_text(),
        found.missing_definitions_text(),
        expiry_text(parameters, evidence, now),
    ];
    let degraded: Vec<String> = degraded.into_iter().flatten().collect();
    if degraded.is_empty() {
        return found.unconfirmed_recovery(history).unwrap_or_else(|| {
            of(
                HealthState::Healthy,
                format!("{}; {margin}", found.healthy_text()),
            )
        });
    }
    of(
        HealthState::Degraded,
        format!("{}; still committing, {margin}", degraded.join("; ")),
    )
}

/// Reason if the ledger lost blocks: all orderers and peers are responsive and in sync, and none has the
/// block before one seen earlier. One block of tolerance, because the newest block may have existed only on a
/// node that was lost.
pub(crate) fn ledger_regression(evidence: &Evidence, history: &History) -> Option<String> {
    let seen = history
        .position()
        .filter(|seen| evidence.height.is_some_and(|height| height + 1 < *seen))?;
    let mut members = evidence
        .nodes
        .values()
        .filter(|node| matches!(node.role.as_deref(), Some("orderer" | "peer")));
    let is_complete = evidence.channels.values().all(|channel| channel.height.is_some());
    (is_complete && members.all(|node| node.answers && node.catching_up == Some(false)))
        .then(|| ledger_regression_reason(seen))
}

/// A node, and the reason if it is unavailable.
struct Node<'a> {
    name: &'a str,
    evidence: &'a NodeEvidence,
    absent: Option<String>,
}

/// Nodes of one role.
#[derive(Default)]
struct Nodes<'a>(Vec<Node<'a>>);

impl<'a> Nodes<'a> {
    /// The nodes of a kind. Orderers and peers that have not joined every channel are unavailable.
    fn of(kind: NodeKind, evidence: &'a Evidence) -> Self {
        let outside = |node: &NodeEvidence| {
            joined_channels(evidence)
                .map(|(name, _)| name)
                .find(|channel| !node.channels.contains_key(*channel))
        };
        let nodes = evidence
            .nodes
            .iter()
            .filter(|(_, node)| node.role.as_deref() == Some(kind.as_str()));
        let with_reason = nodes.map(|(name, evidence)| Node {
            name,
            evidence,
            absent: match (evidence.answers, outside(evidence)) {
                (false, _) => Some(messages::node(name, evidence)),
                (true, _) if evidence.unable.is_some() => {
                    evidence.unable.as_deref().map(|why| messages::unable(name, why))
                }
                (true, Some(channel)) if matches!(kind, NodeKind::Orderer | NodeKind::Peer) => {
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

    /// Number of available nodes.
    fn present(&self) -> usize {
        self.0.iter().filter(|node| node.absent.is_none()).count()
    }

    /// The unavailable nodes with their reasons, if any.
    fn missing_text(&self, (one, several): (&str, &str)) -> Option<String> {
        let who: Vec<&str> = self.0.iter().filter_map(|node| node.absent.as_deref()).collect();
        let (missing, total, who) = (who.len(), self.total(), who.join(", "));
        match (missing, total) {
            (0, _) => None,
            (1, 1) => Some(format!("the only {one} is unavailable ({who})")),
            (missing, total) => Some(format!("{missing} of {total} {several} unavailable ({who})")),
        }
    }
}

/// The channels that a node has joined; all channels if no node has joined any, because then they are lost,
/// not new.
fn joined_channels(evidence: &Evidence) -> impl Iterator<Item = (&String, &ChannelEvidence)> {
    let none = evidence.channels.values().all(|seen| seen.height.is_none());
    evidence
        .channels
        .iter()
        .filter(move |(_, seen)| none || seen.height.is_some())
}

/// Findings from the evidence.
struct Findings<'a> {
    policy: &'a Fabric,
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
    fn of(consensus: Consensus, evidence: &'a Evidence, policy: &'a Fabric) -> Self {
        let of = |kind| Nodes::of(kind, evidence);
        let (orderers, peers) = (of(NodeKind::Orderer), of(NodeKind::Peer));
        let (chaincodes, servers, databases) =
            (of(NodeKind::Chaincode), of(NodeKind::Ca), of(NodeKind::Database));
        Self {
            policy,
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

    /// Orderers started, reconnected or disconnected so recently that an election may be in progress.
    fn may_elect(&self, history: &History, now: Timestamp) -> bool {
        is_recent(
            history
                .started_at
                .max(history.reconnected_at)
                .max(history.disconnected_at),
            now,
            self.consensus.election(self.policy),
        )
    }

    fn channels(&self) -> impl Iterator<Item = (&'a String, &'a ChannelEvidence)> {
        joined_channels(self.evidence)
    }

    /// The missing orderers may be new ones of an amendment, which count only after they have joined the
    /// channels: none has exited, and all channels have a leader without them, or nodes started so recently
    /// that a channel may be new. A BFT leader is no evidence, because it does not step down without
    /// followers.
    fn is_growing(&self, history: &History, now: Timestamp) -> bool {
        let ended = |node: &Node| {
            matches!(
                node.evidence.process,
                ProcessState::Exited(_) | ProcessState::Paused
            )
        };
        let is_led =
            self.consensus.leader_steps_down() && self.channels().all(|(_, seen)| seen.leader.is_some());
        (is_led || is_recent(history.started_at, now, self.policy.start))
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

    /// Too few orderers are available.
    fn without_quorum(&self, history: &History, now: Timestamp) -> Option<Verdict> {
        if self.orderers.present() >= self.quorum() || self.is_growing(history, now) {
            return None;
        }
        let missing = self.orderers.missing_text(ORDERERS)?;
        let needed = match self.orderers.total() {
            1 => String::new(),
            _ => format!("; {} required for quorum", self.quorum()),
        };
        Some(broken(format!(
            "{}: {missing}{needed}",
            messages::quorum_lost(self.consensus)
        )))
    }

    /// Enough orderers are available, but there is no leader, or too few follow it.
    fn leaderless(&self, history: &History, now: Timestamp) -> Option<Verdict> {
        let quorum = u32::try_from(self.quorum()).unwrap_or(u32::MAX);
        if let Some((channel, _)) = self.channels().find(|(_, seen)| seen.leader.is_none()) {
            return Some(if self.may_elect(history, now) {
                of(
                    HealthState::Degraded,
                    format!("channel {channel}: leader election in progress"),
                )
            } else {
                broken(format!(
                    "no {} leader on channel {channel} although enough orderers are responsive",
                    self.consensus.title()
                ))
            });
        }
        let not_following = |(_, seen): &(&String, &ChannelEvidence)| {
            seen.active.is_some_and(|active| active > 0 && active < quorum)
        };
        let (channel, seen) = self.channels().find(not_following)?;
        let leader = seen.leader.as_deref().unwrap_or_default();
        if is_recent(history.started_at, now, self.consensus.election(self.policy)) {
            return Some(of(
                HealthState::Degraded,
                format!("{leader} leads channel {channel} and is waiting for newly started orderers"),
            ));
        }
        Some(broken(format!(
            "{}: {quorum} required for quorum",
            messages::not_following(self.consensus, leader, channel)
        )))
    }

    /// The smallest number of orderers that follow a channel's leader. 0 means that the leader has not
    /// counted yet.
    fn following(&self) -> usize {
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

    /// Responsive orderers that do not follow the leader, except during an election.
    fn not_following_text(&self, history: &History, now: Timestamp) -> Option<String> {
        let (following, present) = (self.following(), self.orderers.present());
        let is_reported = following < present && !self.may_elect(history, now);
        is_reported.then(|| {
            messages::following(
                self.consensus,
                following,
                &format!("{present} responsive orderers"),
            )
        })
    }

    /// Organisations with peers, and whether one of their peers is available.
    fn organisations(&self) -> BTreeMap<&'a str, bool> {
        let mut organisations = BTreeMap::new();
        for node in &self.peers.0 {
            *organisations
                .entry(node.evidence.organisation.as_deref().unwrap_or_default())
                .or_default() |= node.absent.is_none();
        }
        organisations
    }

    /// Too few organisations have an available peer: transactions are ordered but invalid. Newly started
    /// peers, which may belong to a new organisation, get time to start.
    fn without_endorsers(&self, history: &History, now: Timestamp) -> Option<Verdict> {
        if is_recent(history.started_at, now, self.policy.start) {
            return None;
        }
        let organisations = self.organisations();
        let unable: Vec<&str> = organisations
            .iter()
            .filter(|(_, endorses)| !**endorses)
            .map(|(name, _)| *name)
            .collect();
        let (total, needed) = (organisations.len(), organisations.len() / 2 + 1);
        if total - unable.len() >= needed {
            return None;
        }
        let missing = self.peers.missing_text(PEERS)?;
        Some(broken(match total {
            1 => format!("{missing}: no endorser available"),
            _ => format!(
                "{missing}: {} cannot endorse; {needed} of {total} organisations required",
                unable.join(", ")
            ),
        }))
    }

    /// Unavailable nodes that commits do not require.
    fn missing_text(&self) -> Option<String> {
        let organisations = self.organisations().into_iter().filter(|(_, endorses)| !endorses);
        let unable = organisations.map(|(name, _)| format!("{name} cannot endorse"));
        let texts = [
            self.orderers.missing_text(ORDERERS),
            self.peers.missing_text(PEERS),
            self.databases.missing_text(DATABASES),
            self.chaincodes.missing_text(CHAINCODES),
            self.ca_text(),
        ];
        messages::list(texts.into_iter().flatten().chain(unable))
    }

    /// Organisations whose Fabric CA is unavailable: existing identities work, new ones cannot enrol.
    fn ca_text(&self) -> Option<String> {
        let unavailable = self.servers.0.iter().filter(|node| node.absent.is_some());
        let of: Vec<&str> = unavailable
            .filter_map(|node| node.evidence.organisation.as_deref())
            .collect();
        Some(format!(
            "{}: no new identities of {}",
            self.servers.missing_text(SERVERS)?,
            of.join(", ")
        ))
    }

    /// Responsive nodes that lack blocks.
    fn behind_text(&self) -> Option<String> {
        let nodes = self.orderers.0.iter().chain(&self.peers.0);
        let behind: Vec<&str> = nodes
            .filter(|node| node.evidence.catching_up == Some(true))
            .map(|node| node.name)
            .collect();
        (!behind.is_empty()).then(|| format!("catching up: {}", behind.join(", ")))
    }

    /// Channels that no node has joined, and chaincodes that are not committed.
    fn missing_definitions_text(&self) -> Option<String> {
        let not_joined = self
            .evidence
            .channels
            .keys()
            .filter(|name| self.channels().all(|(joined, _)| joined != *name));
        let not_joined = not_joined.map(|channel| format!("no node has joined channel {channel} yet"));
        let undefined = self.channels().flat_map(|(channel, seen)| {
            let missing = seen.chaincodes.iter().filter(|(_, is_committed)| !**is_committed);
            missing.map(move |(name, _)| format!("chaincode {name} is not committed on channel {channel}"))
        });
        messages::list(not_joined.chain(undefined))
    }

    /// Recovery needs confirmation: a new block, or a leader that has counted a quorum. A single orderer
    /// counts no followers; leading is enough.
    fn unconfirmed_recovery(&self, history: &History) -> Option<Verdict> {
        let progressed = self.evidence.height.is_some() && self.evidence.height > history.position();
        let quorum = u32::try_from(self.quorum()).unwrap_or(u32::MAX);
        let counts =
            |seen: &ChannelEvidence| seen.leader.is_some() && (quorum == 1 || seen.active >= Some(quorum));
        let is_shown = !history.recovering || progressed || self.channels().all(|(_, seen)| counts(seen));
        (!is_shown).then(|| {
            of(
                HealthState::Degraded,
                messages::recovery_unconfirmed(self.consensus).to_owned(),
            )
        })
    }

    fn healthy_text(&self) -> String {
        let orderers = match self.orderers.total() {
            1 => "the orderer leads".to_owned(),
            total => format!("all {total} orderers participate"),
        };
        let peers = match self.peers.total() {
            1 => "the peer is responsive".to_owned(),
            total => format!("all {total} peers agree"),
        };
        format!("{orderers}, {peers}")
    }
}

/// Certificates that expire soon; short-lived ones are reported later.
fn expiry_text(parameters: &Parameters, evidence: &Evidence, now: Timestamp) -> Option<String> {
    let expiry = evidence
        .certificate_ends
        .filter(|expiry| expires_soon(parameters, *expiry, now))?;
    let day = expiry.to_string();
    let day = day.get(..10).unwrap_or(&day);
    let shows = |node: &NodeEvidence| node.certificate_ends.is_some_and(|of_node| of_node <= expiry);
    Some(match evidence.nodes.iter().find(|(_, node)| shows(node)) {
        Some((name, _)) => format!("the certificate of {name} expires on {day}"),
        None => format!("a certificate of the network expires on {day}"),
    })
}

/// Returns true if a certificate with this expiry has expired or expires soon.
pub(crate) fn expires_soon(parameters: &Parameters, expiry: Timestamp, now: Timestamp) -> bool {
    let warning = WARNING_DAYS.min(i64::from(parameters.certificate_days) / WARNING_PART);
    expiry < now.plus_seconds(warning * DAY_S)
}

/// Returns true if the event is within the time limit.
fn is_recent(since: Option<Timestamp>, now: Timestamp, limit: Duration) -> bool {
    since.is_some_and(|since| now.millis_since(since) <= millis(limit))
}

fn broken(reason: String) -> Verdict {
    of(HealthState::Broken, reason)
}

fn of(state: HealthState, reason: String) -> Verdict {
    Verdict { state, reason }
}

#[cfg(test)]
mod tests;
