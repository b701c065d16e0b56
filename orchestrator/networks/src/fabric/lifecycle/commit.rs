//! Check between the steps of a rolling restart: the network commits and every responsive node participates.

use crate::{
    InitError,
    client::call::CallError,
    fabric::{
        client::{access::Access, endorser::Peer, orderer::newest_config},
        lifecycle::{failures::all, ordering::check_participation},
        prove::prove,
    },
    retry::until,
};
use chainpool_agent::NodeName;
use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

/// Runs the check. It ignores unresponsive nodes: they failed earlier, or restart later.
pub(crate) async fn commit(access: &Access) -> Result<(), InitError> {
    // A proof during an election may be lost.
    let names = || access.model.channels.iter().map(|channel| channel.name.as_str());
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

/// Waits until every responsive orderer participates and has the block that is newest now.
async fn orderers(access: &Access, channel: &str) -> Result<(), CallError> {
    let deadline = Instant::now() + access.policy().catch_up;
    let height = until(deadline, || newest_config(access, channel)).await?.newest + 1;
    let orderers: Vec<&NodeName> = access.orderers().iter().collect();
    until(deadline, || {
        check_participation(access, channel, &orderers, height)
    })
    .await
}

/// Waits until every responsive peer has the block that is newest now.
async fn peers(access: &Access, channel: &str) -> Result<(), CallError> {
    let deadline = Instant::now() + access.policy().catch_up;
    let height = until(deadline, || newest_config(access, channel)).await?.newest + 1;
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
        Err(e) if e.is_transient() => return Ok(()),
        Err(e) => return Err(e.of(node)),
    };
    until(deadline, || peer.has(channel, height))
        .await
        .map_err(|e| e.of(node))
}
