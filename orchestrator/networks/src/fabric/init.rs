//! Boot actions that turn running nodes into a network: nodes join channels, channels add members, chaincodes
//! deploy.

use super::{
    access::Access,
    channel_membership, commit,
    connect::CallError,
    deploy,
    endorser::Peer,
    participation::Participation,
    render::{COMMIT, DEPLOY, JOIN, MEMBERS},
    retry::until_responsive,
};
use crate::{InitError, Nodes};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tokio::time::Instant;

/// A channel's name and its genesis block.
type FirstBlock = (String, Vec<u8>);

/// Performs an action. Idempotent.
pub(super) async fn init(nodes: &Nodes, action: &str) -> Result<(), InitError> {
    let access = Access::new(nodes).map_err(|e| InitError::new(e.to_string()))?;
    match action {
        JOIN => channels(&access).await,
        MEMBERS => channel_membership::add_members(&access).await,
        DEPLOY => deploy::chaincodes(&access).await,
        COMMIT => commit::commit(&access).await,
        other => Err(InitError::new(format!("fabric has no action {other:?}"))),
    }
}

/// Joins every node to every channel. Each joins as soon as it responds, independent of the others.
async fn channels(access: &Access) -> Result<(), InitError> {
    let blocks: Vec<FirstBlock> = access
        .model
        .channels
        .iter()
        .map(|channel| Ok((channel.name.clone(), BASE64.decode(&channel.genesis)?)))
        .collect::<Result<_, base64::DecodeError>>()
        .map_err(|e| {
            InitError::new(format!(
                "the stored spec is not a Fabric spec: {e}; reset or delete the cluster"
            ))
        })?;
    let deadline = Instant::now() + access.policy().answer;
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

/// Joins a node once it responds.
fn join<'a, F>(node: &'a NodeName, deadline: Instant, attempt: F) -> BoxFuture<'a, Result<(), CallError>>
where
    F: FnMut() -> BoxFuture<'a, Result<(), CallError>> + Send + 'a,
{
    async move { until_responsive(deadline, attempt).await.map_err(|e| e.of(node)) }.boxed()
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

/// Collects all errors.
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
