//! Whether a network carries on: it commits, and every node that answers takes part in that. So one node after the other can be
//! started anew, and there are always enough of them.

use super::{
    access::Access, connect::CallError, endorser::Peer, init::all, members::take_part, orderer::configured,
    patience::until, prove::prove,
};
use crate::InitError;
use chainpool_agent::NodeName;
use futures::future::{join_all, try_join_all};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node that has just started is given to have what the others have.
const CATCH_UP: Duration = Duration::from_secs(20);

/// Proves it. A node that does not answer at all is not waited for: it was lost before, or has its turn later.
pub(super) async fn commit(access: &Access) -> Result<(), InitError> {
    // A proof that meets an election may be lost, and is waited for in vain.
    let names = || access.facts.channels.iter().map(|channel| channel.name.as_str());
    let ordered = names().map(|name| async move {
        orderers(access, name)
            .await
            .map_err(|e| e.of(&format!("channel {name}")))
    });
    all(join_all(ordered).await)?;
    prove(&access.nodes).await.map_err(|e| InitError::new(e.0))?;
    let spread = names().map(|name| async move {
        peers(access, name)
            .await
            .map_err(|e| e.of(&format!("channel {name}")))
    });
    all(join_all(spread).await)
}

/// Waits until every orderer that answers takes part and has the newest block of now.
async fn orderers(access: &Access, channel: &str) -> Result<(), CallError> {
    let deadline = Instant::now() + CATCH_UP;
    let height = until(deadline, || configured(access, channel)).await?.newest + 1;
    let orderers: Vec<&NodeName> = access.orderers().iter().collect();
    until(deadline, || take_part(access, channel, &orderers, height)).await
}

/// Waits until every peer that answers has the newest block of now.
async fn peers(access: &Access, channel: &str) -> Result<(), CallError> {
    let deadline = Instant::now() + CATCH_UP;
    let height = until(deadline, || configured(access, channel)).await?.newest + 1;
    let peers = access
        .peers()
        .map(|(_, node)| has(access, node, channel, height, deadline));
    try_join_all(peers.collect::<Vec<_>>()).await.map(drop)
}

async fn has(
    access: &Access,
    node: &NodeName,
    channel: &str,
    height: u64,
    deadline: Instant,
) -> Result<(), CallError> {
    let peer = match Peer::connect(access, node).await {
        Ok(peer) => peer,
        Err(CallError::Silent(_)) => return Ok(()),
        Err(e) => return Err(e.of(node)),
    };
    until(deadline, || peer.has(channel, height))
        .await
        .map_err(|e| e.of(node))
}
