//! The cluster goes away between calls, and nothing is lost.

use crate::{
    bed::done,
    yard::{ANY, RUN, STAY, Yard, eventually, key, node},
};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, Error, NodeState, Scope, Wake};
use futures::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) async fn the_api_server_goes_away_and_comes_back(yard: &Yard<'_>) -> Result<()> {
    let (key, node) = (key(), node("v0", STAY));
    yard.start(&key, &node).await?;
    let life = yard.agent.incarnation(&key, &node.name).await?;
    let mut wakes = yard.agent.watch();
    ensure!(timeout(Duration::from_secs(20), wakes.next()).await? == Some(Wake::Connected));
    done(&["stop", "kube-apiserver"])?;
    for error in [
        yard.agent.observe(Scope::Host).await.err(),
        yard.agent.probe().await.err(),
        yard.agent.ensure_network(&key, &ANY).await.err(),
        yard.ensure(&key, &node, &RUN).await.err(),
        yard.agent.drop_cluster(key.cluster, 1).await.err(),
    ] {
        ensure!(matches!(error, Some(Error::Unreachable(_))), "{error:?}");
    }
    loop {
        match timeout(Duration::from_secs(20), wakes.next()).await? {
            Some(Wake::Lost(_)) => break,
            Some(_) => {}
            None => anyhow::bail!("the watch ended without a word"),
        }
    }
    done(&["start", "kube-apiserver"])?;
    eventually("the cluster answers", async || match yard.agent.observe(Scope::Host).await {
        Ok(seen) => Ok(seen.node_state(1, &node.name) == NodeState::Running),
        // In its first moments it knows nobody's rights yet.
        Err(_) => Ok(false),
    })
    .await?;
    ensure!(yard.agent.incarnation(&key, &node.name).await? == life, "the node was restarted");
    yard.ensure(&key, &node, &RUN).await?;
    ensure!(yard.agent.incarnation(&key, &node.name).await? == life, "the node was restarted");
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}
