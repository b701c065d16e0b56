//! What makes a network of nodes that run: they join the channels, become members of them, and chaincodes are defined there.

use super::{
    access::Access,
    commit,
    connect::CallError,
    deploy,
    endorser::Peer,
    members,
    participation::Participation,
    patience::until_it_answers,
    render::{COMMIT, DEPLOY, JOIN, MEMBERS},
};
use crate::{InitError, Nodes};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node is given to answer at all.
const START: Duration = Duration::from_secs(10);

/// A channel's name and its first block.
type FirstBlock = (String, Vec<u8>);

/// Performs an action. What is done already counts as done.
pub(super) async fn init(nodes: &Nodes, action: &str) -> Result<(), InitError> {
    let access = Access::new(nodes).map_err(|e| InitError::new(e.to_string()))?;
    match action {
        JOIN => channels(&access).await,
        MEMBERS => members::members(&access).await,
        DEPLOY => deploy::chaincodes(&access).await,
        COMMIT => commit::commit(&access).await,
        other => Err(InitError::new(format!("fabric has no action {other:?}"))),
    }
}

/// Every node joins every channel, each as soon as it answers: none waits for another.
async fn channels(access: &Access) -> Result<(), InitError> {
    let blocks: Vec<FirstBlock> = access
        .facts
        .channels
        .iter()
        .map(|channel| Ok((channel.name.clone(), BASE64.decode(&channel.genesis)?)))
        .collect::<Result<_, base64::DecodeError>>()
        .map_err(|e| InitError::new(format!("the stored spec is not that of a Fabric network: {e}")))?;
    let deadline = Instant::now() + START;
    let blocks = &blocks;
    let orderers = access.orderers().iter().map(|node| {
        join(node, deadline, move || {
            orderer_joins(access, node, blocks).boxed()
        })
    });
    let peers = access
        .peers()
        .map(|(_, node)| join(node, deadline, move || peer_joins(access, node, blocks).boxed()));
    all(join_all(orderers.chain(peers).collect::<Vec<_>>()).await)
}

/// Has a node join, once it answers.
fn join<'a, F>(node: &'a NodeName, deadline: Instant, attempt: F) -> BoxFuture<'a, Result<(), CallError>>
where
    F: FnMut() -> BoxFuture<'a, Result<(), CallError>> + Send + 'a,
{
    async move { until_it_answers(deadline, attempt).await.map_err(|e| e.of(node)) }.boxed()
}

async fn orderer_joins(access: &Access, node: &NodeName, blocks: &[FirstBlock]) -> Result<(), CallError> {
    let mut orderer = Participation::connect(access, node).await?;
    let joined = orderer.list().await?;
    for (channel, block) in blocks.iter().filter(|(channel, _)| !joined.contains(channel)) {
        orderer
            .join(block)
            .await
            .map_err(|e| e.of(&format!("channel {channel}")))?;
    }
    Ok(())
}

async fn peer_joins(access: &Access, node: &NodeName, blocks: &[FirstBlock]) -> Result<(), CallError> {
    let peer = Peer::connect(access, node).await?;
    let joined = peer.channels().await?;
    for (channel, block) in blocks.iter().filter(|(channel, _)| !joined.contains(channel)) {
        peer.join(block)
            .await
            .map_err(|e| e.of(&format!("channel {channel}")))?;
    }
    Ok(())
}

/// Success, or every error.
pub(super) fn all(done: impl IntoIterator<Item = Result<(), CallError>>) -> Result<(), InitError> {
    let errors: Vec<String> = done
        .into_iter()
        .filter_map(|done| done.err().map(|e| e.to_string()))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(InitError::new(errors.join("; ")))
    }
}
