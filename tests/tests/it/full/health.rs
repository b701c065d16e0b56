//! Health states reflect the ledger's evidence, and faults are repaired by the repair policy.

use crate::support::{applied, commit, read, rpc};
use anyhow::{Context, Result, ensure};
use chainpool_api::{Cluster, ClusterState, HealthChange, HealthState, Operation, Page};
use chainpool_tests::{Bed, Engine, Options, within};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};

async fn fill_in_maintenance(bed: &Bed) -> Result<Cluster> {
    let cluster = bed.fill().await?.remove(0);
    bed.api
        .patch(
            &format!("/clusters/{}", cluster.id),
            json!({"maintenance_seconds": 600}),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_quorum_is_broken_even_if_every_port_answers() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = fill_in_maintenance(&bed).await?;
    let (_, bundle) = applied(&bed).await?;
    for node in ["v2", "v3"] {
        bed.engine.pause(&Engine::container(&cluster, node)).await?;
    }
    let broken = bed
        .wait_for_health(cluster.id, HealthState::Broken, &["2 of 4", "v2", "v3"])
        .await?;
    let health: Value = reqwest::get(format!("{}/health", rpc(&bundle, 0)?))
        .await?
        .json()
        .await?;
    ensure!(
        health["result"].is_object(),
        "/health of the other nodes must report OK: {health}"
    );

    let stalled = broken.height.unwrap_or(0);
    for node in ["v2", "v3"] {
        bed.engine.unpause(&Engine::container(&cluster, node)).await?;
    }
    let healed = bed
        .wait_for_cluster(cluster.id, "healthy again", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.height.unwrap_or(0) > stalled,
        "healthy at height {:?} without a block above {stalled}",
        healed.height
    );

    bed.engine.pause(&Engine::container(&cluster, "v1")).await?;
    bed.wait_for_health(cluster.id, HealthState::Degraded, &["v1"])
        .await?;
    commit(&bundle, 0, "still", "commits").await?;
    bed.engine.unpause(&Engine::container(&cluster, "v1")).await?;
    bed.wait_for_cluster(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    let history: Page<HealthChange> = bed.api.get(&format!("/clusters/{}/health", cluster.id)).await?;
    let states: Vec<HealthState> = history.items.iter().map(|h| h.state).collect();
    ensure!(
        states.contains(&HealthState::Broken) && states.contains(&HealthState::Degraded),
        "{states:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_of_a_free_cluster_is_restarted_in_place_and_the_cluster_offered_again() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let container = Engine::container(&cluster, "v1");
    let before = bed.engine.incarnation(&container).await?;
    bed.engine.kill(&container).await?;
    bed.wait_for_cluster(cluster.id, "withdrawn", |c| !c.offered)
        .await?;
    let repaired = bed
        .wait_for_cluster(cluster.id, "offered again", |c| c.offered)
        .await?;
    let after = bed.engine.incarnation(&container).await?;
    ensure!(
        repaired.generation == 1 && before.0 == after.0 && before.1 != after.1,
        "not in place: {before:?} {after:?} {repaired:?}"
    );
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_cluster_without_quorum_becomes_healthy_and_is_offered_again() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    // Containers are removed, so that a repair in place takes longer than the detection.
    let names = ["v0", "v1", "v2"].map(|node| Engine::container(&cluster, node));
    join_all(names.iter().map(|name| bed.engine.remove(name)))
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    bed.wait_for_cluster(cluster.id, "withdrawn", |c| !c.offered)
        .await?;
    let fresh = bed
        .wait_for_cluster(cluster.id, "offered again", |c| c.offered)
        .await?;
    ensure!(fresh.health.state == HealthState::Healthy, "{fresh:?}");
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_cluster_is_repaired_in_place_with_its_data() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "kept", "yes").await?;
    bed.engine.kill(&Engine::container(&cluster, "v0")).await?;
    bed.engine.pause(&Engine::container(&cluster, "v1")).await?;
    bed.engine.remove(&Engine::container(&cluster, "v2")).await?;
    let unhealthy = bed
        .wait_for_cluster(cluster.id, "bad", |c| c.health.state != HealthState::Healthy)
        .await?;
    ensure!(unhealthy.state == ClusterState::Ready, "{unhealthy:?}");
    let healed = bed
        .wait_for_cluster(cluster.id, "healthy again", |c| {
            c.health.state == HealthState::Healthy
        })
        .await?;
    ensure!(
        healed.generation == 1 && healed.lease_id.is_some(),
        "a leased cluster was reset: {healed:?}"
    );
    within(Duration::from_secs(30), "the data", async || {
        Ok(
            if read(&bundle, 2, "kept").await.ok().flatten().as_deref() == Some("yes") {
                Ok(())
            } else {
                Err("the key is missing".to_owned())
            },
        )
    })
    .await?;
    commit(&bundle, 3, "after", "repair").await?;
    bed.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_validator_keeps_its_consensus_state() -> Result<()> {
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let cluster = bed.fill().await?.remove(0);
    let (_, bundle) = applied(&bed).await?;
    commit(&bundle, 0, "a", "b").await?;
    let state = async || -> Result<i64> {
        let bytes = bed
            .engine
            .ledger_file(&Engine::container(&cluster, "v1"), "priv_validator_state.json")
            .await?;
        let state: Value = serde_json::from_slice(&bytes)?;
        Ok(state["height"].as_str().unwrap_or_default().parse()?)
    };
    let before = state().await?;
    ensure!(before > 0, "the validator has not signed yet");
    bed.engine.remove(&Engine::container(&cluster, "v1")).await?;
    bed.wait_for_cluster(cluster.id, "bad", |c| c.health.state == HealthState::Degraded)
        .await?;
    bed.wait_for_cluster(cluster.id, "healthy again", |c| {
        c.health.state == HealthState::Healthy
    })
    .await?;
    let after = state().await?;
    ensure!(
        after >= before,
        "the state file was replaced: {before}, then {after}"
    );
    bed.end().await
}

/// A node accepts a limited number of connections per port and closes idle ones after a while.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_exhaust_a_ledgers_connections_do_not_make_it_broken_or_reset() -> Result<()> {
    const CONNECTIONS: usize = 40;
    const CLIENTS: usize = 60;
    // An idle ledger makes a block every 11 s, so these blocks take longer than a free cluster may stay
    // degraded.
    const BLOCKS: u64 = 3;
    let bed = Bed::start(Options {
        capacity: 1,
        ..Options::default()
    })
    .await?;
    let create: Operation = bed
        .api
        .post(
            "/clusters",
            json!({"name": "busy", "network_type": "cometbft", "preset": "single",
                "parameters": {"max_open_connections": CONNECTIONS}}),
        )
        .await?;
    bed.wait_succeeded(&create).await?;
    let cluster: Cluster = bed.api.get("/clusters/busy").await?;
    ensure!(cluster.offered, "{cluster:?}");
    let detailed = bed.cluster(cluster.id).await?;
    let endpoints = detailed.nodes.iter().flat_map(|node| &node.endpoints);
    let address = endpoints
        .filter(|endpoint| endpoint.name == "rpc")
        .map(|endpoint| endpoint.address.clone())
        .next();
    let address = address.context("the node has no rpc endpoint")?;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let address = address.clone();
        clients.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await {
                    let _ends_when_closed = stream.read(&mut [0]).await;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let withdrawn = bed
        .wait_for_health(
            cluster.id,
            HealthState::Degraded,
            &["committing", "client port", "v0"],
        )
        .await?;
    ensure!(!withdrawn.offered, "{withdrawn:?}");
    let since = withdrawn.height.unwrap_or_default();
    let later = bed
        .wait_for_cluster(cluster.id, "blocks later", |c| {
            c.height.unwrap_or_default() > since + BLOCKS
        })
        .await?;
    ensure!(
        later.generation == 1 && later.state == ClusterState::Ready,
        "{later:?}"
    );
    clients.shutdown().await;
    let again = bed
        .wait_for_cluster(cluster.id, "offered again", |c| c.offered)
        .await?;
    ensure!(again.generation == 1, "{again:?}");
    let history: Page<HealthChange> = bed.api.get(&format!("/clusters/{}/health", cluster.id)).await?;
    ensure!(
        history
            .items
            .iter()
            .all(|change| change.state != HealthState::Broken),
        "{history:?}"
    );
    bed.end().await
}
