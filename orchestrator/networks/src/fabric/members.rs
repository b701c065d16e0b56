//! Members of channels: what the facts name and a channel's configuration lacks is taken in by updates of it.
//!
//! Organisations come first, all by one update that the administrators of the present ones sign. Orderers come one by one: each has
//! to have all blocks before it counts, and to take part before the next one comes. An orderer that follows a channel asks from time
//! to time for new blocks, by and by less often, down to every 10 s (`orderer/common/follower`); from one orderer to two nothing is
//! ordered until the second one has found itself in the configuration.
//!
//! An orderer of 2.5.0 that takes its first part in Raft stands still for ever when a block is committed while it applies the change
//! that takes it in: `apply` waits for `WALSyncC`, which `node.run` serves, and that waits for `applyC` (`etcdraft/chain.go`,
//! `node.go`). So transactions are held back for that moment: no block is cut for them until all orderers take part. One that
//! stands still all the same is started anew.
//!
//! All that is about Raft. By BFT nothing is held back: the others go on, and the new one takes part in what comes next.

use super::{
    access::Access,
    configupdate,
    connect::CallError,
    consensus::Consensus,
    consenters::{Consenters, set, unreadable},
    facts::{Facts, Organisation},
    genesis::{
        self, APPLICATION, BATCH_SIZE, BATCH_TIMEOUT, BLOCK_MAX_BYTES, BLOCK_PREFERRED_BYTES, ENDPOINTS,
        ORDERER,
    },
    init::all,
    metrics::{Metrics, Part, leader},
    orderer::{configured, offer},
    participation::Participation,
    patience::{Pause, until},
    proto::{common::Envelope, configtx::ConfigGroup, orderer::BatchSize},
    render::{self, Certificates},
    words,
};
use crate::InitError;
use chainpool_agent::NodeName;
use futures::{
    StreamExt,
    future::{join_all, select_all},
    stream::FuturesUnordered,
};
use prost::Message;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How long an update has to be in the configuration, and how long one that was taken may take for that before it counts as lost; both
/// beside the time after which a block is cut for it.
const ORDERED: Duration = Duration::from_secs(15);
const LOST: Duration = Duration::from_secs(3);
/// How long a new orderer has to catch up, and then to take part: until it looks again, and an election.
const JOINS: Duration = Duration::from_secs(20);
/// How long the Raft of one that came in may not move: a leader's heartbeat moves it each 100 ms, and without one it stands for election
/// itself after 2 to 4 s (`genesis`).
const STILL: Duration = Duration::from_secs(5);

/// How transactions are held back: no block is cut within so many milliseconds, nor for fewer of them than nobody may ask for.
const HELD_MS: u32 = 30_000;
const HELD_MESSAGES: u32 = 1_000_000;

/// What the orderers are known by.
type Known = BTreeMap<NodeName, Certificates>;

/// Takes in who is missing, on every channel. Who is there already is skipped.
pub(super) async fn members(access: &Access) -> Result<(), InitError> {
    let certificates =
        |node: &NodeName| Some((node.clone(), render::certificates(access.nodes.spec.node(node)?)?));
    let known: Known = access.orderers().iter().filter_map(certificates).collect();
    let known = &known;
    let each = access.facts.channels.iter().map(|channel| async move {
        let name = &channel.name;
        on_channel(access, name, known).await.map_err(|halt| Halt {
            why: halt.why.of(&format!("channel {name}")),
            ..halt
        })
    });
    let mut channels: FuturesUnordered<_> = each.collect();
    let mut whys = Vec::new();
    while let Some(done) = channels.next().await {
        let Err(Halt { why, still }) = done else { continue };
        whys.push(Err(why));
        // It is not left standing until the other channels are done, which go on later from where they are.
        if still.is_some() {
            return all(whys).map_err(|e| InitError {
                restart: still.into_iter().collect(),
                ..e
            });
        }
    }
    all(whys)
}

/// Why a channel has not all its members, and the orderer that stands still.
struct Halt {
    why: CallError,
    still: Option<NodeName>,
}

impl From<CallError> for Halt {
    fn from(why: CallError) -> Self {
        Self { why, still: None }
    }
}

async fn on_channel(access: &Access, channel: &str, known: &Known) -> Result<(), Halt> {
    let mut came: Vec<NodeName> = Vec::new();
    loop {
        let done = tokio::select! {
            done = advance(access, channel, known) => done?,
            Some(node) = standing_still(access, channel, &came) => {
                let why = CallError::Silent("it came in and stands still".to_owned()).of(node);
                return Err(Halt { why, still: Some(node.clone()) });
            }
        };
        match done {
            None => return Ok(()),
            Some(Step::Orderer(node, _)) if access.facts.parameters.consensus.holds_back() => came.push(node),
            Some(_) => {}
        }
    }
}

/// Does the next step as soon as all who are there take part. `None`: there was none left.
async fn advance(access: &Access, channel: &str, known: &Known) -> Result<Option<Step>, Halt> {
    let present = until(Instant::now() + ORDERED, || configured(access, channel)).await?;
    let before = present.config.channel_group.clone().unwrap_or_default();
    let step = next(&access.facts, known, &before)?;
    let work = async {
        // With the next orderer more of those before are needed.
        if !matches!(step, Some(Step::Organisations(_))) {
            taken_in(access, channel, &before, present.newest + 1).await?;
        }
        if let Some(Step::Orderer(node, _)) = &step {
            caught_up(access, channel, node, present.newest + 1).await?;
        }
        if let Some(step) = &step {
            perform(access, channel, known, step).await?;
        }
        Ok(())
    };
    let held = is_held(&before)?;
    work.await.map_err(|halt: Halt| {
        if held {
            Halt {
                why: held_back(halt.why),
                ..halt
            }
        } else {
            halt
        }
    })?;
    Ok(step)
}

/// Why it stands, with what that does to those who write.
fn held_back(why: CallError) -> CallError {
    let told = |text: String| {
        format!(
            "{text}; until all orderers take part transactions wait for up to {} s",
            HELD_MS / 1000
        )
    };
    match why {
        CallError::Silent(text) => CallError::Silent(told(text)),
        CallError::Refused(text) => CallError::Refused(told(text)),
    }
}

/// The first of those that came in that stands still. `None`: nobody came.
async fn standing_still<'n>(access: &Access, channel: &str, came: &'n [NodeName]) -> Option<&'n NodeName> {
    let each = came.iter().map(|node| {
        Box::pin(async move {
            stands_still(access, channel, node).await;
            node
        })
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() {
        None
    } else {
        Some(select_all(each).await.0)
    }
}

/// Looks until an orderer of a channel has not moved for too long, or not answered. While it only follows the channel it has its time.
async fn stands_still(access: &Access, channel: &str, node: &NodeName) {
    let (mut seen, mut moved) = (None, Instant::now());
    let mut pause = Pause::new();
    while moved.elapsed() < STILL {
        pause.wait().await;
        let parts = async { Metrics::connect(access, node).await?.parts().await };
        let Ok(parts) = parts.await else { continue };
        // One that has never moved may not know yet that it has a vote.
        let turns = parts
            .get(channel)
            .map(|part| part.turns)
            .filter(|turns| *turns > 0);
        if turns.is_none() || turns != seen {
            (seen, moved) = (turns, Instant::now());
        }
    }
}

/// What is to be done next, with the configuration that it makes.
#[derive(Debug, PartialEq)]
enum Step {
    Organisations(ConfigGroup),
    Orderer(NodeName, ConfigGroup),
    /// Blocks are cut as before.
    Release(ConfigGroup),
}

/// The next step from a configuration to that which the facts tell. `None`: there is none left.
fn next(facts: &Facts, known: &Known, before: &ConfigGroup) -> Result<Option<Step>, CallError> {
    let mut after = before.clone();
    let application = after
        .groups
        .get_mut(APPLICATION)
        .ok_or_else(|| unreadable(APPLICATION))?;
    let missing: Vec<&Organisation> = facts
        .organisations
        .iter()
        .filter(|o| !application.groups.contains_key(&o.name))
        .collect();
    if !missing.is_empty() {
        application.groups.extend(
            missing
                .into_iter()
                .map(|o| (o.name.clone(), genesis::organisation_group(o))),
        );
        return Ok(Some(Step::Organisations(after)));
    }
    let orderer = after.groups.get_mut(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
    let mut consenters = Consenters::read(before)?;
    let Some(node) = facts.ordering.nodes.iter().find(|node| !consenters.has(node)) else {
        if !is_held(before)? {
            return Ok(None);
        }
        cut(
            orderer,
            (facts.parameters.batch_messages, BLOCK_PREFERRED_BYTES),
            facts.parameters.batch_timeout_ms,
        )?;
        return Ok(Some(Step::Release(after)));
    };
    let certificates = known
        .get(node)
        .ok_or_else(|| CallError::Refused(format!("the stored spec has no certificates of {node}")))?;
    consenters.take_in(node, certificates, &facts.ordering.msp);
    consenters.write(orderer)?;
    if facts.parameters.consensus.holds_back() {
        cut(orderer, (HELD_MESSAGES, BLOCK_MAX_BYTES), HELD_MS)?;
    }
    let addresses: Vec<NodeName> = facts
        .ordering
        .nodes
        .iter()
        .filter(|node| consenters.has(node))
        .cloned()
        .collect();
    let own = orderer
        .groups
        .get_mut(&facts.ordering.name)
        .ok_or_else(|| unreadable(&facts.ordering.name))?;
    set(own, ENDPOINTS, &genesis::endpoints(&addresses))?;
    Ok(Some(Step::Orderer(node.clone(), after)))
}

/// When blocks are cut.
fn cut(orderer: &mut ConfigGroup, (messages, bytes): (u32, u32), milliseconds: u32) -> Result<(), CallError> {
    set(orderer, BATCH_SIZE, &genesis::batch_size(messages, bytes))?;
    set(orderer, BATCH_TIMEOUT, &genesis::batch_timeout(milliseconds))
}

/// Whether transactions are held back. The size tells it, because proofs change the time.
fn is_held(root: &ConfigGroup) -> Result<bool, CallError> {
    let entry = root
        .groups
        .get(ORDERER)
        .and_then(|orderer| orderer.values.get(BATCH_SIZE));
    let size = entry
        .and_then(|entry| BatchSize::decode(&entry.value[..]).ok())
        .ok_or_else(|| unreadable(BATCH_SIZE))?;
    Ok(size.max_message_count == HELD_MESSAGES)
}

/// Has the update of a step ordered. It is made of the configuration of the moment, and made anew where it comes too late: somebody
/// else may have changed another part.
async fn perform(access: &Access, channel: &str, known: &Known, step: &Step) -> Result<(), CallError> {
    until(Instant::now() + ORDERED + access.cut_after(), || async {
        let before = root(access, channel).await?;
        if has(&before, step)? {
            return Ok(());
        }
        let Some(step) = next(&access.facts, known, &before)? else {
            return Ok(());
        };
        let envelope = update(access, channel, &before, &step)?;
        offer(access, &consenters(access, &before)?, &envelope).await?;
        until(Instant::now() + LOST + access.cut_after(), || async {
            let lost = || CallError::Silent("the orderers took an update and have not ordered it".to_owned());
            has(&root(access, channel).await?, &step)?
                .then_some(())
                .ok_or_else(lost)
        })
        .await
    })
    .await
}

async fn root(access: &Access, channel: &str) -> Result<ConfigGroup, CallError> {
    Ok(configured(access, channel)
        .await?
        .config
        .channel_group
        .unwrap_or_default())
}

/// The update of a step, signed by those whose consent it needs.
fn update(access: &Access, channel: &str, before: &ConfigGroup, step: &Step) -> Result<Envelope, CallError> {
    let (after, signers) = match step {
        Step::Organisations(after) => {
            let present = before
                .groups
                .get(APPLICATION)
                .ok_or_else(|| unreadable(APPLICATION))?;
            let signing = access
                .facts
                .organisations
                .iter()
                .filter(|o| present.groups.contains_key(&o.name));
            (
                after,
                signing.map(|o| access.admin(o)).collect::<Result<Vec<_>, _>>()?,
            )
        }
        Step::Orderer(_, after) | Step::Release(after) => {
            (after, vec![access.admin(&access.facts.ordering)?])
        }
    };
    let update = configupdate::update(channel, before, after);
    let signed = update.and_then(|update| configupdate::signed(&update, &signers.iter().collect::<Vec<_>>()));
    signed.ok_or_else(|| CallError::Refused("its configuration cannot be changed".to_owned()))
}

/// Whether a configuration has what the step brings.
fn has(root: &ConfigGroup, step: &Step) -> Result<bool, CallError> {
    match step {
        Step::Orderer(node, _) => Ok(Consenters::read(root)?.has(node)),
        Step::Release(_) => Ok(!is_held(root)?),
        Step::Organisations(after) => {
            let names = |root: &ConfigGroup| {
                root.groups
                    .get(APPLICATION)
                    .map(|group| group.groups.keys().cloned().collect::<Vec<_>>())
            };
            Ok(names(root) == names(after))
        }
    }
}

/// The orderers of a channel.
fn consenters(access: &Access, root: &ConfigGroup) -> Result<Vec<NodeName>, CallError> {
    let consenters = Consenters::read(root)?;
    Ok(access
        .orderers()
        .iter()
        .filter(|node| consenters.has(node))
        .cloned()
        .collect())
}

/// Waits until an orderer that follows the channel has so many blocks.
async fn caught_up(access: &Access, channel: &str, node: &NodeName, height: u64) -> Result<(), CallError> {
    until(Instant::now() + JOINS, || async {
        let has = Participation::connect(access, node)
            .await?
            .height(channel)
            .await?;
        let behind = || CallError::Silent(format!("it has {has} blocks of {height}"));
        (has >= height).then_some(()).ok_or_else(behind)
    })
    .await
    .map_err(|e| e.of(node))
}

/// Waits until more than half of the orderers of a configuration take part, and those of them that answer all do: the leader counts
/// them. Orderers that do not answer are left alone: they were lost before. If they do not, by Raft it is the one that came last that stands
/// still; by BFT the leader may be changing.
async fn taken_in(access: &Access, channel: &str, root: &ConfigGroup, height: u64) -> Result<(), Halt> {
    let consenters = Consenters::read(root)?;
    let last = consenters.hosts().pop();
    let nodes: Vec<NodeName> = access
        .orderers()
        .iter()
        .filter(|node| consenters.has(node))
        .cloned()
        .collect();
    let may_stand_still = access.facts.parameters.consensus.holds_back();
    let still = nodes
        .iter()
        .find(|node| may_stand_still && last == Some(node.as_str()));
    let nodes: Vec<&NodeName> = nodes.iter().collect();
    let taken = until(Instant::now() + JOINS, || {
        take_part(access, channel, &nodes, height)
    })
    .await;
    taken.map_err(|why| Halt {
        why,
        still: still.cloned(),
    })
}

/// Whether these orderers take part in a channel and have so many blocks of it, as far as they answer.
pub(super) async fn take_part(
    access: &Access,
    channel: &str,
    nodes: &[&NodeName],
    height: u64,
) -> Result<(), CallError> {
    let ask = |node: &&NodeName| {
        let node = (*node).clone();
        async move {
            (Metrics::connect(access, &node).await.ok()?.parts().await.ok())
                .map(|parts| (node, parts.get(channel).copied()))
        }
    };
    let answers: Vec<(NodeName, Option<Part>)> = join_all(nodes.iter().map(ask))
        .await
        .into_iter()
        .flatten()
        .collect();
    counted(access.facts.parameters.consensus, &answers, nodes.len(), height)
}

/// The same of what they say of themselves; so many are there in all.
fn counted(
    consensus: Consensus,
    answers: &[(NodeName, Option<Part>)],
    total: usize,
    height: u64,
) -> Result<(), CallError> {
    if let Some((node, _)) = answers.iter().find(|(_, part)| part.is_none()) {
        return Err(CallError::Silent(format!(
            "{node} does not take part in ordering yet"
        )));
    }
    let parts: Vec<(&NodeName, Part)> = answers
        .iter()
        .filter_map(|(node, part)| Some((node, (*part)?)))
        .collect();
    let (_, leader) =
        leader(&parts).ok_or_else(|| CallError::Silent(format!("no {} leader yet", consensus.title())))?;
    let active = usize::try_from(leader.active).unwrap_or(usize::MAX);
    if total > 1 && active < answers.len().max(consensus.quorum(total)) {
        return Err(CallError::Silent(words::heard(
            consensus,
            active,
            &format!("{total} orderers"),
        )));
    }
    match answers
        .iter()
        .find(|(_, part)| part.is_some_and(|part| part.height + consensus.may_lack() < height))
    {
        Some((node, _)) => Err(CallError::Silent(format!("{node} has not all blocks yet"))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
