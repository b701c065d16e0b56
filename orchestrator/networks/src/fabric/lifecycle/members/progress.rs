//! Waits for orderers that join a channel.

use crate::{
    client::call::CallError,
    fabric::{
        client::{access::Access, metrics::Metrics, participation::Participation},
        config::consenters::Consenters,
        lifecycle::{members::halt::Halt, ordering::check_participation},
        proto::configtx::ConfigGroup,
    },
    retry::{Pause, until},
};
use chainpool_agent::NodeName;
use futures::future::select_all;
use tokio::time::Instant;

/// The first of the added orderers that stalls. `None`: none was added.
pub(crate) async fn first_stalled<'n>(
    access: &Access,
    channel: &str,
    added: &'n [NodeName],
) -> Option<&'n NodeName> {
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
/// causes activity every 100 ms; without one the orderer starts an election after 2 to 4 s (`config::raft`).
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

/// Waits until a follower has this many blocks.
pub(crate) async fn wait_until_caught_up(
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
pub(crate) async fn wait_for_participation(
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
