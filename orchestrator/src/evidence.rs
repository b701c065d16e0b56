//! Gathering evidence on a ledger: its own word, and the platform's listing where that is needed.

use crate::{Error, Orchestrator, Result, agents::HostAgent, seen::Seen, view::number, volumes};
use chainpool_agent::{
    ClusterId, ClusterKey, LogLine, LogQuery, NodeName, NodeState, Object, ObjectKind, Observation, Scope,
};
use chainpool_api::{self as api, HealthState, Timestamp};
use chainpool_networks::{Nodes, Past, Verdict};
use chainpool_store::ClusterRow;
use futures::{
    FutureExt, StreamExt,
    future::{Either, ready, select},
};
use std::{
    collections::{BTreeSet, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// How long the platform's listing is waited for, before the ledger's own word must do: a swarm that chooses a leader cannot list
/// for up to 25 s.
pub(crate) const LISTING: Duration = Duration::from_millis(1_500);
/// How long the second question to a node that was late once may take: a machine that is cut off is to be told of within 5 s.
const AGAIN: Duration = Duration::from_secs(1);
/// How long an engine's listing may lag behind its events (measured on Docker 20.10: 66 to 103 ms), in milliseconds.
pub(crate) const SETTLE_MS: i64 = 150;
/// How many exits in which time are a crash loop.
const LOOP_EXITS: usize = 5;
pub(crate) const LOOP_MS: i64 = 120_000;

/// How long a node's last lines may take, how many they are, and how much of each is told.
const LAST_LINES: Duration = Duration::from_secs(2);
const LINES: u8 = 20;
const LINE_CHARACTERS: usize = 400;

/// What a look at a ledger gave.
pub(crate) struct Looked {
    pub(crate) evidence: api::Evidence,
    pub(crate) verdict: Verdict,
    pub(crate) listing: Listing,
    /// What nobody has any more is not started again.
    pub(crate) ledger_lost: bool,
    /// What only the next generation ends.
    pub(crate) fault: Option<String>,
}

/// The platform's listing behind a look.
#[derive(PartialEq, Eq)]
pub(crate) enum Listing {
    /// What was seen before was good enough.
    Earlier,
    Now,
    /// It did not come in time; what was seen before must do.
    Slow,
    /// The platform answered that it cannot tell now, and why.
    Withheld(String),
}

impl Listing {
    /// Whether the platform has told what runs.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Earlier | Self::Now)
    }
}

impl Orchestrator {
    /// Looks at a ledger. `None`: the platform is slower to list than the patience lasts, and no node of the ledger answers.
    pub(crate) async fn evidence(
        &self,
        row: &ClusterRow,
        agent: &HostAgent,
        look: bool,
        patience: Option<Duration>,
    ) -> Result<Option<Looked>> {
        let generation = number(row.generation);
        let key = ClusterKey {
            cluster: ClusterId(row.id),
            generation,
        };
        let spec = self
            .spec(row.id, generation)
            .await?
            .ok_or_else(|| Error::internal(format!("cluster {} has no spec", row.name)))?;
        let network = self
            .inner
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let nodes = Nodes {
            agent: Arc::clone(&agent.agent),
            key,
            spec: Arc::clone(&spec),
        };
        let mut seen = self.inner.live.seen(row.id, generation);
        let mut listing = Listing::Earlier;
        if look || seen.observed.is_none() {
            listing = listed(list(agent, key.cluster, patience).await?, &mut seen);
        }
        trust_deaths(&mut seen);
        let known = seen.observed.clone().unwrap_or_default();
        // The highest block before this probe: an operation beside it may see later ones meanwhile.
        let height = self.height_seen(row).and_then(|h| u64::try_from(h).ok());
        let mut evidence = network.probe(&nodes, &known).await;
        // A node that has just answered may be late once, on a busy machine: it is asked again before anybody hears of it.
        let late = seen.newly_silent(&evidence);
        let fits = evidence.nodes.values().all(|node| node.answers);
        if !fits && listing == Listing::Earlier {
            // Something does not fit what was last seen: a paused, removed or started node. Look again, then ask again.
            let ask_again = pin!(async {
                if late {
                    timeout(AGAIN, network.probe(&nodes, &known)).await.ok()
                } else {
                    None
                }
            });
            let (answer, again) = match select(pin!(list(agent, key.cluster, patience)), ask_again).await {
                Either::Left((answer, again)) => (answer, again.left_future()),
                Either::Right((said, answer)) => (answer.await, ready(said).right_future()),
            };
            listing = listed(answer?, &mut seen);
            trust_deaths(&mut seen);
            if let Some(now) = seen.observed.as_ref().filter(|now| **now != known) {
                evidence = network.probe(&nodes, now).await;
            } else {
                evidence = again.await.unwrap_or(evidence);
            }
        }
        let speaks = seen.observed.is_some() && evidence.nodes.values().any(|node| node.answers);
        match &listing {
            Listing::Slow if !speaks => return Ok(None),
            Listing::Withheld(why) if !speaks => {
                let reason = format!("no node answers, and the platform cannot tell what runs: {why}");
                let verdict = Verdict {
                    state: HealthState::Unknown,
                    reason,
                };
                return Ok(Some(Looked {
                    evidence,
                    verdict,
                    listing,
                    ledger_lost: false,
                    fault: None,
                }));
            }
            _ => {}
        }
        let now = Timestamp::now();
        seen.turn(&evidence, now);
        let past = Past {
            height,
            height_since: seen.height.map(|(_, since)| since),
            recovering: matches!(
                row.health.0,
                HealthState::Degraded | HealthState::Broken | HealthState::Unknown
            ),
            started_at: Some(row.power_at.0),
            returned_at: seen.returned_at,
            left_at: seen.left_at,
        };
        let mut verdict = network.verdict(&row.parameters.0, &evidence, &past, now);
        let listed = seen.observed.as_ref().filter(|_| listing.is_told());
        self.note_evidence(row, generation, listed, &evidence, now);
        if let Some(reason) = self.crash_loop(row, agent, &key).await {
            verdict = Verdict {
                state: HealthState::Broken,
                reason,
            };
        }
        let fault = row
            .ledger_fault
            .clone()
            .or_else(|| network.began_again(&row.parameters.0, &evidence, &past));
        let lost = match &seen.observed {
            Some(listed) if listing.is_told() => volumes::lost_by(&spec, generation, listed, &evidence),
            _ => BTreeSet::new(),
        };
        let ledger_lost = network.loses_ledger(&spec, &lost);
        if ledger_lost {
            verdict = Verdict {
                state: HealthState::Broken,
                reason: volumes::ledger_lost_text(&lost),
            };
        } else if let Some(reason) = fault.clone() {
            verdict = Verdict {
                state: HealthState::Broken,
                reason,
            };
        } else if verdict.state != HealthState::Healthy {
            let hindered = seen
                .hindered
                .as_ref()
                .map(|why| format!("it cannot be repaired now: {why}"));
            for more in volumes::lost_text(&lost).into_iter().chain(hindered) {
                verdict.reason = format!("{}; {more}", verdict.reason);
            }
        }
        let stopped: Vec<&str> = row.stopped_nodes.0.iter().map(String::as_str).collect();
        if !stopped.is_empty() && verdict.state != HealthState::Healthy {
            verdict.reason = format!("{} (stopped on purpose: {})", verdict.reason, stopped.join(", "));
        }
        Ok(Some(Looked {
            evidence,
            verdict,
            listing,
            ledger_lost,
            fault,
        }))
    }

    /// What there is to say of a node that ends again and again. It is said once while that stands: its log would be something new each
    /// time.
    async fn crash_loop(&self, row: &ClusterRow, agent: &HostAgent, key: &ClusterKey) -> Option<String> {
        let seen = self.inner.live.seen(row.id, key.generation);
        let found = match (crash_loop(&seen), seen.crash_loop) {
            (Some((node, _)), Some((known, reason))) if node == known => return Some(reason),
            (Some((node, exits)), _) => {
                let reason = crash_loop_text(agent, key, &node, exits).await;
                Some((node, reason))
            }
            (None, None) => return None,
            (None, Some(_)) => None,
        };
        self.inner
            .live
            .note(row.id, key.generation, |seen| seen.crash_loop.clone_from(&found));
        found.map(|(_, reason)| reason)
    }

    /// Keeps what was seen.
    pub(crate) fn note_evidence(
        &self,
        row: &ClusterRow,
        generation: u32,
        listed: Option<&Observation>,
        evidence: &api::Evidence,
        now: Timestamp,
    ) {
        self.inner.live.note(row.id, generation, |seen| {
            seen.observed = listed.cloned().or(seen.observed.take());
            seen.turn(evidence, now);
            seen.checked_at = Some(now);
            if let Some(height) = evidence.height {
                seen.height = seen
                    .height
                    .filter(|(known, _)| *known >= height)
                    .or(Some((height, now)));
            }
            seen.answered.extend(
                evidence
                    .nodes
                    .iter()
                    .filter(|(_, n)| n.answers)
                    .map(|(name, _)| name.clone()),
            );
            let is_silent = |n: &api::NodeEvidence| n.process == "running" && (n.stuck || !n.answers);
            let silent: BTreeSet<&String> = evidence
                .nodes
                .iter()
                .filter(|(_, n)| is_silent(n))
                .map(|(name, _)| name)
                .collect();
            seen.silent.retain(|name, _| silent.contains(name));
            for name in silent {
                seen.silent.entry(name.clone()).or_insert(now);
            }
            seen.evidence = Some(evidence.clone());
        });
    }
}

/// Reads the platform's listing of a cluster, if it comes in time.
async fn list(
    agent: &HostAgent,
    cluster: ClusterId,
    patience: Option<Duration>,
) -> Result<(Listing, Option<Observation>)> {
    let listed = agent.agent.observe(Scope::Cluster(cluster));
    let listed = match patience {
        None => listed.await,
        Some(limit) => match timeout(limit, listed).await {
            Ok(listed) => listed,
            Err(_) => return Ok((Listing::Slow, None)),
        },
    };
    match listed {
        Ok(observed) => Ok((Listing::Now, Some(observed))),
        Err(chainpool_agent::Error::Busy(why)) => Ok((Listing::Withheld(why), None)),
        Err(error) => Err(error.into()),
    }
}

/// Takes a listing that came in.
fn listed((listing, observed): (Listing, Option<Observation>), seen: &mut Seen) -> Listing {
    seen.observed = observed.or(seen.observed.take());
    listing
}

/// Puts the newest process ends into the listing: the platform's events are ahead of its listing for a moment.
fn trust_deaths(seen: &mut Seen) {
    let now = Timestamp::now();
    let Seen {
        deaths,
        observed: Some(observed),
        generation,
        ..
    } = seen
    else {
        return;
    };
    for death in deaths
        .iter()
        .filter(|death| now.millis_since(death.at) < SETTLE_MS)
    {
        let same = |object: &&mut Object| {
            object.generation == *generation && object.node.as_ref() == Some(&death.node)
        };
        for object in observed
            .objects
            .iter_mut()
            .filter(|o| o.kind == ObjectKind::Node)
            .filter(same)
        {
            object.state = Some(NodeState::Exited(death.code));
        }
    }
}

/// The node that ends again and again, and how often it did.
fn crash_loop(seen: &Seen) -> Option<(NodeName, usize)> {
    crash_loop_since(seen, Timestamp::now().plus_seconds(-LOOP_MS / 1000))
}

/// The node that has ended again and again since then, and how often.
pub(crate) fn crash_loop_since(seen: &Seen, since: Timestamp) -> Option<(NodeName, usize)> {
    let recent = |node: &NodeName| {
        seen.deaths
            .iter()
            .filter(|death| death.node == *node && death.at >= since)
            .count()
    };
    let node = &seen
        .deaths
        .iter()
        .find(|death| recent(&death.node) > LOOP_EXITS)?
        .node;
    Some((node.clone(), recent(node)))
}

/// A crash loop with the node's last lines.
pub(crate) async fn crash_loop_text(
    agent: &HostAgent,
    key: &ClusterKey,
    node: &NodeName,
    exits: usize,
) -> String {
    let said = last_lines(agent, key, node).await;
    format!("{node} ended {exits} times within two minutes (crash loop); its last lines: {said}")
}

/// The last lines of a node's log, as one text for a reason. Nobody is judged meanwhile, so they have to come soon.
async fn last_lines(agent: &HostAgent, key: &ClusterKey, node: &NodeName) -> String {
    let query = LogQuery {
        tail: Some(LINES.into()),
        ..LogQuery::default()
    };
    // A platform may send more than it was asked for.
    let keep = async |mut last: VecDeque<String>, line| {
        if last.len() == usize::from(LINES) {
            last.pop_front();
        }
        last.push_back(text(line));
        last
    };
    let read = async {
        match agent.agent.logs(key, node, query).await {
            Ok(lines) => Vec::from(lines.fold(VecDeque::new(), keep).await).join(" | "),
            Err(error) => format!("(its log cannot be read: {error})"),
        }
    };
    timeout(LAST_LINES, read)
        .await
        .unwrap_or_else(|_| "(its log does not come)".to_owned())
}

/// A line of a log in a reason: its begin, where it is long.
fn text(line: chainpool_agent::Result<LogLine>) -> String {
    match line {
        Ok(line) => String::from_utf8_lossy(&line.bytes)
            .trim_end()
            .chars()
            .take(LINE_CHARACTERS)
            .collect(),
        Err(error) => format!("(its log ends here: {error})"),
    }
}
