//! BFT: quorum, view change.

use super::*;

#[test]
fn bft_needs_a_quorum_of_the_orderers() {
    type Case<'a> = (&'a [&'a str], HealthState, &'a str);
    let table: &[Case] = &[
        (
            &["ok"; 4],
            Healthy,
            "all 4 orderers participate, the peer is responsive; 1 further orderer failure tolerated",
        ),
        (
            &["ok"; 5],
            Healthy,
            "all 5 orderers participate, the peer is responsive; 1 further orderer failure tolerated",
        ),
        (
            &["ok"; 6],
            Healthy,
            "all 6 orderers participate, the peer is responsive; 2 further orderer failures tolerated",
        ),
        (
            &["ok"; 7],
            Healthy,
            "all 7 orderers participate, the peer is responsive; 2 further orderer failures tolerated",
        ),
        (
            &["exited 137", "ok", "ok", "ok"],
            Degraded,
            "1 of 4 orderers unavailable (orderer0 exited 137); still committing, no further orderer failure tolerated",
        ),
        (
            &["exited 137", "ok", "ok", "unresponsive"],
            Broken,
            "no BFT quorum: 2 of 4 orderers unavailable (orderer0 exited 137, orderer3 is running but unresponsive); 3 required for quorum",
        ),
        (
            &["ok", "ok", "paused", "ok", "paused"],
            Broken,
            "no BFT quorum: 2 of 5 orderers unavailable (orderer2 paused, orderer4 paused); 4 required for quorum",
        ),
    ];
    for (orderers, state, reason) in table {
        let evidence = seen_by(Consensus::Bft, orderers, &[&["ok"]]);
        assert_eq!(
            assess_by(Consensus::Bft, &evidence, &History::default()),
            (*state, (*reason).to_owned()),
            "{orderers:?}"
        );
    }
}

#[test]
fn a_previous_bft_leader_without_a_quorum_is_broken() {
    // Two of four are unresponsive, and the others are still in the previous view, whose leader is one of
    // them.
    let mut evidence = seen_by(
        Consensus::Bft,
        &["ok", "ok", "unresponsive", "unresponsive"],
        &[&["ok"]],
    );
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        leader: Some("orderer0".to_owned()),
        active: Some(2),
        ..ChannelEvidence::default()
    };
    let (state, reason) = assess_by(Consensus::Bft, &evidence, &History::default());
    assert!(
        state == Broken && reason.starts_with("no BFT quorum: 2 of 4 orderers"),
        "{reason}"
    );
    // Newly started nodes may have to join a new channel first.
    let recent = History {
        started_at: ago(3),
        ..History::default()
    };
    assert_eq!(assess_by(Consensus::Bft, &evidence, &recent).0, Degraded);
}

#[test]
fn bft_orderers_get_time_for_a_view_change() {
    let mut evidence = seen_by(Consensus::Bft, &["ok"; 4], &[&["ok"]]);
    channel(&mut evidence).active = Some(3);
    let left = |seconds| History {
        disconnected_at: ago(seconds),
        ..History::default()
    };
    assert_eq!(assess_by(Consensus::Bft, &evidence, &left(29)).0, Healthy);
    let reason = "3 of 4 responsive orderers follow the leader; still committing, no further orderer failure tolerated";
    assert_eq!(
        assess_by(Consensus::Bft, &evidence, &left(31)),
        (Degraded, reason.to_owned())
    );
    channel(&mut evidence).active = Some(2);
    let reason = "orderer0 leads channel main but too few orderers follow it: 3 required for quorum";
    assert_eq!(
        assess_by(Consensus::Bft, &evidence, &History::default()),
        (Broken, reason.to_owned())
    );
    // One of them was restarted, and the others follow another leader on an idle channel.
    let started = |seconds| History {
        started_at: ago(seconds),
        ..History::default()
    };
    assert_eq!(assess_by(Consensus::Bft, &evidence, &started(29)).0, Degraded);
    assert_eq!(
        assess_by(Consensus::Bft, &evidence, &started(31)),
        (Broken, reason.to_owned())
    );
    let recovering = History {
        recovering: true,
        progress: Some(chainpool_api::Progress::At(7)),
        ..History::default()
    };
    channel(&mut evidence).active = Some(4);
    assert_eq!(assess_by(Consensus::Bft, &evidence, &recovering).0, Healthy);
    channel(&mut evidence).active = Some(0);
    let reason = "all nodes available again; waiting for the orderers to follow one leader";
    assert_eq!(
        assess_by(Consensus::Bft, &evidence, &recovering),
        (Degraded, reason.to_owned())
    );

    // The leader is unavailable.
    let mut evidence = seen_by(Consensus::Bft, &["exited 137", "ok", "ok", "ok"], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        ..ChannelEvidence::default()
    };
    let elects = (Degraded, "channel main: leader election in progress".to_owned());
    assert_eq!(assess_by(Consensus::Bft, &evidence, &left(29)), elects);
    let reason = "no BFT leader on channel main although enough orderers are responsive";
    assert_eq!(
        assess_by(Consensus::Bft, &evidence, &left(31)),
        (Broken, reason.to_owned())
    );
}
