//! Nodes join channels.

use crate::{
    InitError,
    client::call::CallError,
    fabric::{
        client::{access::Access, endorser::Peer, participation::Participation},
        lifecycle::failures::all,
    },
    retry::until_responsive,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use tokio::time::Instant;

/// A channel's name and its genesis block.
type FirstBlock = (String, Vec<u8>);

/// Joins every node to every channel. Each joins as soon as it responds, independent of the others.
pub(crate) async fn channels(access: &Access) -> Result<(), InitError> {
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
