//! The table of verdicts.

use super::*;
use HealthState::{Broken, Degraded, Healthy, Unknown};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

#[expect(clippy::unnecessary_wraps, reason = "every moment of the past is optional")]
fn ago(seconds: i64) -> Option<Timestamp> {
    Some(NOW.plus_seconds(-seconds))
}

/// A node by one word: `ok`, `behind`, `outside`, `silent`, `stuck`, or the platform's word.
fn node(role: &str, organisation: Option<&str>, word: &str) -> NodeEvidence {
    let answers = matches!(word, "ok" | "behind" | "outside");
    NodeEvidence {
        process: if answers || matches!(word, "silent" | "stuck") {
            "running".to_owned()
        } else {
            word.to_owned()
        },
        answers,
        stuck: word == "stuck",
        silent: (word == "silent").then(|| "no answer within 2 s".to_owned()),
        height: answers.then_some(7),
        hash: (answers && role == "peer").then(|| "aaaaaaaaaaaa".to_owned()),
        catching_up: answers.then_some(word == "behind"),
        role: Some(role.to_owned()),
        organisation: organisation.map(str::to_owned),
        channels: if answers && word != "outside" {
            [("main".to_owned(), 7)].into()
        } else {
            BTreeMap::new()
        },
        certificate_ends: answers.then(|| NOW.plus_seconds(365 * DAY_S)),
        ..NodeEvidence::default()
    }
}

/// Orderers, and one list of peers for each organisation. The first orderer that takes part leads, where enough do.
fn seen(orderers: &[&str], organisations: &[&[&str]]) -> Evidence {
    seen_by(Consensus::Raft, orderers, organisations)
}

fn seen_by(consensus: Consensus, orderers: &[&str], organisations: &[&[&str]]) -> Evidence {
    let mut nodes = BTreeMap::new();
    for (n, word) in orderers.iter().enumerate() {
        nodes.insert(format!("orderer{n}"), node("orderer", Some("orderers"), word));
    }
    for (o, peers) in organisations.iter().enumerate() {
        for (n, word) in peers.iter().enumerate() {
            nodes.insert(
                format!("peer{n}-org{o}"),
                node("peer", Some(&format!("org{o}")), word),
            );
        }
    }
    let voting: Vec<usize> = (0..orderers.len())
        .filter(|n| matches!(orderers[*n], "ok" | "behind"))
        .collect();
    let leader = voting
        .first()
        .filter(|_| voting.len() >= consensus.quorum(orderers.len()))
        .map(|n| format!("orderer{n}"));
    let active = match orderers.len() {
        1 => 0,
        _ => u32::try_from(voting.len()).expect("a few"),
    };
    let channel = ChannelEvidence {
        height: Some(7),
        active: leader.as_ref().map(|_| active),
        leader,
        ..ChannelEvidence::default()
    };
    Evidence {
        height: Some(7),
        channels: [("main".to_owned(), channel)].into(),
        nodes,
        ..Evidence::default()
    }
}

fn channel(evidence: &mut Evidence) -> &mut ChannelEvidence {
    evidence.channels.get_mut("main").expect("it is there")
}

fn judge(evidence: &Evidence, past: &Past) -> (HealthState, String) {
    judge_by(Consensus::Raft, evidence, past)
}

fn judge_by(consensus: Consensus, evidence: &Evidence, past: &Past) -> (HealthState, String) {
    let Verdict { state, reason } = verdict(
        &Parameters {
            consensus,
            ..Parameters::default()
        },
        evidence,
        past,
        NOW,
    );
    (state, reason)
}

#[test]
fn who_takes_part_decides_at_once() {
    type Case<'a> = (&'a [&'a str], &'a [&'a [&'a str]], HealthState, &'a str);
    let two: &[&[&str]] = &[&["ok"], &["ok"]];
    let table: &[Case] = &[
        (
            &["ok"],
            &[&["ok"]],
            Healthy,
            "its orderer leads, its peer answers; its only orderer must not be lost",
        ),
        (
            &["ok"; 3],
            two,
            Healthy,
            "all 3 orderers take part, all 2 peers agree; can lose 1 more orderer",
        ),
        (
            &["ok"; 5],
            two,
            Healthy,
            "all 5 orderers take part, all 2 peers agree; can lose 2 more orderers",
        ),
        (
            &["ok", "exited 137", "ok"],
            two,
            Degraded,
            "1 of 3 orderers does not take part (orderer1 exited 137); it still commits, can lose no more orderer",
        ),
        (
            &["ok", "stuck", "ok"],
            two,
            Degraded,
            "1 of 3 orderers does not take part (orderer1 runs and stands still); it still commits, can lose no more orderer",
        ),
        (
            &["ok", "ok", "silent", "ok", "ok"],
            two,
            Degraded,
            "1 of 5 orderers does not take part (orderer2 runs and does not answer); it still commits, can lose 1 more orderer",
        ),
        (
            &["ok", "exited 137", "paused"],
            two,
            Broken,
            "no Raft leader: 2 of 3 orderers do not take part (orderer1 exited 137, orderer2 paused); 2 are needed to order",
        ),
        (
            &["exited 1"],
            two,
            Broken,
            "no Raft leader: its only orderer does not take part (orderer0 exited 1)",
        ),
        (
            &["outside"],
            &[&["outside"]],
            Broken,
            "no Raft leader: its only orderer does not take part (orderer0 has not joined channel main)",
        ),
        (
            &["ok"],
            &[&["ok"], &["exited 1"]],
            Broken,
            "1 of 2 peers does not take part (peer0-org1 exited 1): org1 cannot endorse, and 2 of 2 organisations must",
        ),
        (
            &["ok"],
            &[&["ok"], &["ok"], &["exited 1"]],
            Degraded,
            "1 of 3 peers does not take part (peer0-org2 exited 1); org2 cannot endorse; it still commits, its only orderer must not be lost",
        ),
        (
            &["ok"],
            &[&["ok"], &["ok", "exited 1"]],
            Degraded,
            "1 of 3 peers does not take part (peer1-org1 exited 1); it still commits, its only orderer must not be lost",
        ),
        (
            &["ok"],
            &[&["absent"]],
            Broken,
            "its only peer does not take part (peer0-org0 absent): nobody can endorse",
        ),
        (
            &["ok"],
            &[&["ok", "outside"]],
            Degraded,
            "1 of 2 peers does not take part (peer1-org0 has not joined channel main); it still commits, its only orderer must not be lost",
        ),
        (
            &["ok", "behind", "ok"],
            &[&["behind"]],
            Degraded,
            "catching up with the others: orderer1, peer0-org0; it still commits, can lose 1 more orderer",
        ),
        (
            &["ok", "exited 1", "ok"],
            &[&["ok", "paused"]],
            Degraded,
            "1 of 3 orderers does not take part (orderer1 exited 1); 1 of 2 peers does not take part (peer1-org0 paused); it still commits, can lose no more orderer",
        ),
        (&[], &[], Unknown, "nothing is known of its nodes"),
    ];
    for (orderers, organisations, state, reason) in table {
        let evidence = seen(orderers, organisations);
        assert_eq!(
            judge(&evidence, &Past::default()),
            (*state, (*reason).to_owned()),
            "{orderers:?} {organisations:?}"
        );
    }
}

#[test]
fn different_blocks_at_one_height_are_the_gravest_finding() {
    let mut evidence = seen(&["exited 1"], &[&["ok"], &["ok"]]);
    channel(&mut evidence).agree = Some(false);
    evidence.nodes.get_mut("peer0-org1").expect("it is there").hash = Some("bbbbbbbbbbbb".to_owned());
    let reason = "peers have different blocks at the same height of channel main: peer0-org0 aaaaaaaa, peer0-org1 bbbbbbbb";
    assert_eq!(judge(&evidence, &Past::default()), (Broken, reason.to_owned()));
}

#[test]
fn without_a_leader_nothing_is_ordered() {
    let mut evidence = seen(&["ok"; 3], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        ..ChannelEvidence::default()
    };
    let broken = (
        Broken,
        "no Raft leader on channel main, although enough orderers answer".to_owned(),
    );
    assert_eq!(judge(&evidence, &Past::default()), broken);
    // Those that have just begun, or come back, are given the time of an election.
    let elects = (Degraded, "the orderers of channel main elect a leader".to_owned());
    assert_eq!(
        judge(
            &evidence,
            &Past {
                started_at: ago(3),
                ..Past::default()
            }
        ),
        elects
    );
    assert_eq!(
        judge(
            &evidence,
            &Past {
                started_at: ago(600),
                returned_at: ago(3),
                ..Past::default()
            }
        ),
        elects
    );
    assert_eq!(
        judge(
            &evidence,
            &Past {
                started_at: ago(600),
                returned_at: ago(13),
                ..Past::default()
            }
        ),
        broken
    );
}

#[test]
fn a_leader_that_is_cut_off_orders_nothing() {
    let mut evidence = seen(&["ok"; 3], &[&["ok"]]);
    channel(&mut evidence).active = Some(1);
    let reason = "orderer0 leads channel main and hears too few of the other orderers: 2 are needed to order";
    assert_eq!(judge(&evidence, &Past::default()), (Broken, reason.to_owned()));
    // 0: it has not counted them yet.
    channel(&mut evidence).active = Some(0);
    assert_eq!(judge(&evidence, &Past::default()).0, Healthy);
}

#[test]
fn an_orderer_that_the_leader_does_not_hear_is_no_margin() {
    let mut evidence = seen(&["ok"; 5], &[&["ok"]]);
    channel(&mut evidence).active = Some(4);
    let (state, reason) = judge(&evidence, &Past::default());
    let expected =
        "the leader hears 4 of the 5 orderers that answer; it still commits, can lose 1 more orderer";
    assert_eq!((state, reason.as_str()), (Degraded, expected));
    // One that has just come back is heard a little later.
    for past in [
        Past {
            started_at: ago(5),
            ..Past::default()
        },
        Past {
            returned_at: ago(5),
            ..Past::default()
        },
    ] {
        assert_eq!(judge(&evidence, &past).0, Healthy, "{past:?}");
    }
    // Who is away is missed once.
    let mut evidence = seen(&["ok", "ok", "paused"], &[&["ok"]]);
    channel(&mut evidence).active = Some(3);
    let (_, reason) = judge(&evidence, &Past::default());
    assert_eq!(
        reason,
        "1 of 3 orderers does not take part (orderer2 paused); it still commits, can lose no more orderer"
    );
}

#[test]
fn recovery_needs_a_block_or_a_leader_that_has_counted_a_quorum() {
    let past = |height| Past {
        recovering: true,
        height: Some(height),
        ..Past::default()
    };
    let mut evidence = seen(&["ok"; 3], &[&["ok"]]);
    assert_eq!(judge(&evidence, &past(7)).0, Healthy);
    channel(&mut evidence).active = Some(0);
    let reason = "all nodes take part again; the leader has yet to count them";
    assert_eq!(judge(&evidence, &past(7)), (Degraded, reason.to_owned()));
    assert_eq!(judge(&evidence, &past(6)).0, Healthy);
    assert_eq!(
        judge(
            &evidence,
            &Past {
                recovering: true,
                ..Past::default()
            }
        )
        .0,
        Healthy
    );
    // An only orderer counts nobody, ever.
    assert_eq!(judge(&seen(&["ok"], &[&["ok"]]), &past(7)).0, Healthy);
}

#[test]
fn a_chaincode_that_is_away_is_told() {
    let mut evidence = seen(&["ok"], &[&["ok"]]);
    channel(&mut evidence).chaincodes = [("basic".to_owned(), true), ("other".to_owned(), false)].into();
    let still = "it still commits, its only orderer must not be lost";
    let reason = format!("chaincode other is not committed on channel main; {still}");
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason));
    channel(&mut evidence).chaincodes = [("basic".to_owned(), true)].into();
    evidence
        .nodes
        .insert("cc-basic".to_owned(), node("chaincode", None, "outside"));
    assert_eq!(judge(&evidence, &Past::default()).0, Healthy);
    evidence
        .nodes
        .insert("cc-basic".to_owned(), node("chaincode", None, "exited 2"));
    let reason = format!("its only chaincode does not take part (cc-basic exited 2); {still}");
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason));
}

#[test]
fn without_a_fabric_ca_nobody_is_enrolled_and_all_else_goes_on() {
    let mut evidence = seen(&["ok"], &[&["ok"], &["ok"]]);
    let mut judged = |first: &str, second: &str| {
        for (organisation, word) in [("org1", first), ("org2", second)] {
            evidence
                .nodes
                .insert(format!("ca-{organisation}"), node("ca", Some(organisation), word));
        }
        judge(&evidence, &Past::default())
    };
    // It joins no channel.
    let (state, reason) = judged("outside", "outside");
    assert_eq!(
        (state, reason.as_str()),
        (
            Healthy,
            "its orderer leads, all 2 peers agree; its only orderer must not be lost"
        )
    );
    let still = "it still commits, its only orderer must not be lost";
    let reason = format!(
        "1 of 2 Fabric CAs does not take part (ca-org2 exited 1): no new identities of org2; {still}"
    );
    assert_eq!(judged("outside", "exited 1"), (Degraded, reason));
    let away = "2 of 2 Fabric CAs do not take part (ca-org1 paused, ca-org2 runs and does not answer)";
    assert_eq!(
        judged("paused", "silent"),
        (
            Degraded,
            format!("{away}: no new identities of org1, org2; {still}")
        )
    );
}

#[test]
fn a_peer_without_its_state_database_can_do_nothing() {
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
    let (state, reason) = judge(&evidence, &Past::default());
    assert_eq!(
        (state, reason.as_str()),
        (
            Healthy,
            "its orderer leads, all 3 peers agree; its only orderer must not be lost"
        )
    );
    database(&mut evidence, "1-org0", "org0", "exited 137");
    let peers = "1 of 3 peers does not take part (peer1-org0 has no state database)";
    let databases = "1 of 3 state databases does not take part (db1-org0 exited 137)";
    let reason = format!("{peers}; {databases}; it still commits, its only orderer must not be lost");
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason));
    // It runs, and the peer does not reach it.
    database(&mut evidence, "1-org0", "org0", "outside");
    evidence.nodes.get_mut("peer1-org0").expect("it is there").unable = Some("couchdb: refused".to_owned());
    let reason = format!("{peers}; it still commits, its only orderer must not be lost");
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason));
    database(&mut evidence, "0-org0", "org0", "exited 137");
    let why =
        "2 of 3 peers do not take part (peer0-org0 has no state database, peer1-org0 has no state database)";
    let reason = format!("{why}: org0 cannot endorse, and 2 of 2 organisations must");
    assert_eq!(judge(&evidence, &Past::default()), (Broken, reason));
}

#[test]
fn certificates_that_end_soon_are_told_by_the_day() {
    let mut evidence = seen(&["ok"], &[&["ok"]]);
    let in_days = |days: i64| Some(NOW.plus_seconds(days * DAY_S));
    let judged = |evidence: &Evidence, days: u32| {
        let parameters = Parameters {
            certificate_days: days,
            ..Parameters::default()
        };
        verdict(&parameters, evidence, &Past::default(), NOW)
    };
    evidence.certificate_ends = in_days(30);
    assert_eq!(judged(&evidence, 365).state, Healthy);
    evidence.certificate_ends = in_days(29);
    let reason =
        "one of its certificates ends on 2026-12-17; it still commits, its only orderer must not be lost";
    assert_eq!(
        judged(&evidence, 365),
        Verdict {
            state: Degraded,
            reason: reason.to_owned()
        }
    );
    evidence
        .nodes
        .get_mut("orderer0")
        .expect("it is there")
        .certificate_ends = in_days(29);
    let reason =
        "the certificate of orderer0 ends on 2026-12-17; it still commits, its only orderer must not be lost";
    assert_eq!(
        judged(&evidence, 365),
        Verdict {
            state: Degraded,
            reason: reason.to_owned()
        }
    );
    // One of a month is not told from its first day on.
    assert_eq!(judged(&evidence, 30).state, Healthy);
    evidence.certificate_ends = in_days(9);
    assert_eq!(judged(&evidence, 30).state, Degraded);
}

#[test]
fn by_bft_a_quorum_of_the_orderers_is_enough() {
    type Case<'a> = (&'a [&'a str], HealthState, &'a str);
    let table: &[Case] = &[
        (
            &["ok"; 4],
            Healthy,
            "all 4 orderers take part, its peer answers; can lose 1 more orderer",
        ),
        (
            &["ok"; 5],
            Healthy,
            "all 5 orderers take part, its peer answers; can lose 1 more orderer",
        ),
        (
            &["ok"; 6],
            Healthy,
            "all 6 orderers take part, its peer answers; can lose 2 more orderers",
        ),
        (
            &["ok"; 7],
            Healthy,
            "all 7 orderers take part, its peer answers; can lose 2 more orderers",
        ),
        (
            &["exited 137", "ok", "ok", "ok"],
            Degraded,
            "1 of 4 orderers does not take part (orderer0 exited 137); it still commits, can lose no more orderer",
        ),
        (
            &["exited 137", "ok", "ok", "silent"],
            Broken,
            "no BFT quorum: 2 of 4 orderers do not take part (orderer0 exited 137, orderer3 runs and does not answer); 3 are needed to order",
        ),
        (
            &["ok", "ok", "paused", "ok", "paused"],
            Broken,
            "no BFT quorum: 2 of 5 orderers do not take part (orderer2 paused, orderer4 paused); 4 are needed to order",
        ),
    ];
    for (orderers, state, reason) in table {
        let evidence = seen_by(Consensus::Bft, orderers, &[&["ok"]]);
        assert_eq!(
            judge_by(Consensus::Bft, &evidence, &Past::default()),
            (*state, (*reason).to_owned()),
            "{orderers:?}"
        );
    }
}

#[test]
fn by_bft_a_leader_of_before_is_no_leader_without_a_quorum() {
    // Two of four stand still, and the others are in the view of before: its leader is among them.
    let mut evidence = seen_by(Consensus::Bft, &["ok", "ok", "silent", "silent"], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        leader: Some("orderer0".to_owned()),
        active: Some(2),
        ..ChannelEvidence::default()
    };
    let (state, reason) = judge_by(Consensus::Bft, &evidence, &Past::default());
    assert!(
        state == Broken && reason.starts_with("no BFT quorum: 2 of 4 orderers"),
        "{reason}"
    );
    // Nodes that were just started may have to join a new channel first.
    let recent = Past {
        started_at: ago(3),
        ..Past::default()
    };
    assert_eq!(judge_by(Consensus::Bft, &evidence, &recent).0, Degraded);
}

#[test]
fn by_bft_orderers_are_given_the_time_of_a_change_of_the_view() {
    let mut evidence = seen_by(Consensus::Bft, &["ok"; 4], &[&["ok"]]);
    channel(&mut evidence).active = Some(3);
    let left = |seconds| Past {
        left_at: ago(seconds),
        ..Past::default()
    };
    assert_eq!(judge_by(Consensus::Bft, &evidence, &left(29)).0, Healthy);
    let reason =
        "3 of the 4 orderers that answer follow the leader; it still commits, can lose no more orderer";
    assert_eq!(
        judge_by(Consensus::Bft, &evidence, &left(31)),
        (Degraded, reason.to_owned())
    );
    channel(&mut evidence).active = Some(2);
    let reason =
        "orderer0 leads channel main and too few of the other orderers follow it: 3 are needed to order";
    assert_eq!(
        judge_by(Consensus::Bft, &evidence, &Past::default()),
        (Broken, reason.to_owned())
    );
    // One of them was started anew, and the others follow another leader on a channel where nobody writes.
    let started = |seconds| Past {
        started_at: ago(seconds),
        ..Past::default()
    };
    assert_eq!(judge_by(Consensus::Bft, &evidence, &started(29)).0, Degraded);
    assert_eq!(
        judge_by(Consensus::Bft, &evidence, &started(31)),
        (Broken, reason.to_owned())
    );
    let recovering = Past {
        recovering: true,
        height: Some(7),
        ..Past::default()
    };
    channel(&mut evidence).active = Some(4);
    assert_eq!(judge_by(Consensus::Bft, &evidence, &recovering).0, Healthy);
    channel(&mut evidence).active = Some(0);
    let reason = "all nodes take part again; the orderers have yet to follow one leader";
    assert_eq!(
        judge_by(Consensus::Bft, &evidence, &recovering),
        (Degraded, reason.to_owned())
    );

    // The leader is away.
    let mut evidence = seen_by(Consensus::Bft, &["exited 137", "ok", "ok", "ok"], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        ..ChannelEvidence::default()
    };
    let elects = (Degraded, "the orderers of channel main elect a leader".to_owned());
    assert_eq!(judge_by(Consensus::Bft, &evidence, &left(29)), elects);
    let reason = "no BFT leader on channel main, although enough orderers answer";
    assert_eq!(
        judge_by(Consensus::Bft, &evidence, &left(31)),
        (Broken, reason.to_owned())
    );
}

proptest! {
    #[test]
    fn healthy_is_only_what_is_whole(
        consensus in prop::sample::select(Consensus::ALL.to_vec()),
        orderers in prop::collection::vec(prop::sample::select(vec!["ok", "behind", "outside", "silent", "paused", "absent"]), 1..8),
        peers in prop::collection::vec(prop::sample::select(vec!["ok", "behind", "outside", "silent", "exited 1"]), 1..4),
        recovering: bool,
    ) {
        let organisations: Vec<&[&str]> = peers.chunks(1).collect();
        let past = Past { recovering, height: Some(7), ..Past::default() };
        let (state, reason) = judge_by(consensus, &seen_by(consensus, &orderers, &organisations), &past);
        let whole = orderers.iter().chain(&peers).all(|word| *word == "ok");
        prop_assert_eq!(state == Healthy, whole, "{}", reason);
        let voting = orderers.iter().filter(|word| matches!(**word, "ok" | "behind")).count();
        let endorsing = peers.iter().filter(|word| matches!(**word, "ok" | "behind")).count();
        let commits = voting >= consensus.quorum(orderers.len()) && 2 * endorsing > peers.len();
        prop_assert_eq!(state == Broken, !commits, "{}", reason);
        prop_assert!(!reason.is_empty());
    }
}

#[test]
fn what_a_change_brings_is_no_loss_of_what_was_there() {
    // Two of three orderers are new: one follows, one does not answer yet. The channel goes on with the one that it has.
    let mut evidence = seen(&["ok", "outside", "silent"], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        leader: Some("orderer0".to_owned()),
        active: Some(0),
        ..ChannelEvidence::default()
    };
    let missing = "2 of 3 orderers do not take part (orderer1 has not joined channel main, orderer2 runs and does not answer)";
    let reason = format!("{missing}; it still commits, can lose no more orderer");
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason));
    // On a new channel nobody leads yet.
    let recent = Past {
        started_at: ago(3),
        ..Past::default()
    };
    evidence.channels.insert(
        "two".to_owned(),
        ChannelEvidence {
            height: Some(1),
            ..ChannelEvidence::default()
        },
    );
    assert_eq!(
        judge(&evidence, &recent),
        (Degraded, "the orderers of channel two elect a leader".to_owned())
    );
    assert_eq!(judge(&evidence, &Past::default()).0, Broken);
    evidence.channels.remove("two");
    // One that was seen to have ended was there.
    evidence.nodes.get_mut("orderer2").expect("it is there").process = "exited 137".to_owned();
    assert_eq!(judge(&evidence, &Past::default()).0, Broken);

    // The leader waits for the second one to see that it counts.
    let mut evidence = seen(&["ok", "ok", "ok"], &[&["ok"]]);
    channel(&mut evidence).active = Some(1);
    let reason = "orderer0 leads channel main and waits for the orderers that were just started";
    assert_eq!(judge(&evidence, &recent), (Degraded, reason.to_owned()));
    assert_eq!(
        judge(
            &evidence,
            &Past {
                started_at: ago(13),
                ..Past::default()
            }
        )
        .0,
        Broken
    );

    // Peers of a new organisation start.
    let evidence = seen(&["ok"], &[&["ok"], &["created"]]);
    assert_eq!(judge(&evidence, &recent).0, Degraded);
    assert_eq!(judge(&evidence, &Past::default()).0, Broken);
}

#[test]
fn a_channel_that_nobody_has_joined_yet_breaks_no_other() {
    let mut evidence = seen(&["ok"], &[&["ok"]]);
    evidence
        .channels
        .insert("two".to_owned(), ChannelEvidence::default());
    let reason = "nobody has joined channel two yet; it still commits, its only orderer must not be lost";
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason.to_owned()));
    // One of the nodes has.
    evidence.channels.get_mut("two").expect("it is there").height = Some(1);
    evidence
        .nodes
        .get_mut("peer0-org0")
        .expect("it is there")
        .channels
        .insert("two".to_owned(), 1);
    let reason = "no Raft leader: its only orderer does not take part (orderer0 has not joined channel two)";
    assert_eq!(judge(&evidence, &Past::default()), (Broken, reason.to_owned()));
}

/// A case.
type BegunAgain = (
    &'static [&'static str],
    &'static [&'static [&'static str]],
    u64,
    bool,
);

#[test]
fn a_ledger_that_has_begun_again_is_found_when_all_of_it_answers() {
    let two: &[&[&str]] = &[&["ok"], &["ok"]];
    let one_silent: &[&[&str]] = &[&["ok"], &["silent"]];
    let table: [BegunAgain; 6] = [
        (&["ok"; 3], two, 7, false),
        (&["ok"; 3], two, 8, false),
        (&["ok"; 3], two, 9, true),
        (&["ok", "ok", "exited 137"], two, 9, false),
        (&["ok", "ok", "behind"], two, 9, false),
        (&["ok"; 3], one_silent, 9, false),
    ];
    for (orderers, peers, before, found) in table {
        let past = Past {
            height: Some(before),
            height_since: ago(1),
            ..Past::default()
        };
        let again = began_again(&seen(orderers, peers), &past);
        assert_eq!(again.is_some(), found, "{orderers:?} {peers:?} after {before}");
    }
}
