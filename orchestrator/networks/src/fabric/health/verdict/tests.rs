//! Verdicts by evidence and history.

mod bft;
mod certificates;
mod regression;
mod services;

use super::*;
use HealthState::{Broken, Degraded, Healthy, Unknown};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

#[expect(clippy::unnecessary_wraps, reason = "all times of the history are optional")]
fn ago(seconds: i64) -> Option<Timestamp> {
    Some(NOW.plus_seconds(-seconds))
}

/// A node by its state: `ok`, `behind`, `outside`, `unresponsive`, `stalled`, or a process state.
fn node(role: &str, organisation: Option<&str>, word: &str) -> NodeEvidence {
    let answers = matches!(word, "ok" | "behind" | "outside");
    NodeEvidence {
        process: if answers || matches!(word, "unresponsive" | "stalled") {
            ProcessState::Running
        } else {
            word.parse().expect("any text is a state")
        },
        answers,
        stuck: word == "stalled",
        silent: (word == "unresponsive").then(|| "no answer within 2 s".to_owned()),
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

/// Evidence of orderers, and of peers by organisation. With a quorum the first available orderer leads.
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

fn assess(evidence: &Evidence, history: &History) -> (HealthState, String) {
    assess_by(Consensus::Raft, evidence, history)
}

fn assess_by(consensus: Consensus, evidence: &Evidence, history: &History) -> (HealthState, String) {
    let Verdict { state, reason } = verdict(
        &Parameters {
            consensus,
            ..Parameters::default()
        },
        evidence,
        history,
        &Fabric::default(),
        NOW,
    );
    (state, reason)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn available_nodes_determine_the_verdict() {
    type Case<'a> = (&'a [&'a str], &'a [&'a [&'a str]], HealthState, &'a str);
    let two: &[&[&str]] = &[&["ok"], &["ok"]];
    let table: &[Case] = &[
        (
            &["ok"],
            &[&["ok"]],
            Healthy,
            "the orderer leads, the peer is responsive; no orderer failure tolerated",
        ),
        (
            &["ok"; 3],
            two,
            Healthy,
            "all 3 orderers participate, all 2 peers agree; 1 further orderer failure tolerated",
        ),
        (
            &["ok"; 5],
            two,
            Healthy,
            "all 5 orderers participate, all 2 peers agree; 2 further orderer failures tolerated",
        ),
        (
            &["ok", "exited 137", "ok"],
            two,
            Degraded,
            "1 of 3 orderers unavailable (orderer1 exited 137); still committing, no further orderer failure tolerated",
        ),
        (
            &["ok", "stalled", "ok"],
            two,
            Degraded,
            "1 of 3 orderers unavailable (orderer1 is running but stalled); still committing, no further orderer failure tolerated",
        ),
        (
            &["ok", "ok", "unresponsive", "ok", "ok"],
            two,
            Degraded,
            "1 of 5 orderers unavailable (orderer2 is running but unresponsive); still committing, 1 further orderer failure tolerated",
        ),
        (
            &["ok", "exited 137", "paused"],
            two,
            Broken,
            "no Raft leader: 2 of 3 orderers unavailable (orderer1 exited 137, orderer2 paused); 2 required for quorum",
        ),
        (
            &["exited 1"],
            two,
            Broken,
            "no Raft leader: the only orderer is unavailable (orderer0 exited 1)",
        ),
        (
            &["outside"],
            &[&["outside"]],
            Broken,
            "no Raft leader: the only orderer is unavailable (orderer0 has not joined channel main)",
        ),
        (
            &["ok"],
            &[&["ok"], &["exited 1"]],
            Broken,
            "1 of 2 peers unavailable (peer0-org1 exited 1): org1 cannot endorse; 2 of 2 organisations required",
        ),
        (
            &["ok"],
            &[&["ok"], &["ok"], &["exited 1"]],
            Degraded,
            "1 of 3 peers unavailable (peer0-org2 exited 1); org2 cannot endorse; still committing, no orderer failure tolerated",
        ),
        (
            &["ok"],
            &[&["ok"], &["ok", "exited 1"]],
            Degraded,
            "1 of 3 peers unavailable (peer1-org1 exited 1); still committing, no orderer failure tolerated",
        ),
        (
            &["ok"],
            &[&["absent"]],
            Broken,
            "the only peer is unavailable (peer0-org0 absent): no endorser available",
        ),
        (
            &["ok"],
            &[&["ok", "outside"]],
            Degraded,
            "1 of 2 peers unavailable (peer1-org0 has not joined channel main); still committing, no orderer failure tolerated",
        ),
        (
            &["ok", "behind", "ok"],
            &[&["behind"]],
            Degraded,
            "catching up: orderer1, peer0-org0; still committing, 1 further orderer failure tolerated",
        ),
        (
            &["ok", "exited 1", "ok"],
            &[&["ok", "paused"]],
            Degraded,
            "1 of 3 orderers unavailable (orderer1 exited 1); 1 of 2 peers unavailable (peer1-org0 paused); still committing, no further orderer failure tolerated",
        ),
        (&[], &[], Unknown, "no information about the nodes"),
    ];
    for (orderers, organisations, state, reason) in table {
        let evidence = seen(orderers, organisations);
        assert_eq!(
            assess(&evidence, &History::default()),
            (*state, (*reason).to_owned()),
            "{orderers:?} {organisations:?}"
        );
    }
}

#[test]
fn different_blocks_at_one_height_are_the_most_severe_finding() {
    let mut evidence = seen(&["exited 1"], &[&["ok"], &["ok"]]);
    channel(&mut evidence).agree = Some(false);
    evidence.nodes.get_mut("peer0-org1").expect("it is there").hash = Some("bbbbbbbbbbbb".to_owned());
    let reason = "peers have different blocks at the same height of channel main: peer0-org0 aaaaaaaa, peer0-org1 bbbbbbbb";
    assert_eq!(
        assess(&evidence, &History::default()),
        (Broken, reason.to_owned())
    );
}

#[test]
fn a_channel_without_a_leader_is_broken_after_an_election() {
    let mut evidence = seen(&["ok"; 3], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        ..ChannelEvidence::default()
    };
    let broken = (
        Broken,
        "no Raft leader on channel main although enough orderers are responsive".to_owned(),
    );
    assert_eq!(assess(&evidence, &History::default()), broken);
    // Started or reconnected orderers get time for an election.
    let elects = (Degraded, "channel main: leader election in progress".to_owned());
    assert_eq!(
        assess(
            &evidence,
            &History {
                started_at: ago(3),
                ..History::default()
            }
        ),
        elects
    );
    assert_eq!(
        assess(
            &evidence,
            &History {
                started_at: ago(600),
                reconnected_at: ago(3),
                ..History::default()
            }
        ),
        elects
    );
    assert_eq!(
        assess(
            &evidence,
            &History {
                started_at: ago(600),
                reconnected_at: ago(13),
                ..History::default()
            }
        ),
        broken
    );
}

#[test]
fn a_disconnected_leader_is_broken() {
    let mut evidence = seen(&["ok"; 3], &[&["ok"]]);
    channel(&mut evidence).active = Some(1);
    let reason = "orderer0 leads channel main but reaches too few orderers: 2 required for quorum";
    assert_eq!(
        assess(&evidence, &History::default()),
        (Broken, reason.to_owned())
    );
    // 0: it has not counted them yet.
    channel(&mut evidence).active = Some(0);
    assert_eq!(assess(&evidence, &History::default()).0, Healthy);
}

#[test]
fn an_orderer_that_the_leader_does_not_reach_adds_no_tolerance() {
    let mut evidence = seen(&["ok"; 5], &[&["ok"]]);
    channel(&mut evidence).active = Some(4);
    let (state, reason) = assess(&evidence, &History::default());
    let expected = "the leader reaches 4 of 5 responsive orderers; still committing, 1 further orderer failure tolerated";
    assert_eq!((state, reason.as_str()), (Degraded, expected));
    // The leader reaches a reconnected orderer a little later.
    for history in [
        History {
            started_at: ago(5),
            ..History::default()
        },
        History {
            reconnected_at: ago(5),
            ..History::default()
        },
    ] {
        assert_eq!(assess(&evidence, &history).0, Healthy, "{history:?}");
    }
    // An unavailable orderer is reported once.
    let mut evidence = seen(&["ok", "ok", "paused"], &[&["ok"]]);
    channel(&mut evidence).active = Some(3);
    let (_, reason) = assess(&evidence, &History::default());
    assert_eq!(
        reason,
        "1 of 3 orderers unavailable (orderer2 paused); still committing, no further orderer failure tolerated"
    );
}

#[test]
fn recovery_needs_a_block_or_a_leader_with_a_counted_quorum() {
    let history = |height| History {
        recovering: true,
        progress: Some(chainpool_api::Progress::At(height)),
        ..History::default()
    };
    let mut evidence = seen(&["ok"; 3], &[&["ok"]]);
    assert_eq!(assess(&evidence, &history(7)).0, Healthy);
    channel(&mut evidence).active = Some(0);
    let reason = "all nodes available again; waiting for the leader to confirm a quorum";
    assert_eq!(assess(&evidence, &history(7)), (Degraded, reason.to_owned()));
    assert_eq!(assess(&evidence, &history(6)).0, Healthy);
    assert_eq!(
        assess(
            &evidence,
            &History {
                recovering: true,
                ..History::default()
            }
        )
        .0,
        Healthy
    );
    // A single orderer never counts followers.
    assert_eq!(assess(&seen(&["ok"], &[&["ok"]]), &history(7)).0, Healthy);
}

proptest! {
    #[test]
    fn only_a_complete_network_is_healthy(
        consensus in prop::sample::select(Consensus::ALL.to_vec()),
        orderers in prop::collection::vec(prop::sample::select(vec!["ok", "behind", "outside", "unresponsive", "paused", "absent"]), 1..8),
        peers in prop::collection::vec(prop::sample::select(vec!["ok", "behind", "outside", "unresponsive", "exited 1"]), 1..4),
        recovering: bool,
    ) {
        let organisations: Vec<&[&str]> = peers.chunks(1).collect();
        let history = History { recovering, progress: Some(chainpool_api::Progress::At(7)), ..History::default() };
        let (state, reason) = assess_by(consensus, &seen_by(consensus, &orderers, &organisations), &history);
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
fn new_nodes_of_an_amendment_do_not_break_the_network() {
    // Two of three orderers are new: one follows, one is unresponsive. The channel continues with the
    // existing one.
    let mut evidence = seen(&["ok", "outside", "unresponsive"], &[&["ok"]]);
    *channel(&mut evidence) = ChannelEvidence {
        height: Some(7),
        leader: Some("orderer0".to_owned()),
        active: Some(0),
        ..ChannelEvidence::default()
    };
    let missing = "2 of 3 orderers unavailable (orderer1 has not joined channel main, orderer2 is running but unresponsive)";
    let reason = format!("{missing}; still committing, no further orderer failure tolerated");
    assert_eq!(assess(&evidence, &History::default()), (Degraded, reason));
    // A new channel has no leader yet.
    let recent = History {
        started_at: ago(3),
        ..History::default()
    };
    evidence.channels.insert(
        "two".to_owned(),
        ChannelEvidence {
            height: Some(1),
            ..ChannelEvidence::default()
        },
    );
    assert_eq!(
        assess(&evidence, &recent),
        (Degraded, "channel two: leader election in progress".to_owned())
    );
    assert_eq!(assess(&evidence, &History::default()).0, Broken);
    evidence.channels.remove("two");
    // An orderer that has exited is not new.
    evidence.nodes.get_mut("orderer2").expect("it is there").process = ProcessState::Exited(137);
    assert_eq!(assess(&evidence, &History::default()).0, Broken);

    // The leader waits until the second one knows that it is a consenter.
    let mut evidence = seen(&["ok", "ok", "ok"], &[&["ok"]]);
    channel(&mut evidence).active = Some(1);
    let reason = "orderer0 leads channel main and is waiting for newly started orderers";
    assert_eq!(assess(&evidence, &recent), (Degraded, reason.to_owned()));
    assert_eq!(
        assess(
            &evidence,
            &History {
                started_at: ago(13),
                ..History::default()
            }
        )
        .0,
        Broken
    );

    // Peers of a new organisation are starting.
    let evidence = seen(&["ok"], &[&["ok"], &["created"]]);
    assert_eq!(assess(&evidence, &recent).0, Degraded);
    assert_eq!(assess(&evidence, &History::default()).0, Broken);
}

#[test]
fn a_channel_without_nodes_does_not_break_the_others() {
    let mut evidence = seen(&["ok"], &[&["ok"]]);
    evidence
        .channels
        .insert("two".to_owned(), ChannelEvidence::default());
    let reason = "no node has joined channel two yet; still committing, no orderer failure tolerated";
    assert_eq!(
        assess(&evidence, &History::default()),
        (Degraded, reason.to_owned())
    );
    // One node has joined.
    evidence.channels.get_mut("two").expect("it is there").height = Some(1);
    evidence
        .nodes
        .get_mut("peer0-org0")
        .expect("it is there")
        .channels
        .insert("two".to_owned(), 1);
    let reason = "no Raft leader: the only orderer is unavailable (orderer0 has not joined channel two)";
    assert_eq!(
        assess(&evidence, &History::default()),
        (Broken, reason.to_owned())
    );
}
