//! Adds organisations and orderers of the model to channels by configuration updates.
//!
//! Organisations come first, all in one update signed by the administrators of the existing ones. Orderers
//! follow one at a time: each needs all blocks before it joins, and must participate before the next one
//! joins. A follower polls for new blocks with growing intervals of up to 10 s (`orderer/common/follower`).
//! Growing from one orderer to two stops ordering until the second one finds itself in the configuration.
//!
//! An orderer of 2.5.0 that joins Raft stalls permanently if a block is committed while it applies its own
//! addition: `apply` waits for `WALSyncC`, which `node.run` serves, and that waits for `applyC`
//! (`etcdraft/chain.go`, `node.go`). So block cutting is suspended until all orderers participate, and then
//! resumes with the previous settings, which are in an older block. An orderer that stalls anyway is restarted.
//!
//! All this is about Raft. With BFT nothing is suspended: the others continue and the new orderer
//! participates from the next block on.

mod batching;
mod halt;
mod progress;
mod step;

use crate::{
    InitError,
    client::call::CallError,
    fabric::{
        client::{
            access::Access,
            orderer::{ChannelConfig, broadcast_to, config_at, newest_config},
        },
        config::{
            consenters::{Consenters, unreadable},
            names::{APPLICATION, BATCH_SIZE},
            update,
        },
        lifecycle::{
            failures::all,
            members::{
                batching::{Batching, SUSPENDED_TIMEOUT_MS, is_batching_suspended},
                halt::Halt,
                progress::{first_stalled, wait_for_participation, wait_until_caught_up},
                step::{Known, Step, is_applied, next_step},
            },
        },
        model::files,
        proto::{common::Envelope, configtx::ConfigGroup, lossless::Lossless},
    },
    retry::until,
};
use chainpool_agent::NodeName;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

/// Adds missing members to every channel. Idempotent.
pub(crate) async fn add_members(access: &Access) -> Result<(), InitError> {
    let certificates =
        |node: &NodeName| Some((node.clone(), files::certificates(access.nodes.spec.node(node)?)?));
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
    let (present, batching) = until(Instant::now() + access.policy().update, || async {
        let present = newest_config(access, channel).await?;
        let batching = batching(access, channel, &present).await?;
        Ok((present, batching))
    })
    .await?;
    let before = present.config.channel_group.clone().unwrap_or_default();
    let step = next_step(&access.model, known, &before, &batching)?;
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
    why.map(|text| {
        format!(
            "{text}; transactions wait for up to {} s until all orderers participate",
            SUSPENDED_TIMEOUT_MS / 1000
        )
    })
}

/// Submits the update of a step until it is ordered. Each attempt is based on the current configuration,
/// which others may have changed.
async fn submit_step(access: &Access, channel: &str, known: &Known, step: &Step) -> Result<(), CallError> {
    until(
        Instant::now() + access.policy().update + access.config_update_delay(),
        || async {
            let present = newest_config(access, channel).await?;
            let batching = batching(access, channel, &present).await?;
            let before = present.config.channel_group.unwrap_or_default();
            if is_applied(&before, step)? {
                return Ok(());
            }
            let Some(step) = next_step(&access.model, known, &before, &batching)? else {
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
                    let root = config_root(access, channel).await?;
                    is_applied(&root, &step)?.then_some(()).ok_or_else(lost)
                },
            )
            .await
        },
    )
    .await
}

/// The batch settings of the newest configuration in which block cutting is not suspended.
async fn batching(access: &Access, channel: &str, newest: &ChannelConfig) -> Result<Batching, CallError> {
    let (mut root, mut number) = (newest.config.channel_group.clone(), newest.number);
    loop {
        if let Some(batching) = Batching::read(&root.unwrap_or_default())? {
            return Ok(batching);
        }
        let before = number.checked_sub(1).ok_or_else(|| unreadable(BATCH_SIZE))?;
        let previous = config_at(access, channel, before).await?;
        (root, number) = (previous.config.channel_group, previous.number);
    }
}

async fn config_root(access: &Access, channel: &str) -> Result<Lossless<ConfigGroup>, CallError> {
    Ok(newest_config(access, channel)
        .await?
        .config
        .channel_group
        .unwrap_or_default())
}

/// The update of a step with all required signatures.
fn update(
    access: &Access,
    channel: &str,
    before: &Lossless<ConfigGroup>,
    step: &Step,
) -> Result<Envelope, CallError> {
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
    let update = update::update(channel, before, after);
    let signed = update.and_then(|update| update::signed(&update, &signers.iter().collect::<Vec<_>>()));
    signed.ok_or_else(|| CallError::Refused("the channel configuration cannot be changed".to_owned()))
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
