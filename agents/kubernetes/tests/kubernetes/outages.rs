//! The cluster goes away between calls, or a part of it is broken, and nothing is lost.

use crate::{
    bed::done,
    yard::{ANY, RUN, STAY, Yard, eventually, eventually_within, key, node},
};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, ClusterKey, Error, NodeState, Scope, Wake, network_name};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::{Api, api::ListParams};
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
    eventually("the cluster answers", async || {
        match yard.agent.observe(Scope::Host).await {
            Ok(seen) => Ok(seen.node_state(1, &node.name) == NodeState::Running),
            // In its first moments it knows nobody's rights yet.
            Err(_) => Ok(false),
        }
    })
    .await?;
    ensure!(
        yard.agent.incarnation(&key, &node.name).await? == life,
        "the node was restarted"
    );
    yard.ensure(&key, &node, &RUN).await?;
    ensure!(
        yard.agent.incarnation(&key, &node.name).await? == life,
        "the node was restarted"
    );
    yard.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

/// An API whose service is gone keeps every namespace that is deleted, because the cluster cannot list what that API has in it.
pub(crate) async fn a_broken_api_does_not_hold_up_the_next_generation(yard: &Yard<'_>) -> Result<()> {
    let (old, node) = (key(), node("v0", STAY));
    let next = ClusterKey { generation: 2, ..old };
    yard.start(&old, &node).await?;
    let broken = yard.broken_api().await?;
    for _ in 0..2 {
        yard.agent.drop_cluster(old.cluster, 1).await?;
    }
    let namespaces: Api<Namespace> = Api::all(yard.bed.admin.clone());
    let stays = namespaces.get(&network_name(&old)).await?;
    ensure!(stays.metadata.deletion_timestamp.is_some(), "{stays:?}");
    let all = ListParams::default();
    ensure!(
        yard.api::<Pod>(&old).list(&all).await?.items.is_empty(),
        "a pod is left"
    );
    ensure!(
        yard.api::<PersistentVolumeClaim>(&old)
            .list(&all)
            .await?
            .items
            .is_empty(),
        "a claim is left"
    );
    yard.start(&next, &node).await?;
    yard.eventually_is(&next, &node, NodeState::Running).await?;
    yard.remove_api(&broken).await?;
    // The cluster looks at such a namespace again after a pause, which grows to a minute.
    eventually_within(Duration::from_mins(3), "the old namespace goes", async || {
        Ok(namespaces.get_opt(&network_name(&old)).await?.is_none())
    })
    .await?;
    ensure!(yard.state(&next, &node).await? == NodeState::Running);
    yard.agent.drop_cluster(next.cluster, 2).await?;
    Ok(())
}
