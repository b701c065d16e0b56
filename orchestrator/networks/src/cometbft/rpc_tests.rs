//! Parses recorded responses of a real network with four validators (`CometBFT` 0.38.21).

use super::*;

macro_rules! recorded {
    ($name:literal) => {
        read(include_bytes!(concat!("recorded/", $name, ".json")))
    };
}

#[test]
fn a_status_has_identity_and_sync_state() {
    let status: Status = recorded!("status").expect("readable");
    assert_eq!(status.node_info.id.len(), 40);
    assert!(status.node_info.network.starts_with('c'));
    assert_eq!(
        (status.sync_info.latest_block_height, status.sync_info.catching_up),
        (3, false)
    );
    assert!(status.sync_info.latest_block_time.0 > 1_700_000_000_000);
}

#[test]
fn a_status_before_the_first_block_is_parsed() {
    let status: Status = recorded!("status_before_the_first_block").expect("readable");
    assert_eq!(
        (status.sync_info.latest_block_height, status.sync_info.catching_up),
        (0, true)
    );
}

#[test]
fn peers_are_named_by_their_ids() {
    let net: NetInfo = recorded!("net_info").expect("readable");
    assert_eq!(net.n_peers, 3);
    assert!(net.peers.iter().all(|peer| peer.node_info.id.len() == 40));
}

#[test]
fn validators_have_power() {
    let Validators { validators, total } = recorded!("validators").expect("readable");
    assert_eq!(total, validators.len());
    assert_eq!(
        validators.iter().map(|v| v.voting_power).collect::<Vec<_>>(),
        [1; 4]
    );
    assert!(validators.iter().all(|v| v.address.len() == 40));
}

#[test]
fn a_block_has_two_hashes_to_compare() {
    let chain: Blockchain = recorded!("blockchain").expect("readable");
    let [block] = &chain.block_metas[..] else {
        panic!("one height was requested")
    };
    assert_eq!(
        (block.block_id.hash.len(), block.header.app_hash.as_str()),
        (64, "0000000000000000")
    );
}

#[test]
fn a_missing_height_is_refused_with_the_reason() {
    let refused: Result<Blockchain, _> = recorded!("blockchain_too_high");
    let why = "Internal error: min height 999 can't be greater than max height 3";
    assert_eq!(refused.expect_err("refused"), CallError::Refused(why.to_owned()));
}

#[test]
fn a_transaction_is_accepted_or_refused() {
    assert_eq!(recorded!("broadcast").map(|b: Broadcast| b.code), Ok(0));
    assert_eq!(recorded!("broadcast_refused").map(|b: Broadcast| b.code), Ok(2));
    let again: Result<Broadcast, _> = recorded!("broadcast_again");
    assert_eq!(
        again.expect_err("refused"),
        CallError::Refused("Internal error: tx already exists in cache".to_owned())
    );
}

#[test]
fn a_committed_transaction_has_its_height() {
    let committed: Committed = recorded!("tx").expect("readable");
    assert_eq!((committed.height, committed.tx_result.code), (2, 0));
    let missing: Result<Committed, _> = recorded!("tx_not_found");
    assert!(matches!(missing, Err(CallError::Refused(why)) if why.ends_with("not found")));
}

#[test]
fn a_value_may_be_absent() {
    assert_eq!(
        recorded!("abci_query").map(|q: Query| q.response.value),
        Ok(Some("c2F0b3NoaQ==".to_owned()))
    );
    assert_eq!(
        recorded!("abci_query_absent").map(|q: Query| q.response.value),
        Ok(None)
    );
}

#[test]
fn invalid_responses_count_as_unavailable() {
    for body in [
        "",
        "404 page not found",
        "{}",
        r#"{"result":{"n_peers":"many","peers":[]}}"#,
        r#"{"result":null}"#,
    ] {
        let answer: Result<NetInfo, _> = read(body.as_bytes());
        assert!(
            matches!(answer, Err(CallError::Unavailable(_))),
            "{body}: {answer:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_response_causes_a_panic(body: Vec<u8>) {
        proptest::prop_assert!(read::<Status>(&body).is_err());
    }
}
