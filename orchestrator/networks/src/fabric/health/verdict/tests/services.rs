//! Programs beside orderers and peers: chaincodes, Fabric CAs, state databases.

use super::*;

#[test]
fn an_unavailable_chaincode_is_reported() {
    let mut evidence = seen(&["ok"], &[&["ok"]]);
    channel(&mut evidence).chaincodes = [("basic".to_owned(), true), ("other".to_owned(), false)].into();
    let still = "still committing, no orderer failure tolerated";
    let reason = format!("chaincode other is not committed on channel main; {still}");
    assert_eq!(assess(&evidence, &History::default()), (Degraded, reason));
    channel(&mut evidence).chaincodes = [("basic".to_owned(), true)].into();
    evidence
        .nodes
        .insert("cc-basic".to_owned(), node("chaincode", None, "outside"));
    assert_eq!(assess(&evidence, &History::default()).0, Healthy);
    evidence
        .nodes
        .insert("cc-basic".to_owned(), node("chaincode", None, "exited 2"));
    let reason = format!("the only chaincode is unavailable (cc-basic exited 2); {still}");
    assert_eq!(assess(&evidence, &History::default()), (Degraded, reason));
}

#[test]
fn without_a_fabric_ca_only_enrolment_fails() {
    let mut evidence = seen(&["ok"], &[&["ok"], &["ok"]]);
    let mut assessed = |first: &str, second: &str| {
        for (organisation, word) in [("org1", first), ("org2", second)] {
            evidence
                .nodes
                .insert(format!("ca-{organisation}"), node("ca", Some(organisation), word));
        }
        assess(&evidence, &History::default())
    };
    // It joins no channel.
    let (state, reason) = assessed("outside", "outside");
    assert_eq!(
        (state, reason.as_str()),
        (
            Healthy,
            "the orderer leads, all 2 peers agree; no orderer failure tolerated"
        )
    );
    let still = "still committing, no orderer failure tolerated";
    let reason =
        format!("1 of 2 Fabric CAs unavailable (ca-org2 exited 1): no new identities of org2; {still}");
    assert_eq!(assessed("outside", "exited 1"), (Degraded, reason));
    let away = "2 of 2 Fabric CAs unavailable (ca-org1 paused, ca-org2 is running but unresponsive)";
    assert_eq!(
        assessed("paused", "unresponsive"),
        (
            Degraded,
            format!("{away}: no new identities of org1, org2; {still}")
        )
    );
}

#[test]
fn a_peer_without_its_state_database_is_unavailable() {
    let mut evidence = seen(&["ok"], &[&["ok", "ok"], &["ok"]]);
    let database = |evidence: &mut Evidence, name: &str, organisation: &str, word: &str| {
        evidence
            .nodes
            .insert(format!("db{name}"), node("database", Some(organisation), word));
        let unable = (word != "outside").then(|| "couchdb: refused".to_owned());
        evidence
            .nodes
            .get_mut(&format!("peer{name}"))
            .expect("it is there")
            .unable = unable;
    };
    for (name, organisation) in [("0-org0", "org0"), ("1-org0", "org0"), ("0-org1", "org1")] {
        database(&mut evidence, name, organisation, "outside");
    }
    let (state, reason) = assess(&evidence, &History::default());
    assert_eq!(
        (state, reason.as_str()),
        (
            Healthy,
            "the orderer leads, all 3 peers agree; no orderer failure tolerated"
        )
    );
    database(&mut evidence, "1-org0", "org0", "exited 137");
    let peers = "1 of 3 peers unavailable (peer1-org0 cannot reach its state database)";
    let databases = "1 of 3 state databases unavailable (db1-org0 exited 137)";
    let reason = format!("{peers}; {databases}; still committing, no orderer failure tolerated");
    assert_eq!(assess(&evidence, &History::default()), (Degraded, reason));
    // It is running but the peer cannot reach it.
    database(&mut evidence, "1-org0", "org0", "outside");
    evidence.nodes.get_mut("peer1-org0").expect("it is there").unable = Some("couchdb: refused".to_owned());
    let reason = format!("{peers}; still committing, no orderer failure tolerated");
    assert_eq!(assess(&evidence, &History::default()), (Degraded, reason));
    database(&mut evidence, "0-org0", "org0", "exited 137");
    let why = "2 of 3 peers unavailable (peer0-org0 cannot reach its state database, peer1-org0 cannot reach its state database)";
    let reason = format!("{why}: org0 cannot endorse; 2 of 2 organisations required");
    assert_eq!(assess(&evidence, &History::default()), (Broken, reason));
}
