//! `fabric` against the real programs of Fabric 3.1.
//!
//! No package registry has them, so these tests are ignored. To run them: `FABRIC_3_TOOLS=FOLDER cargo test
//! -p chainpool-networks --test processes fabric_3 --
//! --ignored`. The folder has the layout of `scripts/fabric-tools.sh`, with `configtxgen`, `orderer`, `peer`
//! and the sample configuration of Fabric 3.1.5.

use crate::fabric_network::{HANGS, Network, name, public_endpoints};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::NodeName;
use chainpool_api::{HealthState, Timestamp};
use chainpool_networks::History;
use serde_json::{Value, json};
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

/// From the start to a proof and a healthy verdict.
async fn start_healthy(preset: &str, given: &Value) -> Network {
    let network = Network::prepare(preset, given);
    let begun = Instant::now();
    network.boot().await;
    network.prove().await;
    println!("{preset}: proven {:?} after the start", begun.elapsed());
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    println!(
        "{preset}: healthy {:?} after the start: {}",
        begun.elapsed(),
        healthy.reason
    );
    network
}

/// Waits until another orderer leads.
async fn another_leads(network: &Network, before: &NodeName) -> NodeName {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let evidence = network.probe().await;
        let leader = evidence
            .channels
            .values()
            .find_map(|channel| channel.leader.as_deref())
            .map(name);
        if let Some(leader) = leader.filter(|leader| leader != before) {
            return leader;
        }
        assert!(
            Instant::now() < deadline,
            "no leader after {before}: {evidence:#?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Repeats the proof as the executor does. With a bare quorum, a lost message delays the block until the next
/// leader, about a dozen seconds.
async fn proven(network: &Network, who: &str) {
    let begun = Instant::now();
    while let Err(why) = network.kind.prove(&network.nodes).await {
        println!("{who}, {:?} after the loss: {why}", begun.elapsed());
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{why}\n{}",
            network.logs()
        );
    }
    println!("{who}: proven {:?} after the loss", begun.elapsed());
}

/// Fabric's own tool reads a genesis block.
#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1: FABRIC_3_TOOLS names their folder"]
async fn configtxgen_reads_the_block() {
    for (given, orderers) in [(json!({}), 4), (json!({"orderers": 7, "organisations": 8}), 7)] {
        let network = Network::prepare("bft", &given);
        let genesis = network.spec().facts["channels"][0]["genesis"]
            .as_str()
            .expect("a block")
            .to_owned();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("main.block");
        fs::write(&path, BASE64.decode(genesis).expect("base64")).expect("written");
        let output = Command::new(network.program("configtxgen"))
            .arg("-inspectBlock")
            .arg(&path)
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let group = &read["data"]["data"][0]["payload"]["data"]["config"]["channel_group"];
        assert_eq!(
            group["values"]["Capabilities"]["value"]["capabilities"],
            json!({"V3_0": {}})
        );
        let orderer = &group["groups"]["Orderer"];
        assert_eq!(orderer["values"]["ConsensusType"]["value"]["type"], "BFT");
        let consenters = orderer["values"]["Orderers"]["value"]["consenter_mapping"]
            .as_array()
            .expect("a list");
        assert_eq!(
            consenters
                .iter()
                .map(|consenter| consenter["id"].clone())
                .collect::<Vec<_>>(),
            (1..=orderers).map(Value::from).collect::<Vec<_>>()
        );
        let policy = &orderer["policies"]["BlockValidation"]["policy"]["value"];
        assert_eq!(
            policy["rule"]["n_out_of"]["n"],
            (orderers + (orderers - 1) / 3 + 2) / 2
        );
        assert_eq!(
            policy["identities"].as_array().map(Vec::len),
            Some(consenters.len())
        );
    }
}

#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1 and root: FABRIC_3_TOOLS names their folder"]
async fn four_bft_orderers_tolerate_the_loss_of_one() {
    let network = start_healthy("bft", &json!({})).await;
    let evidence = network.probe().await;
    let seen = &evidence.channels["main"];
    assert_eq!(
        (seen.leader.as_deref(), seen.active),
        (Some("orderer0"), Some(4)),
        "{evidence:#?}"
    );

    let [third, fourth] = ["orderer2", "orderer3"].map(name);
    network.freeze(&fourth);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    let what = "1 of 4 orderers unavailable (orderer3 is running but unresponsive)";
    assert_eq!(
        verdict.reason,
        format!("{what}; still committing, no further orderer failure tolerated")
    );
    proven(&network, "three of four orderers").await;
    network.thaw(&fourth);
    network.wait_for(&History::default(), HealthState::Healthy).await;

    network.kill(&fourth);
    network.wait_for(&History::default(), HealthState::Degraded).await;
    proven(&network, "three of four orderers").await;
    // It lacks one block and fetches it with the next.
    network.start_node(&fourth);
    network.wait_for(&History::default(), HealthState::Healthy).await;
    network.kill(&fourth);
    network.kill(&third);
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    let what = "no BFT quorum: 2 of 4 orderers unavailable (orderer2 exited 137, orderer3 exited 137)";
    assert_eq!(verdict.reason, format!("{what}; 3 required for quorum"));
    let begun = Instant::now();
    let refused = network
        .kind
        .prove(&network.nodes)
        .await
        .expect_err("two of four do not order");
    println!(
        "two of four orderers: refused after {:?}: {refused}",
        begun.elapsed()
    );
    let progress = network.kind.progress(&network.probe().await);
    let begun = Instant::now();
    network.start_node(&third);
    network.start_node(&fourth);
    let history = History {
        progress,
        recovering: true,
        reconnected_at: Some(Timestamp::now()),
        ..History::default()
    };
    let healthy = network.wait_for(&history, HealthState::Healthy).await;
    println!(
        "two killed orderers: healthy again {:?} after their start: {}",
        begun.elapsed(),
        healthy.reason
    );
    network.prove().await;
    println!("proven {:?} after their start", begun.elapsed());
}

#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1 and root: FABRIC_3_TOOLS names their folder"]
async fn bft_orderers_replace_a_lost_leader() {
    let network = start_healthy("bft", &json!({})).await;
    let leader = network.leader(&network.probe().await);
    let begun = Instant::now();
    network.kill(&leader);
    let history = History {
        disconnected_at: Some(Timestamp::now()),
        ..History::default()
    };
    let verdict = network.wait_for(&history, HealthState::Degraded).await;
    assert_eq!(verdict.reason, "channel main: leader election in progress");
    // A transaction triggers the view change.
    drop(network.kind.prove(&network.nodes).await);
    let next = another_leads(&network, &leader).await;
    println!("the leader killed: {next} leads {:?} later", begun.elapsed());
    network.prove().await;
    println!("the leader killed: proven {:?} later", begun.elapsed());
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    let what = format!("1 of 4 orderers unavailable ({leader} exited 137)");
    assert_eq!(
        verdict.reason,
        format!("{what}; still committing, no further orderer failure tolerated")
    );
    let begun = Instant::now();
    network.start_node(&leader);
    network.prove().await;
    network
        .wait_for(
            &History {
                reconnected_at: Some(Timestamp::now()),
                ..History::default()
            },
            HealthState::Healthy,
        )
        .await;
    println!(
        "the former leader: healthy again {:?} after its start",
        begun.elapsed()
    );
}

#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1 and root: FABRIC_3_TOOLS names their folder"]
async fn a_bft_network_grows_and_renews_its_certificates_while_it_commits() {
    let mut network = start_healthy("bft", &json!({"organisations": 1})).await;
    let commits = network.commit_on("main");
    let begun = Instant::now();
    network
        .amend(
            &json!({"organisations": 2, "peers": 2, "orderers": 5, "channels": ["main", "two"]}),
            false,
        )
        .await;
    let (count, longest) = commits.end().await;
    println!(
        "grown after {:?}; {count} commits meanwhile, {longest:?} the longest without one",
        begun.elapsed()
    );
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        healthy.reason,
        "all 5 orderers participate, all 4 peers agree; 1 further orderer failure tolerated"
    );
    network.prove().await;

    let commits = network.commit_on("main");
    let begun = Instant::now();
    network.amend(&json!({"certificate_days": 730}), true).await;
    let (count, longest) = commits.end().await;
    println!(
        "renewed after {:?}; {count} commits meanwhile, {longest:?} the longest without one",
        begun.elapsed()
    );
    assert!(
        count > 10 && longest < HANGS,
        "{count} commits, once {longest:?} without one"
    );
    network.prove().await;
    network.wait_for(&History::default(), HealthState::Healthy).await;
}

/// Seven orderers tolerate the loss of two, four do not.
#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1 and root: FABRIC_3_TOOLS names their folder"]
async fn interrupted_growth_of_bft_orderers_completes_and_raises_the_tolerance() {
    let mut network = start_healthy("bft", &json!({})).await;
    let begun = Instant::now();
    network.amend_with_interruptions(&json!({"orderers": 7})).await;
    println!("from four to seven orderers after {:?}", begun.elapsed());
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        healthy.reason,
        "all 7 orderers participate, all 2 peers agree; 2 further orderer failures tolerated"
    );
    network.kill(&name("orderer3"));
    network.kill(&name("orderer6"));
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert!(
        verdict
            .reason
            .ends_with("still committing, no further orderer failure tolerated"),
        "{verdict:?}"
    );
    proven(&network, "five of seven orderers").await;
}

#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1 and root: FABRIC_3_TOOLS names their folder"]
async fn a_chaincode_answers_on_a_bft_channel() {
    let network = start_healthy(
        "bft",
        &json!({"chaincodes": ["basic:1.0=chainpool/fabric-chaincode:0.1.0"]}),
    )
    .await;
    let peers = ["org1", "org2"]
        .map(|org| format!("--peerAddresses peer0-{org}:7051 --tlsRootCertFiles {org}/tlsca.pem"))
        .join(" ");
    let put = r#"-c '{"Args":["put","name","satoshi"]}' --waitForEvent"#;
    let to = "-o $ORDERER_ADDRESS --tls --cafile $ORDERER_CA -C main -n basic";
    network.run(&format!(". org1/env && peer chaincode invoke {to} {peers} {put}"));
    let said =
        network.run(r#". org2/env && peer chaincode query -C main -n basic -c '{"Args":["get","name"]}'"#);
    assert!(said.starts_with("satoshi\n"), "{said}");
    let bundle = network.kind.bundle(network.spec(), &public_endpoints());
    assert!(bundle.files["README.md"].contains("`peer` program (3.1)"));
}

#[tokio::test]
#[ignore = "needs the programs of Fabric 3.1 and root: FABRIC_3_TOOLS names their folder"]
async fn a_raft_network_of_3_1_grows_and_tolerates_the_loss_of_its_leader() {
    let mut network = start_healthy("tiny", &json!({"version": "3.1"})).await;
    network
        .amend_with_interruptions(&json!({"organisations": 2, "orderers": 3}))
        .await;
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        healthy.reason,
        "all 3 orderers participate, all 2 peers agree; 1 further orderer failure tolerated"
    );
    let leader = network.leader(&network.probe().await);
    network.kill(&leader);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert!(
        verdict
            .reason
            .ends_with("still committing, no further orderer failure tolerated"),
        "{verdict:?}"
    );
    network.prove().await;
}
