//! Adds organisations and orderers of the model to channels by configuration updates.
//!
//! Organisations come first, all in one update signed by the administrators of the existing ones. Orderers
//! follow one at a time: each needs all blocks before it joins, and must participate before the next one
//! joins. A follower polls for new blocks with growing intervals of up to 10 s (`orderer/common/follower`).
//! Growing from one orderer to two stops ordering until the second one finds itself in the configuration.
//!
//! An orderer of 2.5.0 that joins Raft stalls permanently if a block is committed while it applies its own
//! addition: `apply` waits for `WALSyncC`, which `node.run` serves, and that waits for `applyC`
//! (`etcdraft/chain.go`, `node.go`). So block cutting is suspended until all orderers participate. An orderer
//! that stalls anyway is restarted.
//!
//! All this is about Raft. With BFT nothing is suspended: the others continue and the new orderer
//! participates from the next block on.

use super::{
    access::Access,
    configupdate,
    connect::CallError,
    consensus::Consensus,
    consenters::{Consenters, set, unreadable},
    genesis::{
        self, APPLICATION, BATCH_SIZE, BATCH_TIMEOUT, BLOCK_MAX_BYTES, BLOCK_PREFERRED_BYTES, ENDPOINTS,
        ORDERER,
    },
    init::all,
    messages,
    metrics::{Metrics, OrdererStatus, leader},
    network_model::{NetworkModel, Organisation},
    orderer::{broadcast_to, newest_config},
    participation::Participation,
    proto::{common::Envelope, configtx::ConfigGroup, orderer::BatchSize},
    render::{self, Certificates},
    retry::{Pause, until},
};
use crate::InitError;
use chainpool_agent::NodeName;
use futures::{
    StreamExt,
    future::{join_all, select_all},
    stream::FuturesUnordered,
};
use prost::Message;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Batch settings while block cutting is suspended: a long timeout, and a size beyond the allowed parameter.
const SUSPENDED_TIMEOUT_MS: u32 = 30_000;
const SUSPENDED_MESSAGES: u32 = 1_000_000;

/// Certificates by orderer.
type Known = BTreeMap<NodeName, Certificates>;

/// Adds missing members to every channel. Idempotent.
pub(super) async fn add_members(access: &Access) -> Result<(), InitError> {
    let certificates =
        |node: &NodeName| Some((node.clone(), render::certificates(access.nodes.spec.node(node)?)?));
    let known: Known = access.orderers().iter().filter_map(certificates).collect();
    let known = &known;
    let each = access.model.channels.iter().map(|channel| async move {
        let name = &channel.name;
        update_channel(access, name, known).await.map_err(|halt| Halt {
            why: halt.why.of(&format!("channel {name}")),
            ..halt
        })
    });
    let mut channels: FuturesUnordered<_> = each.collect();
    let mut whys = Vec::new();
    while let Some(done) = channels.next().await {
        let Err(Halt { why, stalled }) = done else {
            continue;
        };
        whys.push(Err(why));
        // The stalled orderer is restarted at once; the other channels continue in the next attempt.
        if stalled.is_some() {
            return all(whys).map_err(|e| InitError {
                restart: stalled.into_iter().collect(),
                ..e
            });
        }
    }
    all(whys)
}

/// Reason why a channel lacks members, and the stalled orderer, if any.
struct Halt {
    why: CallError,
    stalled: Option<NodeName>,
}

impl From<CallError> for Halt {
    fn from(why: CallError) -> Self {
        Self { why, stalled: None }
    }
}

async fn update_channel(access: &Access, channel: &str, known: &Known) -> Result<(), Halt> {
    let mut added: Vec<NodeName> = Vec::new();
    loop {
        let done = tokio::select! {
            done = advance(access, channel, known) => done?,
            Some(node) = first_stalled(access, channel, &added) => {
                let why = CallError::Unavailable("the orderer joined and stalled".to_owned()).of(node);
                return Err(Halt { why, stalled: Some(node.clone()) });
            }
        };
        match done {
            None => return Ok(()),
            Some(Step::Orderer(node, _)) if access.model.parameters.consensus.suspends_batching() => {
                added.push(node);
            }
            Some(_) => {}
        }
    }
}

/// Performs the next step once all existing members participate. `None`: there is no step left.
async fn advance(access: &Access, channel: &str, known: &Known) -> Result<Option<Step>, Halt> {
    let present = until(Instant::now() + access.policy().update, || {
        newest_config(access, channel)
    })
    .await?;
    let before = present.config.channel_group.clone().unwrap_or_default();
    let step = next_step(&access.model, known, &before)?;
    let work = async {
        // Another orderer raises the quorum.
        if !matches!(step, Some(Step::Organisations(_))) {
            wait_for_participation(access, channel, &before, present.newest + 1).await?;
        }
        if let Some(Step::Orderer(node, _)) = &step {
            wait_until_caught_up(access, channel, node, present.newest + 1).await?;
        }
        if let Some(step) = &step {
            submit_step(access, channel, known, step).await?;
        }
        Ok(())
    };
    let is_suspended = is_batching_suspended(&before)?;
    work.await.map_err(|halt: Halt| {
        if is_suspended {
            Halt {
                why: with_suspension_note(halt.why),
                ..halt
            }
        } else {
            halt
        }
    })?;
    Ok(step)
}

/// Adds the consequence of suspended block cutting for clients.
fn with_suspension_note(why: CallError) -> CallError {
    let with_note = |text: String| {
        format!(
            "{text}; transactions wait for up to {} s until all orderers participate",
            SUSPENDED_TIMEOUT_MS / 1000
        )
    };
    match why {
        CallError::Unavailable(text) => CallError::Unavailable(with_note(text)),
        CallError::Refused(text) => CallError::Refused(with_note(text)),
    }
}

/// The first of the added orderers that stalls. `None`: none was added.
async fn first_stalled<'n>(access: &Access, channel: &str, added: &'n [NodeName]) -> Option<&'n NodeName> {
    let each = added.iter().map(|node| {
        Box::pin(async move {
            wait_until_stalled(access, channel, node).await;
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

/// Polls until an orderer shows no Raft activity, or does not respond, for too long. A leader's heartbeat
/// causes activity every 100 ms; without one the orderer starts an election after 2 to 4 s (`genesis`).
/// Followers of the channel are exempt.
async fn wait_until_stalled(access: &Access, channel: &str, node: &NodeName) {
    let (mut seen, mut moved) = (None, Instant::now());
    let mut pause = Pause::new();
    while moved.elapsed() < access.policy().orderer_stalled {
        pause.wait().await;
        let statuses = async { Metrics::connect(access, node).await?.statuses().await };
        let Ok(statuses) = statuses.await else { continue };
        // Without any activity the orderer may not know yet that it is a consenter.
        let persist_count = statuses
            .get(channel)
            .map(|status| status.persist_count)
            .filter(|persist_count| *persist_count > 0);
        if persist_count.is_none() || persist_count != seen {
            (seen, moved) = (persist_count, Instant::now());
        }
    }
}

/// A step with the resulting configuration.
#[derive(Debug, PartialEq)]
enum Step {
    Organisations(ConfigGroup),
    Orderer(NodeName, ConfigGroup),
    /// Block cutting resumes.
    Resume(ConfigGroup),
}

/// The next step from a configuration to that of the model. `None`: there is none left.
fn next_step(model: &NetworkModel, known: &Known, before: &ConfigGroup) -> Result<Option<Step>, CallError> {
    let mut after = before.clone();
    let application = after
        .groups
        .get_mut(APPLICATION)
        .ok_or_else(|| unreadable(APPLICATION))?;
    let missing: Vec<&Organisation> = model
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
    let Some(node) = model.ordering.nodes.iter().find(|node| !consenters.has(node)) else {
        if !is_batching_suspended(before)? {
            return Ok(None);
        }
        set_batching(
            orderer,
            (model.parameters.batch_messages, BLOCK_PREFERRED_BYTES),
            model.parameters.batch_timeout_ms,
        )?;
        return Ok(Some(Step::Resume(after)));
    };
    let certificates = known
        .get(node)
        .ok_or_else(|| CallError::Refused(format!("the stored spec has no certificates of {node}")))?;
    consenters.add(node, certificates, &model.ordering.msp);
    consenters.write(orderer)?;
    if model.parameters.consensus.suspends_batching() {
        set_batching(
            orderer,
            (SUSPENDED_MESSAGES, BLOCK_MAX_BYTES),
            SUSPENDED_TIMEOUT_MS,
        )?;
    }
    let addresses: Vec<NodeName> = model
        .ordering
        .nodes
        .iter()
        .filter(|node| consenters.has(node))
        .cloned()
        .collect();
    let own = orderer
        .groups
        .get_mut(&model.ordering.name)
        .ok_or_else(|| unreadable(&model.ordering.name))?;
    set(own, ENDPOINTS, &genesis::endpoints(&addresses))?;
    Ok(Some(Step::Orderer(node.clone(), after)))
}

/// Sets size and timeout of blocks.
fn set_batching(
    orderer: &mut ConfigGroup,
    (messages, bytes): (u32, u32),
    milliseconds: u32,
) -> Result<(), CallError> {
    set(orderer, BATCH_SIZE, &genesis::batch_size(messages, bytes))?;
    set(orderer, BATCH_TIMEOUT, &genesis::batch_timeout(milliseconds))
}

/// Checks the batch size for suspension; the timeout is no criterion because proofs change it.
fn is_batching_suspended(root: &ConfigGroup) -> Result<bool, CallError> {
    let entry = root
        .groups
        .get(ORDERER)
        .and_then(|orderer| orderer.values.get(BATCH_SIZE));
    let size = entry
        .and_then(|entry| BatchSize::decode(&entry.value[..]).ok())
        .ok_or_else(|| unreadable(BATCH_SIZE))?;
    Ok(size.max_message_count == SUSPENDED_MESSAGES)
}

/// Submits the update of a step until it is ordered. Each attempt is based on the current configuration,
/// which others may have changed.
async fn submit_step(access: &Access, channel: &str, known: &Known, step: &Step) -> Result<(), CallError> {
    until(
        Instant::now() + access.policy().update + access.config_update_delay(),
        || async {
            let before = config_root(access, channel).await?;
            if is_applied(&before, step)? {
                return Ok(());
            }
            let Some(step) = next_step(&access.model, known, &before)? else {
                return Ok(());
            };
            let envelope = update(access, channel, &before, &step)?;
            broadcast_to(access, &consenters(access, &before)?, &envelope).await?;
            until(
                Instant::now() + access.policy().update_ordering + access.config_update_delay(),
                || async {
                    let lost = || {
                        CallError::Unavailable(
                            "the orderers accepted an update but have not ordered it".to_owned(),
                        )
                    };
                    is_applied(&config_root(access, channel).await?, &step)?
                        .then_some(())
                        .ok_or_else(lost)
                },
            )
            .await
        },
    )
    .await
}

async fn config_root(access: &Access, channel: &str) -> Result<ConfigGroup, CallError> {
    Ok(newest_config(access, channel)
        .await?
        .config
        .channel_group
        .unwrap_or_default())
}

/// The update of a step with all required signatures.
fn update(access: &Access, channel: &str, before: &ConfigGroup, step: &Step) -> Result<Envelope, CallError> {
    let (after, signers) = match step {
        Step::Organisations(after) => {
            let present = before
                .groups
                .get(APPLICATION)
                .ok_or_else(|| unreadable(APPLICATION))?;
            let signing = access
                .model
                .organisations
                .iter()
                .filter(|o| present.groups.contains_key(&o.name));
            (
                after,
                signing.map(|o| access.admin(o)).collect::<Result<Vec<_>, _>>()?,
            )
        }
        Step::Orderer(_, after) | Step::Resume(after) => (after, vec![access.admin(&access.model.ordering)?]),
    };
    let update = configupdate::update(channel, before, after);
    let signed = update.and_then(|update| configupdate::signed(&update, &signers.iter().collect::<Vec<_>>()));
    signed.ok_or_else(|| CallError::Refused("the channel configuration cannot be changed".to_owned()))
}

/// Returns true if a configuration includes the result of a step.
fn is_applied(root: &ConfigGroup, step: &Step) -> Result<bool, CallError> {
    match step {
        Step::Orderer(node, _) => Ok(Consenters::read(root)?.has(node)),
        Step::Resume(_) => Ok(!is_batching_suspended(root)?),
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

/// Waits until a follower has this many blocks.
async fn wait_until_caught_up(
    access: &Access,
    channel: &str,
    node: &NodeName,
    height: u64,
) -> Result<(), CallError> {
    until(Instant::now() + access.policy().orderer_join, || async {
        let has = Participation::connect(access, node)
            .await?
            .height(channel)
            .await?;
        let behind = || CallError::Unavailable(format!("{has} of {height} blocks received"));
        (has >= height).then_some(()).ok_or_else(behind)
    })
    .await
    .map_err(|e| e.of(node))
}

/// Waits until a quorum of the configured orderers, including all responsive ones, participates. Unresponsive
/// orderers are ignored: they failed earlier. On a timeout with Raft the orderer added last counts as
/// stalled; with BFT the leader may be changing.
async fn wait_for_participation(
    access: &Access,
    channel: &str,
    root: &ConfigGroup,
    height: u64,
) -> Result<(), Halt> {
    let consenters = Consenters::read(root)?;
    let last = consenters.hosts().pop();
    let nodes: Vec<NodeName> = access
        .orderers()
        .iter()
        .filter(|node| consenters.has(node))
        .cloned()
        .collect();
    let may_stall = access.model.parameters.consensus.suspends_batching();
    let stalled = nodes.iter().find(|node| may_stall && last == Some(node.as_str()));
    let nodes: Vec<&NodeName> = nodes.iter().collect();
    let taken = until(Instant::now() + access.policy().orderer_join, || {
        check_participation(access, channel, &nodes, height)
    })
    .await;
    taken.map_err(|why| Halt {
        why,
        stalled: stalled.cloned(),
    })
}

/// Checks that the responsive ones of these orderers participate in a channel and have this many blocks.
pub(super) async fn check_participation(
    access: &Access,
    channel: &str,
    nodes: &[&NodeName],
    height: u64,
) -> Result<(), CallError> {
    let ask = |node: &&NodeName| {
        let node = (*node).clone();
        async move {
            (Metrics::connect(access, &node).await.ok()?.statuses().await.ok())
                .map(|statuses| (node, statuses.get(channel).copied()))
        }
    };
    let answers: Vec<(NodeName, Option<OrdererStatus>)> = join_all(nodes.iter().map(ask))
        .await
        .into_iter()
        .flatten()
        .collect();
    check_statuses(access.model.parameters.consensus, &answers, nodes.len(), height)
}

/// Checks the reported statuses; `total` counts all orderers.
fn check_statuses(
    consensus: Consensus,
    answers: &[(NodeName, Option<OrdererStatus>)],
    total: usize,
    height: u64,
) -> Result<(), CallError> {
    if let Some((node, _)) = answers.iter().find(|(_, status)| status.is_none()) {
        return Err(CallError::Unavailable(format!(
            "{node} does not participate in ordering yet"
        )));
    }
    let statuses: Vec<(&NodeName, OrdererStatus)> = answers
        .iter()
        .filter_map(|(node, status)| Some((node, (*status)?)))
        .collect();
    let (_, leader) = leader(&statuses)
        .ok_or_else(|| CallError::Unavailable(format!("no {} leader yet", consensus.title())))?;
    let active = usize::try_from(leader.active).unwrap_or(usize::MAX);
    if total > 1 && active < answers.len().max(consensus.quorum(total)) {
        return Err(CallError::Unavailable(messages::following(
            consensus,
            active,
            &format!("{total} orderers"),
        )));
    }
    match answers
        .iter()
        .find(|(_, status)| status.is_some_and(|status| status.height + consensus.tolerated_lag() < height))
    {
        Some((node, _)) => Err(CallError::Unavailable(format!("{node} is still catching up"))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "channel_membership_tests.rs"]
mod tests;
