//! `cometbft` against the real program of version 0.38.21, whose path is in `COMETBFT`.

use crate::cometbft_network::{Network, name};
use chainpool_api::{Evidence, HealthState, Timestamp};
use chainpool_networks::{History, Verdict};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, task::JoinSet};

#[tokio::test]
async fn four_validators_commit_and_their_faults_are_reported() {
    let network = Network::prepare("default", &json!({}));
    let begun = Instant::now();
    network.start_all();
    let proof = network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    println!(
        "four validators: proven {:?} after the start, {proof:?}",
        begun.elapsed()
    );
    assert_ne!(proof.written_to, proof.read_from);

    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(healthy.reason, "all 4 validators participate and agree");
    let evidence = network.probe().await;
    assert_eq!((evidence.power, evidence.agree), (Some((4, 4)), Some(true)));
    assert!(
        evidence
            .nodes
            .values()
            .all(|n| n.peers >= Some(1) && n.hash.is_some() && n.block_at.is_some()),
        "{evidence:#?}"
    );

    // One frozen: the ledger still commits.
    network.pause(&name("v2"), true);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        "1 of 4 validators unavailable (v2 paused); still committing"
    );
    network
        .kind
        .prove(&network.nodes)
        .await
        .expect("three of four commit");

    // Two frozen: it does not. The platform reports only one; the other is running but unresponsive.
    network.pause(&name("v3"), false);
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert_eq!(
        verdict.reason,
        "2 of 4 validators unavailable (v2 paused, v3 is running but unresponsive); more than 2/3 of the voting power required to commit"
    );

    // Recovered: not healthy before a new block.
    let before = network.probe().await;
    network.unpause(&name("v2"));
    network.unpause(&name("v3"));
    let history = History {
        progress: network.kind.progress(&before),
        progress_since: Some(Timestamp::now()),
        recovering: true,
        ..History::default()
    };
    network
        .kind
        .prove(&network.nodes)
        .await
        .expect("it commits again");
    network.wait_for(&history, HealthState::Healthy).await;
    assert!(network.probe().await.height > before.height);
}

#[tokio::test]
async fn a_killed_validator_restarts_with_its_state() {
    let network = Network::prepare("default", &json!({}));
    network.start_all();
    network.kind.prove(&network.nodes).await.expect("it commits");
    let v1 = name("v1");
    network.kill(&v1);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        "1 of 4 validators unavailable (v1 exited 137); still committing"
    );
    let before = network.probe().await.height;
    let begun = Instant::now();
    network.start(network.spec().node(&v1).expect("it is there"));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    println!(
        "a killed validator: healthy again {:?} after its start",
        begun.elapsed()
    );
    let proof = network.kind.prove(&network.nodes).await.expect("it commits");
    assert!(Some(proof.height) > before);
}

#[tokio::test]
async fn a_single_validator_proves_on_itself() {
    let network = Network::prepare("single", &json!({"block_interval_ms": 100}));
    let begun = Instant::now();
    network.start_all();
    let proof = network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    println!("one validator: proven {:?} after the start", begun.elapsed());
    assert_eq!(proof.written_to, proof.read_from);
    network.wait_for(&History::default(), HealthState::Healthy).await;
}

#[tokio::test]
async fn sixteen_validators_without_empty_blocks_commit() {
    let network = Network::prepare("default", &json!({"validators": 16, "empty_blocks": false}));
    let begun = Instant::now();
    network.start_all();
    network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    println!("sixteen validators: proven {:?} after the start", begun.elapsed());
    network.wait_for(&History::default(), HealthState::Healthy).await;
}

/// A network with the shortest block interval.
fn swift(preset: &str) -> Network {
    Network::prepare(
        preset,
        &json!({"block_interval_ms": 100, "empty_block_interval_s": 0}),
    )
}

/// Transactions can change voting powers; the verdict depends only on these.
#[tokio::test]
async fn a_validator_without_voting_power_is_reported_and_not_required() {
    let network = swift("default");
    network.start_all();
    network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    let key = network.spec().facts["validators"]["v3"]["public_key"]
        .as_str()
        .expect("a key");
    let answer = network.submit(&name("v0"), &format!("val=ed25519!{key}!0")).await;
    assert!(answer.contains("\"code\":0"), "{answer}");

    let voteless = |evidence: &Evidence, _: &Verdict| evidence.nodes["v3"].power == Some(0);
    let (evidence, _) = network.wait_until(&History::default(), voteless).await;
    assert!(
        ["v0", "v1", "v2"]
            .iter()
            .all(|node| evidence.nodes[*node].power == Some(1)),
        "{evidence:#?}"
    );
    let verdict = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        verdict.reason,
        "all 3 validators participate and agree; v3 is no longer a validator: a transaction removed its voting power"
    );
    assert_eq!(network.probe().await.power, Some((3, 3)));

    // Its loss is reported, and the ledger continues without it.
    network.kill(&name("v3"));
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        "1 node without voting power unavailable (v3 exited 137); still committing"
    );
    network
        .kind
        .prove(&network.nodes)
        .await
        .expect("the three that vote commit");
    // All of the three remaining voters are required.
    network.kill(&name("v2"));
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert!(
        verdict
            .reason
            .starts_with("1 of 3 validators unavailable (v2 exited 137)"),
        "{verdict:?}"
    );
}

/// More connections than a port accepts by default (`max_open_connections`).
const CLIENTS: usize = 920;

#[tokio::test]
async fn a_validator_with_an_exhausted_user_port_is_probed_at_its_health_port() {
    let network = Arc::new(swift("single"));
    network.start_all();
    network
        .kind
        .prove(&network.nodes)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", network.logs()));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(network.probe().await.nodes["v0"].closed_to_users, None);

    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let network = Arc::clone(&network);
        clients.spawn(async move {
            let node = name("v0");
            loop {
                // The program closes an idle connection; the client reconnects.
                if let Ok(mut stream) = network.dial(&node).await {
                    drop(stream.read_u8().await);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    let is_closed = |evidence: &Evidence| evidence.nodes["v0"].closed_to_users.is_some();
    let (closed, verdict) = network
        .wait_until(&History::default(), |evidence, _| is_closed(evidence))
        .await;
    let node = &closed.nodes["v0"];
    assert!(
        node.answers && node.silent.is_none() && closed.height.is_some() && closed.power == Some((1, 1)),
        "{closed:#?}"
    );
    let reason =
        "committing, but the client port is unresponsive at v0: clients may have exhausted its connections";
    assert_eq!(
        (verdict.state, verdict.reason.as_str()),
        (HealthState::Degraded, reason)
    );
    network
        .wait_until(&History::default(), |evidence, _| {
            is_closed(evidence) && evidence.height > closed.height
        })
        .await;

    clients.shutdown().await;
    network.wait_for(&History::default(), HealthState::Healthy).await;
}
