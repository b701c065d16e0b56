//! `fabric` against the real programs.
//!
//! Needs root, and `orderer`, `peer` and `chaincode` built by `scripts/fabric-tools.sh` in the folder
//! `FABRIC_TOOLS`. Every node listens on its own loopback address and resolves the others by a private hosts
//! file (`unshare --mount`).

use crate::fabric_network::{HANGS, Network, name, public_endpoints};
use chainpool_api::{HealthState, NodeEvidence, Timestamp};
use chainpool_networks::History;
use serde_json::{Value, json};
use std::time::Instant;

/// From the start to a proof and a healthy verdict.
async fn start_healthy(preset: &str, given: &Value) -> Network {
    let network = Network::prepare(preset, given);
    let begun = Instant::now();
    network.boot().await;
    println!("{preset}: joined {:?} after the start", begun.elapsed());
    let proof = network.prove().await;
    println!(
        "{preset}: proven {:?} after the start: {proof:?}",
        begun.elapsed()
    );
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    println!(
        "{preset}: healthy {:?} after the start: {}",
        begun.elapsed(),
        healthy.reason
    );
    network
}

#[tokio::test]
async fn the_smallest_network_commits_and_its_faults_are_reported() {
    let network = start_healthy("tiny", &json!({})).await;
    let evidence = network.probe().await;
    assert_eq!(evidence.power, Some((1, 1)));
    let parts = network.kind.bundle(network.spec(), &public_endpoints());
    network.run(&parts.write);
    assert!(network.run(&parts.read).contains(r#"{"height":3,"#));
    // The actions are idempotent.
    network.init("channels").await;
    let before = network.probe().await.height;
    let again = network.prove().await;
    assert!(network.probe().await.height > before, "{again:?}");

    let orderer = evidence
        .nodes
        .iter()
        .find(|(_, node)| node.role.as_deref() == Some("orderer"))
        .expect("one")
        .0;
    network.kill(&name(orderer));
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert_eq!(
        verdict.reason,
        format!("no Raft leader: the only orderer is unavailable ({orderer} exited 137)")
    );
    let progress = network.kind.progress(&network.probe().await);
    network.start_node(&name(orderer));
    let history = History {
        progress,
        recovering: true,
        ..History::default()
    };
    let begun = Instant::now();
    network.wait_for(&history, HealthState::Healthy).await;
    println!(
        "the only orderer: healthy again {:?} after its start",
        begun.elapsed()
    );
    network.prove().await;
}

#[tokio::test]
async fn two_organisations_on_two_channels_agree() {
    let network = start_healthy("standard", &json!({"peers": 2, "channels": ["one", "two"]})).await;
    let evidence = network.probe().await;
    assert_eq!((evidence.agree, evidence.channels.len()), (Some(true), 2));
    assert!(
        evidence.nodes.values().all(|node| node.channels.len() == 2),
        "{evidence:#?}"
    );

    // Without peers of one of two organisations there is no majority.
    let peers = |organisation: &str| {
        let of = |node: &NodeEvidence| node.organisation.as_deref() == Some(organisation);
        evidence
            .nodes
            .iter()
            .filter(|(_, node)| of(node))
            .map(|(node, _)| name(node))
            .collect::<Vec<_>>()
    };
    let [first, second] = &peers("org2")[..] else {
        panic!("two peers: {evidence:#?}")
    };
    network.kill(first);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    assert_eq!(
        verdict.reason,
        format!(
            "1 of 4 peers unavailable ({first} exited 137); still committing, no orderer failure tolerated"
        )
    );
    network.prove().await;
    network.kill(second);
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert_eq!(
        verdict.reason,
        format!(
            "2 of 4 peers unavailable ({first} exited 137, {second} exited 137): org2 cannot endorse; 2 of 2 organisations required"
        )
    );
    network.start_node(first);
    network.start_node(second);
    let begun = Instant::now();
    network.wait_for(&History::default(), HealthState::Healthy).await;
    println!(
        "two killed peers: healthy again {:?} after their start",
        begun.elapsed()
    );
    network.prove().await;
}

#[tokio::test]
async fn chaincodes_are_committed_on_every_channel_once() {
    let chaincodes = json!([
        "basic:1.0=chainpool/fabric-chaincode:2.5.0",
        "other:2=chainpool/fabric-chaincode:2.5.0"
    ]);
    let network = start_healthy(
        "standard",
        &json!({"peers": 2, "channels": ["one", "two"], "chaincodes": chaincodes}),
    )
    .await;
    let evidence = network.probe().await;
    for (channel, seen) in &evidence.channels {
        let expected = [("basic".to_owned(), true), ("other".to_owned(), true)];
        assert_eq!(seen.chaincodes, expected.into(), "{channel}");
    }
    // Fabric's own client writes through one organisation and reads from the other.
    let peers = ["org1", "org2"]
        .map(|org| format!("--peerAddresses peer0-{org}:7051 --tlsRootCertFiles {org}/tlsca.pem"))
        .join(" ");
    let put = r#"-c '{"Args":["put","name","satoshi"]}' --waitForEvent"#;
    network.run(&format!(
        ". org1/env && peer chaincode invoke -o orderer0:7050 --tls --cafile $PWD/orderers/tlsca.pem -C one -n basic {peers} {put}"
    ));
    // The client has waited for the block on one peer of each organisation.
    network.wait_for(&History::default(), HealthState::Healthy).await;
    let evidence = network.probe().await;
    // Also on the peer that did not endorse its organisation's approval.
    for peer in ["peer0-org2", "peer1-org2"] {
        let get = format!(
            r#". org2/env && CORE_PEER_ADDRESS={peer}:7051 peer chaincode query -C one -n basic -c '{{"Args":["get","name"]}}'"#
        );
        assert_eq!(network.run(&get), "satoshi\n", "{peer}");
    }
    // Repeating orders nothing.
    let begun = Instant::now();
    network.init("chaincodes").await;
    println!("all chaincodes are there: {:?}", begun.elapsed());
    assert_eq!(network.probe().await.height, evidence.height);

    network.kill(&name("cc-basic"));
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    let reason =
        "1 of 2 chaincodes unavailable (cc-basic exited 137); still committing, no orderer failure tolerated";
    assert_eq!(verdict.reason, reason);
}

/// The bundle's administrators define their own version with Fabric's own client. Only a request for another
/// version overrides it.
#[tokio::test]
async fn a_chaincode_version_defined_by_users_is_kept() {
    let with =
        |version: &str| json!({"chaincodes": [format!("basic:{version}=chainpool/fabric-chaincode:2.5.0")]});
    let mut network = start_healthy("standard", &with("1.0")).await;
    let order = "-o orderer0:7050 --tls --cafile $PWD/orderers/tlsca.pem -C main -n basic";
    let approve = format!(
        "peer lifecycle chaincode approveformyorg {order} -v 1.0-ours --sequence 2 --package-id \
         $(peer lifecycle chaincode queryinstalled | grep -o 'basic[^ ,]*:[0-9a-f]*')"
    );
    for organisation in ["org1", "org2"] {
        network.run(&format!(". {organisation}/env && {approve}"));
    }
    let peers = ["org1", "org2"]
        .map(|org| format!("--peerAddresses peer0-{org}:7051 --tlsRootCertFiles {org}/tlsca.pem"))
        .join(" ");
    network.run(&format!(
        ". org1/env && peer lifecycle chaincode commit {order} -v 1.0-ours --sequence 2 {peers}"
    ));
    network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        network.probe().await.channels["main"].chaincodes,
        [("basic".to_owned(), true)].into()
    );

    let defined = |network: &Network| {
        network.run(". org1/env && peer lifecycle chaincode querycommitted -C main -n basic")
    };
    network.amend(&json!({"peers": 2}), false).await;
    network.wait_for(&History::default(), HealthState::Healthy).await;
    let said = defined(&network);
    assert!(said.contains("Version: 1.0-ours, Sequence: 2"), "{said}");
    network.amend(&with("2.0"), false).await;
    network.wait_for(&History::default(), HealthState::Healthy).await;
    let said = defined(&network);
    assert!(said.contains("Version: 2.0, Sequence: 3"), "{said}");
    network.prove().await;
}

/// A command that queries a node's operations endpoint as Chainpool does.
fn control(network: &Network, url: &str) -> String {
    let spec = network.spec();
    let certificate = spec.facts["control"].as_str().expect("a certificate");
    let key = std::str::from_utf8(spec.keys["control"].expose()).expect("PEM");
    format!(
        "echo '{certificate}' > control.pem && echo '{key}' > control.key && curl -sk --cert control.pem --key control.key {url}"
    )
}

#[tokio::test]
async fn three_orderers_tolerate_the_loss_of_one() {
    let network = start_healthy("raft", &json!({})).await;
    let begun = Instant::now();
    let evidence = network.probe().await;
    println!("probe of five nodes: {:?}", begun.elapsed());
    let leader = network.leader(&evidence);

    // A frozen orderer is unresponsive although its process is running. Peers that fetch blocks from it wait
    // for it.
    let frozen = ["orderer0", "orderer1"]
        .map(name)
        .into_iter()
        .find(|node| *node != leader)
        .expect("one of the two");
    network.freeze(&frozen);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    let what = format!("1 of 3 orderers unavailable ({frozen} is running but unresponsive)");
    assert_eq!(
        verdict.reason,
        format!("{what}; still committing, no further orderer failure tolerated")
    );
    network.thaw(&frozen);
    network.wait_for(&History::default(), HealthState::Healthy).await;
    network.prove().await;
    assert_eq!(
        network.leader(&network.probe().await),
        leader,
        "it never lost its quorum"
    );
    let begun = Instant::now();
    network.kill(&leader);
    let verdict = network.wait_for(&History::default(), HealthState::Degraded).await;
    println!("the leader killed: a new one {:?} later", begun.elapsed());
    assert_eq!(
        verdict.reason,
        format!(
            "1 of 3 orderers unavailable ({leader} exited 137); still committing, no further orderer failure tolerated"
        )
    );
    network.prove().await;

    let next = network.leader(&network.probe().await);
    network.kill(&next);
    let verdict = network.wait_for(&History::default(), HealthState::Broken).await;
    assert!(
        verdict
            .reason
            .starts_with("no Raft leader: 2 of 3 orderers unavailable ("),
        "{verdict:?}"
    );
    let left = ["orderer0", "orderer1", "orderer2"]
        .map(name)
        .into_iter()
        .find(|node| ![&leader, &next].contains(&node))
        .expect("one of three");
    let said = network.run(&control(&network, &format!("https://{left}:9443/healthz")));
    assert!(
        said.contains(r#""status":"OK""#),
        "the health endpoint reports OK although the quorum is lost: {said}"
    );
    let begun = Instant::now();
    let refused = network
        .kind
        .prove(&network.nodes)
        .await
        .expect_err("one of three does not order");
    println!(
        "one of three orderers: refused after {:?}: {refused}",
        begun.elapsed()
    );

    let progress = network.kind.progress(&network.probe().await);
    let begun = Instant::now();
    network.start_node(&leader);
    network.start_node(&next);
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
}

#[tokio::test]
async fn a_network_grows_and_renews_its_certificates_while_it_commits() {
    let mut network = start_healthy("tiny", &json!({})).await;
    let commits = network.commit_on("main");
    let given = json!({"organisations": 2, "peers": 2, "orderers": 3, "channels": ["main", "two"]});
    let begun = Instant::now();
    network.amend(&given, false).await;
    println!("grown after {:?}", begun.elapsed());
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    println!(
        "healthy {:?} after the change began: {}",
        begun.elapsed(),
        healthy.reason
    );
    let (count, longest) = commits.end().await;
    println!("{count} commits meanwhile, {longest:?} the longest without one");
    assert!(
        count > 3 && longest < HANGS,
        "{count} commits, once {longest:?} without one"
    );
    assert_eq!(
        healthy.reason,
        "all 3 orderers participate, all 4 peers agree; 1 further orderer failure tolerated"
    );
    network.prove().await;
    let evidence = network.probe().await;
    assert!(
        evidence.nodes.values().all(|node| node.channels.len() == 2),
        "{evidence:#?}"
    );
    // The new members count: the network continues without the first orderer and the first peer.
    network.kill(&name("orderer0"));
    network.kill(&name("peer0-org1"));
    network.wait_for(&History::default(), HealthState::Degraded).await;
    network.prove().await;
    network.start_node(&name("orderer0"));
    network.start_node(&name("peer0-org1"));
    network.wait_for(&History::default(), HealthState::Healthy).await;

    // An interruption between any two updates is harmless.
    network
        .amend_with_interruptions(&json!({"organisations": 3, "orderers": 5}))
        .await;
    let healthy = network.wait_for(&History::default(), HealthState::Healthy).await;
    assert_eq!(
        healthy.reason,
        "all 5 orderers participate, all 6 peers agree; 2 further orderer failures tolerated"
    );
    network.prove().await;

    let ends = network.probe().await.certificate_ends;
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
    let evidence = network.probe().await;
    assert!(
        evidence.certificate_ends > ends.map(|ends| ends.plus_seconds(300 * 86_400)),
        "{evidence:#?}"
    );
    network.wait_for(&History::default(), HealthState::Healthy).await;
}

#[tokio::test]
async fn a_chaincode_is_upgraded_and_reaches_new_organisations() {
    let image = "chainpool/fabric-chaincode:2.5.0";
    let mut network = start_healthy("standard", &json!({"chaincodes": [format!("basic:1.0={image}")]})).await;
    let peers = |organisations: &[&str]| {
        let of = |org: &&str| format!("--peerAddresses peer0-{org}:7051 --tlsRootCertFiles {org}/tlsca.pem");
        organisations.iter().map(of).collect::<Vec<_>>().join(" ")
    };
    let invoke = |channel: &str, organisations: &[&str], what: &str| {
        let to = format!(
            "-o orderer0:7050 --tls --cafile $PWD/orderers/tlsca.pem -C {channel} -n basic {}",
            peers(organisations)
        );
        format!(
            ". {}/env && peer chaincode invoke {to} -c '{{\"Args\":{what}}}' --waitForEvent",
            organisations[0]
        )
    };
    let get = |org: &str, channel: &str, key: &str| {
        format!(
            ". {org}/env && peer chaincode query -C {channel} -n basic -c '{{\"Args\":[\"get\",\"{key}\"]}}'"
        )
    };
    network.run(&invoke("main", &["org1", "org2"], r#"["put","name","satoshi"]"#));
    let commits = network.commit_on("main");
    let given = json!({"chaincodes": [format!("basic:2.0={image}"), format!("other:1={image}")], "organisations": 3, "channels": ["main", "two"]});
    network.amend(&given, false).await;
    let (count, longest) = commits.end().await;
    println!("{count} commits meanwhile, {longest:?} the longest without one");
    network.prove().await;
    network.wait_for(&History::default(), HealthState::Healthy).await;
    // The new organisation endorses on the old and the new channel and has the previous data.
    network.run(&invoke("main", &["org3", "org1"], r#"["put","by","org3"]"#));
    network.run(&invoke("two", &["org2", "org3"], r#"["put","by","org2"]"#));
    for (channel, key, value) in [
        ("main", "name", "satoshi\n"),
        ("main", "by", "org3\n"),
        ("two", "by", "org2\n"),
    ] {
        assert_eq!(network.run(&get("org3", channel, key)), value);
    }
    let committed = network.run(". org3/env && peer lifecycle chaincode querycommitted -C main -n basic");
    assert!(committed.contains("Version: 2.0, Sequence: 2"), "{committed}");
    // Another image of the same version changes no definition.
    let height = network.probe().await.height;
    network
        .amend(
            &json!({"chaincodes": [format!("basic:2.0={image}-other"), format!("other:1={image}")]}),
            false,
        )
        .await;
    assert_eq!(network.probe().await.height, height);
    assert_eq!(network.run(&get("org1", "main", "name")), "satoshi\n");
}
