//! Verdicts by evidence and history.

mod regression;

use super::*;
use HealthState::{Broken, Degraded, Healthy, Unknown};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

#[expect(clippy::unnecessary_wraps, reason = "all times of the history are optional")]
fn ago(seconds: i64) -> Option<Timestamp> {
    Some(NOW.plus_seconds(-seconds))
}

/// A node by its state: `ok`, `behind`, `unresponsive`, `alone`, or a process state.
fn node(word: &str) -> NodeEvidence {
    let answers = matches!(word, "ok" | "behind" | "alone");
    NodeEvidence {
        process: if answers || word == "unresponsive" {
            ProcessState::Running
        } else {
            word.parse().expect("any text is a state")
        },
        answers,
        silent: (word == "unresponsive").then(|| "no answer within 2 s".to_owned()),
        height: answers.then_some(7),
        hash: answers.then(|| "AAAAAAAAAAAA".to_owned()),
        block_at: None,
        peers: answers.then_some(if word == "alone" { 0 } else { 3 }),
        catching_up: answers.then_some(word == "behind"),
        ..NodeEvidence::default()
    }
}

/// Evidence at height 7 in which all responsive nodes are connected.
fn seen(words: &[&str]) -> Evidence {
    let nodes: std::collections::BTreeMap<_, _> = words
        .iter()
        .enumerate()
        .map(|(n, word)| (format!("v{n}"), node(word)))
        .collect();
    let answering = count(nodes.values().filter(|n| n.answers));
    let connected = count(nodes.values().filter(|n| n.answers && n.peers != Some(0)));
    Evidence {
        height: (answering > 0).then_some(7),
        agree: (answering > 1).then_some(true),
        power: (answering > 0).then_some((connected.max(1), count(words.iter()))),
        nodes,
        ..Evidence::default()
    }
}

fn count(these: impl Iterator) -> u64 {
    these.fold(0, |count, _| count + 1)
}

fn assess(evidence: &Evidence, history: &History) -> (HealthState, String) {
    let Verdict { state, reason } = verdict(
        &Parameters::default(),
        evidence,
        history,
        &CometBft::default(),
        NOW,
    );
    (state, reason)
}

/// History with this height, first seen this many seconds ago.
fn at(height: u64, seconds: i64) -> History {
    History {
        progress: Some(chainpool_api::Progress::At(height)),
        progress_since: ago(seconds),
        ..History::default()
    }
}

#[test]
fn available_validators_determine_the_verdict() {
    let lost = "more than 2/3 of the voting power required to commit";
    let table: &[(&[&str], HealthState, String)] = &[
        (
            &["ok", "ok", "ok", "ok"],
            Healthy,
            "all 4 validators participate and agree".into(),
        ),
        (
            &["ok", "ok", "paused", "ok"],
            Degraded,
            "1 of 4 validators unavailable (v2 paused); still committing".into(),
        ),
        (
            &["ok", "unresponsive", "ok", "ok"],
            Degraded,
            "1 of 4 validators unavailable (v1 is running but unresponsive); still committing".into(),
        ),
        (
            &["ok", "ok", "paused", "exited 137"],
            Broken,
            format!("2 of 4 validators unavailable (v2 paused, v3 exited 137); {lost}"),
        ),
        (
            &["absent", "absent", "absent", "absent"],
            Broken,
            format!("4 of 4 validators unavailable (v0 absent, v1 absent, v2 absent, v3 absent); {lost}"),
        ),
        (
            &["unresponsive", "unresponsive", "created", "ok"],
            Broken,
            format!(
                "3 of 4 validators unavailable (v0 is running but unresponsive, v1 is running but unresponsive, v2 created); {lost}"
            ),
        ),
        // Three of three are required: two are not more than two thirds.
        (
            &["ok", "ok", "exited 0"],
            Broken,
            format!("1 of 3 validators unavailable (v2 exited 0); {lost}"),
        ),
        (
            &["ok", "exited 0"],
            Broken,
            format!("1 of 2 validators unavailable (v1 exited 0); {lost}"),
        ),
        (
            &["ok"],
            Healthy,
            "the validator is responsive and produces blocks".into(),
        ),
        (
            &["exited 1"],
            Broken,
            format!("the only validator is unavailable (v0 exited 1); {lost}"),
        ),
        (
            &["ok", "ok", "ok", "ok", "ok", "paused", "paused"],
            Degraded,
            "2 of 7 validators unavailable (v5 paused, v6 paused); still committing".into(),
        ),
        // All are responsive, not all are connected.
        (
            &["ok", "ok", "ok", "alone"],
            Degraded,
            "3 of 4 of the voting power connected; still committing".into(),
        ),
        (
            &["ok", "ok", "alone", "alone"],
            Broken,
            format!("2 of 4 of the voting power connected; {lost}"),
        ),
        // A restarted node is catching up and does not vote yet.
        (&["ok", "ok", "ok", "behind"], Degraded, "catching up: v3".into()),
        (&[], Unknown, "no information about the validators".into()),
    ];
    for (words, state, reason) in table {
        assert_eq!(
            assess(&seen(words), &History::default()),
            (*state, reason.clone()),
            "{words:?}"
        );
    }
}

#[test]
fn reported_voting_powers_determine_the_verdict() {
    let with = |words: &[&str], powers: &[u64], connected: u64, all: u64| {
        let mut evidence = seen(words);
        for (node, power) in evidence.nodes.values_mut().zip(powers) {
            node.power = Some(*power);
        }
        evidence.power = Some((connected, all));
        assess(&evidence, &History::default())
    };
    let lost = "more than 2/3 of the voting power required to commit";
    let three = "all 3 validators participate and agree; v3 is no longer a validator: a transaction removed its voting power";
    assert_eq!(
        with(&["ok", "ok", "ok", "ok"], &[1, 1, 1, 0], 3, 3),
        (Healthy, three.to_owned())
    );
    let gone = "1 node without voting power unavailable (v3 exited 137); still committing";
    assert_eq!(
        with(&["ok", "ok", "ok", "exited 137"], &[1, 1, 1, 0], 3, 3),
        (Degraded, gone.to_owned())
    );
    let heavy = format!("1 of 4 validators unavailable (v0 exited 137); {lost}");
    assert_eq!(
        with(&["exited 137", "ok", "ok", "ok"], &[10, 1, 1, 1], 3, 13),
        (Broken, heavy)
    );
    let light = "3 of 4 validators unavailable (v1 paused, v2 paused, v3 paused); still committing";
    assert_eq!(
        with(&["ok", "paused", "paused", "paused"], &[10, 1, 1, 1], 10, 13),
        (Degraded, light.to_owned())
    );
    let elsewhere = "5 of 5 of the voting power belongs to validators outside this cluster";
    assert_eq!(with(&["ok"], &[0], 0, 5), (Degraded, elsewhere.to_owned()));
    // A node without power that is catching up does not excuse disconnected validators.
    assert_eq!(with(&["ok", "ok", "ok", "behind"], &[1, 1, 1, 0], 1, 3).0, Broken);
    let one = with(&["ok", "ok"], &[0, 1], 1, 1);
    assert_eq!(
        one,
        (Healthy, "the validator is responsive and produces blocks; v0 is no longer a validator: a transaction removed its voting power".to_owned())
    );
}

#[test]
fn blocks_are_the_evidence_if_validators_are_outside_the_cluster() {
    let mut evidence = seen(&["ok"]);
    evidence.nodes.get_mut("v0").unwrap().power = Some(1);
    evidence.power = Some((1, 5));
    let stopped = "no new block after height 7: validators outside this cluster decide";
    assert_eq!(assess(&evidence, &at(7, 600)), (Broken, stopped.to_owned()));
    assert_eq!(assess(&evidence, &at(7, 1)).0, Degraded);
    let idle = Parameters {
        empty_blocks: false,
        ..Parameters::default()
    };
    assert_eq!(
        verdict(&idle, &evidence, &at(7, 600), &CometBft::default(), NOW).state,
        Degraded,
        "its height may stay constant"
    );
}

#[test]
fn a_committing_ledger_with_exhausted_user_ports_is_degraded() {
    let mut evidence = seen(&["ok", "ok", "ok", "ok"]);
    for name in ["v1", "v3"] {
        evidence.nodes.get_mut(name).unwrap().closed_to_users = Some("no answer within 2 s".to_owned());
    }
    let reason = "committing, but the client port is unresponsive at v1, v3: clients may have exhausted its connections";
    assert_eq!(
        assess(&evidence, &History::default()),
        (Degraded, reason.to_owned())
    );
    assert_eq!(assess(&evidence, &at(7, 600)).0, Broken, "no new block");
}

#[test]
fn different_blocks_at_one_height_are_the_most_severe_finding() {
    let mut evidence = seen(&["ok", "ok", "ok", "paused"]);
    evidence.agree = Some(false);
    let Some(node) = evidence.nodes.get_mut("v1") else {
        panic!("v1 is there")
    };
    node.hash = Some("BBBBBBBBBBBB".into());
    let reason = "validators have different blocks at the same height: v0 AAAAAAAA, v1 BBBBBBBB, v2 AAAAAAAA";
    assert_eq!(
        assess(&evidence, &History::default()),
        (Broken, reason.to_owned())
    );
}

#[test]
fn a_reconnected_engine_gets_time_for_its_nodes_to_connect() {
    let mut evidence = seen(&["behind", "behind", "behind", "behind"]);
    evidence.power = Some((1, 4));
    let reason = "catching up: v0, v1, v2, v3";
    let history = History {
        reconnected_at: ago(1),
        ..at(7, 600)
    };
    assert_eq!(assess(&evidence, &history), (Degraded, reason.to_owned()));
    let history = History {
        reconnected_at: ago(25),
        ..at(7, 600)
    };
    assert_eq!(assess(&evidence, &history).0, Broken);
    // Too few are running: waiting does not help.
    let mut evidence = seen(&["behind", "behind", "exited 1", "exited 1"]);
    evidence.power = Some((1, 4));
    assert_eq!(
        assess(
            &evidence,
            &History {
                reconnected_at: ago(1),
                ..at(7, 600)
            }
        )
        .0,
        Broken
    );
}

#[test]
fn a_stalled_height_is_broken() {
    let all = seen(&["ok", "ok", "ok", "ok"]);
    let stalled = (
        Broken,
        "no new block after height 7 although enough validators are responsive".to_owned(),
    );
    // 10 s plus the empty-block interval of 10 s.
    assert_eq!(assess(&all, &at(7, 20)).0, Healthy);
    assert_eq!(assess(&all, &at(7, 21)), stalled);
    assert_eq!(assess(&all, &at(6, 3600)).0, Healthy);
    assert_eq!(assess(&seen(&["ok", "ok", "ok", "paused"]), &at(7, 21)), stalled);
    // Started or reconnected nodes get the full time again.
    assert_eq!(
        assess(
            &all,
            &History {
                started_at: ago(5),
                ..at(7, 3600)
            }
        )
        .0,
        Healthy
    );
    assert_eq!(
        assess(
            &all,
            &History {
                reconnected_at: ago(5),
                ..at(7, 3600)
            }
        )
        .0,
        Healthy
    );
    assert_eq!(
        assess(
            &all,
            &History {
                started_at: ago(30),
                reconnected_at: ago(40),
                ..at(7, 3600)
            }
        ),
        stalled
    );
    // Only a node that is far behind is responsive: the height has not grown either.
    let mut fewer = all.clone();
    fewer.height = Some(3);
    assert_eq!(assess(&fewer, &at(7, 21)), stalled);
}

#[test]
fn slow_blocks_extend_the_time_limit() {
    let slow = Parameters {
        block_interval_ms: 60_000,
        ..Parameters::default()
    };
    let state = |seconds| {
        verdict(
            &slow,
            &seen(&["ok"; 4]),
            &at(7, seconds),
            &CometBft::default(),
            NOW,
        )
        .state
    };
    assert_eq!((state(310), state(311)), (Healthy, Broken));
}

#[test]
fn without_empty_blocks_a_constant_height_alone_is_no_failure() {
    let resting = Parameters {
        empty_blocks: false,
        ..Parameters::default()
    };
    let of = |words: &[&str], history: &History| {
        verdict(&resting, &seen(words), history, &CometBft::default(), NOW).state
    };
    assert_eq!(of(&["ok"; 4], &at(7, 86_400)), Healthy);
    assert_eq!(of(&["ok", "ok", "ok", "paused"], &at(7, 86_400)), Degraded);
    // Too few of them vote as well.
    assert_eq!(of(&["ok", "ok", "behind", "behind"], &at(7, 11)), Broken);
    assert_eq!(of(&["ok", "ok", "behind", "behind"], &at(7, 9)), Degraded);
    // Recovery: more than two thirds connected.
    assert_eq!(
        of(
            &["ok"; 4],
            &History {
                recovering: true,
                ..at(7, 86_400)
            }
        ),
        Healthy
    );
}

#[test]
fn recovery_needs_a_new_block() {
    let all = seen(&["ok", "ok", "ok", "ok"]);
    let history = |height, seconds| History {
        recovering: true,
        ..at(height, seconds)
    };
    assert_eq!(
        assess(&all, &history(7, 3)),
        (
            Degraded,
            "all validators available again; waiting for a new block".to_owned()
        )
    );
    assert_eq!(assess(&all, &history(6, 3)).0, Healthy);
    assert_eq!(assess(&all, &history(6, 3600)).0, Healthy);
    assert_eq!(
        assess(
            &all,
            &History {
                recovering: true,
                ..History::default()
            }
        )
        .0,
        Healthy
    );
    // Recovery must not wait an hour for an empty block.
    let seldom = Parameters {
        empty_block_interval_s: 3600,
        ..Parameters::default()
    };
    assert_eq!(
        verdict(&seldom, &all, &history(7, 3), &CometBft::default(), NOW).state,
        Healthy
    );
}

#[test]
fn a_ledger_without_a_block_is_not_healthy() {
    let mut evidence = seen(&["ok", "ok", "ok", "ok"]);
    evidence.height = None;
    evidence.agree = None;
    let since = |seconds| History {
        started_at: ago(seconds),
        ..History::default()
    };
    assert_eq!(
        assess(&evidence, &since(3)),
        (
            Degraded,
            "the validators are up; no block produced yet".to_owned()
        )
    );
    assert_eq!(
        assess(&evidence, &since(21)),
        (
            Broken,
            "no block produced although enough validators are responsive".to_owned()
        )
    );
}

#[test]
fn voting_powers_changed_by_users_count() {
    // v2 and v3 have no power: the other two have all of it.
    let mut evidence = seen(&["ok", "ok", "paused", "paused"]);
    evidence.power = Some((2, 2));
    assert_eq!(assess(&evidence, &History::default()).0, Degraded);
    // v3 has most of the power and is unavailable.
    let mut evidence = seen(&["ok", "ok", "ok", "exited 1"]);
    evidence.power = Some((3, 13));
    assert_eq!(assess(&evidence, &History::default()).0, Broken);
}

proptest! {
    #[test]
    fn only_a_complete_network_is_healthy(words in prop::collection::vec(prop::sample::select(vec!["ok", "behind", "unresponsive", "alone", "paused", "absent"]), 1..17), rest in 0i64..100, recovering: bool) {
        let history = History { recovering, ..at(7, rest) };
        let (state, reason) = assess(&seen(&words), &history);
        if state == Healthy {
            prop_assert!(words.len() == 1 || words.iter().all(|word| *word == "ok"), "{:?}", words);
            prop_assert!(!recovering && rest <= 20);
        }
        if 3 * words.iter().filter(|w| matches!(**w, "ok" | "behind" | "alone")).count() <= 2 * words.len() {
            prop_assert_eq!(state, Broken);
        }
        prop_assert!(!reason.is_empty());
    }
}
