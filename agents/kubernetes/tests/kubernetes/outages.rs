//! Outages of the API server and of aggregated APIs.

use crate::{
    bed::run_script,
    fixture::{ANY, Fixture, RUN, STAY, eventually, eventually_within, key, node},
};
use anyhow::{Result, ensure};
use chainpool_agent::{Agent, ClusterKey, Error, NodeState, Scope, Wake, network_name};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::{Api, api::ListParams};
use std::time::Duration;
use tokio::time::timeout;

pub(crate) async fn nodes_survive_an_api_server_outage(fixture: &Fixture<'_>) -> Result<()> {
    let (key, node) = (key(), node("v0", STAY));
    fixture.start(&key, &node).await?;
    let incarnation = fixture.agent.incarnation(&key, &node.name).await?;
    let mut wakes = fixture.agent.watch();
    ensure!(timeout(Duration::from_secs(20), wakes.next()).await? == Some(Wake::Connected));
    run_script(&["stop", "kube-apiserver"])?;
    for error in [
        fixture.agent.observe(Scope::Host).await.err(),
        fixture.agent.probe().await.err(),
        fixture.agent.ensure_network(&key, &ANY).await.err(),
        fixture.ensure(&key, &node, &RUN).await.err(),
        fixture.agent.drop_cluster(key.cluster, 1).await.err(),
    ] {
        ensure!(matches!(error, Some(Error::Unreachable(_))), "{error:?}");
    }
    loop {
        match timeout(Duration::from_secs(20), wakes.next()).await? {
            Some(Wake::Lost(_)) => break,
            Some(_) => {}
            None => anyhow::bail!("the watch ended without Wake::Lost"),
        }
    }
    run_script(&["start", "kube-apiserver"])?;
    eventually("the cluster responds", async || {
        match fixture.agent.observe(Scope::Host).await {
            Ok(observation) => Ok(observation.node_state(1, &node.name) == NodeState::Running),
            // At first it has not loaded the RBAC rules.
            Err(_) => Ok(false),
        }
    })
    .await?;
    ensure!(
        fixture.agent.incarnation(&key, &node.name).await? == incarnation,
        "the node was restarted"
    );
    fixture.ensure(&key, &node, &RUN).await?;
    ensure!(
        fixture.agent.incarnation(&key, &node.name).await? == incarnation,
        "the node was restarted"
    );
    fixture.agent.drop_cluster(key.cluster, 1).await?;
    Ok(())
}

/// An API without service blocks the deletion of every namespace, because its objects cannot be listed.
pub(crate) async fn an_unavailable_api_does_not_block_the_next_generation(
    fixture: &Fixture<'_>,
) -> Result<()> {
    let (old, node) = (key(), node("v0", STAY));
    let next = ClusterKey { generation: 2, ..old };
    fixture.start(&old, &node).await?;
    let broken = fixture.broken_api().await?;
    for _ in 0..2 {
        fixture.agent.drop_cluster(old.cluster, 1).await?;
    }
    let namespaces: Api<Namespace> = Api::all(fixture.bed.admin.clone());
    let blocked = namespaces.get(&network_name(&old)).await?;
    ensure!(blocked.metadata.deletion_timestamp.is_some(), "{blocked:?}");
    let all = ListParams::default();
    ensure!(
        fixture.api::<Pod>(&old).list(&all).await?.items.is_empty(),
        "a pod is left"
    );
    ensure!(
        fixture
            .api::<PersistentVolumeClaim>(&old)
            .list(&all)
            .await?
            .items
            .is_empty(),
        "a claim is left"
    );
    fixture.start(&next, &node).await?;
    fixture.wait_for_state(&next, &node, NodeState::Running).await?;
    fixture.delete_api(&broken).await?;
    // Kubernetes retries the deletion with a backoff of up to a minute.
    eventually_within(
        Duration::from_mins(3),
        "the old namespace is deleted",
        async || Ok(namespaces.get_opt(&network_name(&old)).await?.is_none()),
    )
    .await?;
    ensure!(fixture.state(&next, &node).await? == NodeState::Running);
    fixture.agent.drop_cluster(next.cluster, 2).await?;
    Ok(())
}
