//! The table of verdicts.

use super::*;
use HealthState::{Broken, Degraded, Healthy, Unknown};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);

#[expect(clippy::unnecessary_wraps, reason = "every moment of the past is optional")]
fn ago(seconds: i64) -> Option<Timestamp> {
    Some(NOW.plus_seconds(-seconds))
}

/// A node by one word: `ok`, `behind`, `silent`, `alone`, or the platform's word.
fn node(word: &str) -> NodeEvidence {
    let answers = matches!(word, "ok" | "behind" | "alone");
    NodeEvidence {
        process: if answers || word == "silent" {
            "running".to_owned()
        } else {
            word.to_owned()
        },
        answers,
        silent: (word == "silent").then(|| "no answer within 2 s".to_owned()),
        height: answers.then_some(7),
        hash: answers.then(|| "AAAAAAAAAAAA".to_owned()),
        block_at: None,
        peers: answers.then_some(if word == "alone" { 0 } else { 3 }),
        catching_up: answers.then_some(word == "behind"),
        ..NodeEvidence::default()
    }
}

/// Evidence at height 7 in which all that answer are connected.
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

fn judge(evidence: &Evidence, past: &Past) -> (HealthState, String) {
    let Verdict { state, reason } = verdict(&Parameters::default(), evidence, past, NOW);
    (state, reason)
}

/// What was seen before: this height, first seen so many seconds ago.
fn at(height: u64, seconds: i64) -> Past {
    Past {
        height: Some(height),
        height_since: ago(seconds),
        ..Past::default()
    }
}

#[test]
fn who_takes_part_decides_at_once() {
    let lost = "more than 2/3 of the power is needed to commit";
    let table: &[(&[&str], HealthState, String)] = &[
        (
            &["ok", "ok", "ok", "ok"],
            Healthy,
            "all 4 validators take part and agree".into(),
        ),
        (
            &["ok", "ok", "paused", "ok"],
            Degraded,
            "1 of 4 validators does not take part (v2 paused); it still commits".into(),
        ),
        (
            &["ok", "silent", "ok", "ok"],
            Degraded,
            "1 of 4 validators does not take part (v1 runs and does not answer); it still commits".into(),
        ),
        (
            &["ok", "ok", "paused", "exited 137"],
            Broken,
            format!("2 of 4 validators do not take part (v2 paused, v3 exited 137); {lost}"),
        ),
        (
            &["absent", "absent", "absent", "absent"],
            Broken,
            format!(
                "4 of 4 validators do not take part (v0 absent, v1 absent, v2 absent, v3 absent); {lost}"
            ),
        ),
        (
            &["silent", "silent", "created", "ok"],
            Broken,
            format!(
                "3 of 4 validators do not take part (v0 runs and does not answer, v1 runs and does not answer, v2 created); {lost}"
            ),
        ),
        // Three of three are needed: two are not more than two thirds.
        (
            &["ok", "ok", "exited 0"],
            Broken,
            format!("1 of 3 validators does not take part (v2 exited 0); {lost}"),
        ),
        (
            &["ok", "exited 0"],
            Broken,
            format!("1 of 2 validators does not take part (v1 exited 0); {lost}"),
        ),
        (&["ok"], Healthy, "its validator answers and makes blocks".into()),
        (
            &["exited 1"],
            Broken,
            format!("its only validator does not take part (v0 exited 1); {lost}"),
        ),
        (
            &["ok", "ok", "ok", "ok", "ok", "paused", "paused"],
            Degraded,
            "2 of 7 validators do not take part (v5 paused, v6 paused); it still commits".into(),
        ),
        // All answer, not all are connected.
        (
            &["ok", "ok", "ok", "alone"],
            Degraded,
            "3 of 4 of the voting power is connected; it still commits".into(),
        ),
        (
            &["ok", "ok", "alone", "alone"],
            Broken,
            format!("2 of 4 of the voting power is connected; {lost}"),
        ),
        // One has just been started again: it fetches blocks and does not vote yet.
        (
            &["ok", "ok", "ok", "behind"],
            Degraded,
            "catching up with the others: v3".into(),
        ),
        (&[], Unknown, "nothing is known of its validators".into()),
    ];
    for (words, state, reason) in table {
        assert_eq!(
            judge(&seen(words), &Past::default()),
            (*state, reason.clone()),
            "{words:?}"
        );
    }
}

#[test]
fn powers_decide_where_the_ledger_told_them() {
    let with = |words: &[&str], powers: &[u64], connected: u64, all: u64| {
        let mut evidence = seen(words);
        for (node, power) in evidence.nodes.values_mut().zip(powers) {
            node.power = Some(*power);
        }
        evidence.power = Some((connected, all));
        judge(&evidence, &Past::default())
    };
    let lost = "more than 2/3 of the power is needed to commit";
    let three = "all 3 validators take part and agree; v3 is no longer a validator, a transaction removed its voting power";
    assert_eq!(
        with(&["ok", "ok", "ok", "ok"], &[1, 1, 1, 0], 3, 3),
        (Healthy, three.to_owned())
    );
    let gone = "1 node without voting power does not take part (v3 exited 137); it still commits";
    assert_eq!(
        with(&["ok", "ok", "ok", "exited 137"], &[1, 1, 1, 0], 3, 3),
        (Degraded, gone.to_owned())
    );
    let heavy = format!("1 of 4 validators does not take part (v0 exited 137); {lost}");
    assert_eq!(
        with(&["exited 137", "ok", "ok", "ok"], &[10, 1, 1, 1], 3, 13),
        (Broken, heavy)
    );
    let light = "3 of 4 validators do not take part (v1 paused, v2 paused, v3 paused); it still commits";
    assert_eq!(
        with(&["ok", "paused", "paused", "paused"], &[10, 1, 1, 1], 10, 13),
        (Degraded, light.to_owned())
    );
    let elsewhere = "5 of 5 of the voting power belongs to validators outside this cluster";
    assert_eq!(with(&["ok"], &[0], 0, 5), (Degraded, elsewhere.to_owned()));
    // One without power that catches up does not excuse validators that are cut off.
    assert_eq!(with(&["ok", "ok", "ok", "behind"], &[1, 1, 1, 0], 1, 3).0, Broken);
    let one = with(&["ok", "ok"], &[0, 1], 1, 1);
    assert_eq!(
        one,
        (Healthy, "its validator answers and makes blocks; v0 is no longer a validator, a transaction removed its voting power".to_owned())
    );
}

#[test]
fn only_blocks_tell_of_a_ledger_whose_validators_are_elsewhere() {
    let mut evidence = seen(&["ok"]);
    evidence.nodes.get_mut("v0").unwrap().power = Some(1);
    evidence.power = Some((1, 5));
    let stopped = "no block follows height 7, and validators outside this cluster decide";
    assert_eq!(judge(&evidence, &at(7, 600)), (Broken, stopped.to_owned()));
    assert_eq!(judge(&evidence, &at(7, 1)).0, Degraded);
    let idle = Parameters {
        empty_blocks: false,
        ..Parameters::default()
    };
    assert_eq!(
        verdict(&idle, &evidence, &at(7, 600), NOW).state,
        Degraded,
        "it may rest for ever"
    );
}

#[test]
fn a_ledger_that_commits_is_not_broken_because_users_take_all_connections() {
    let mut evidence = seen(&["ok", "ok", "ok", "ok"]);
    for name in ["v1", "v3"] {
        evidence.nodes.get_mut(name).unwrap().closed_to_users = Some("no answer within 2 s".to_owned());
    }
    let reason = "it commits, but the port for users does not answer at v1, v3: clients may have used up its connections";
    assert_eq!(judge(&evidence, &Past::default()), (Degraded, reason.to_owned()));
    assert_eq!(judge(&evidence, &at(7, 600)).0, Broken, "no block follows");
}

#[test]
fn different_blocks_at_one_height_are_the_gravest_finding() {
    let mut evidence = seen(&["ok", "ok", "ok", "paused"]);
    evidence.agree = Some(false);
    let Some(node) = evidence.nodes.get_mut("v1") else {
        panic!("v1 is there")
    };
    node.hash = Some("BBBBBBBBBBBB".into());
    let reason = "validators have different blocks at the same height: v0 AAAAAAAA, v1 BBBBBBBB, v2 AAAAAAAA";
    assert_eq!(judge(&evidence, &Past::default()), (Broken, reason.to_owned()));
}

#[test]
fn an_engine_that_comes_back_is_given_time_to_connect() {
    let mut evidence = seen(&["behind", "behind", "behind", "behind"]);
    evidence.power = Some((1, 4));
    let reason = "catching up with the others: v0, v1, v2, v3";
    let past = Past {
        returned_at: ago(1),
        ..at(7, 600)
    };
    assert_eq!(judge(&evidence, &past), (Degraded, reason.to_owned()));
    let past = Past {
        returned_at: ago(25),
        ..at(7, 600)
    };
    assert_eq!(judge(&evidence, &past).0, Broken);
    // Too few of them run: no time helps.
    let mut evidence = seen(&["behind", "behind", "exited 1", "exited 1"]);
    evidence.power = Some((1, 4));
    assert_eq!(
        judge(
            &evidence,
            &Past {
                returned_at: ago(1),
                ..at(7, 600)
            }
        )
        .0,
        Broken
    );
}

#[test]
fn a_height_that_rests_too_long_is_broken() {
    let all = seen(&["ok", "ok", "ok", "ok"]);
    let stalled = (
        Broken,
        "no block follows height 7, although enough validators answer".to_owned(),
    );
    // 10 s and the 10 s in which an idle ledger makes no block.
    assert_eq!(judge(&all, &at(7, 20)).0, Healthy);
    assert_eq!(judge(&all, &at(7, 21)), stalled);
    assert_eq!(judge(&all, &at(6, 3600)).0, Healthy);
    assert_eq!(judge(&seen(&["ok", "ok", "ok", "paused"]), &at(7, 21)), stalled);
    // Nodes that we started, or that came back, have the same time again.
    assert_eq!(
        judge(
            &all,
            &Past {
                started_at: ago(5),
                ..at(7, 3600)
            }
        )
        .0,
        Healthy
    );
    assert_eq!(
        judge(
            &all,
            &Past {
                returned_at: ago(5),
                ..at(7, 3600)
            }
        )
        .0,
        Healthy
    );
    assert_eq!(
        judge(
            &all,
            &Past {
                started_at: ago(30),
                returned_at: ago(40),
                ..at(7, 3600)
            }
        ),
        stalled
    );
    // Only a node that is far behind answers: the height has not moved either.
    let mut fewer = all.clone();
    fewer.height = Some(3);
    assert_eq!(judge(&fewer, &at(7, 21)), stalled);
}

#[test]
fn slow_blocks_are_given_their_time() {
    let slow = Parameters {
        block_interval_ms: 60_000,
        ..Parameters::default()
    };
    let state = |seconds| verdict(&slow, &seen(&["ok"; 4]), &at(7, seconds), NOW).state;
    assert_eq!((state(310), state(311)), (Healthy, Broken));
}

#[test]
fn without_empty_blocks_a_resting_height_alone_is_no_failure() {
    let resting = Parameters {
        empty_blocks: false,
        ..Parameters::default()
    };
    let of = |words: &[&str], past: &Past| verdict(&resting, &seen(words), past, NOW).state;
    assert_eq!(of(&["ok"; 4], &at(7, 86_400)), Healthy);
    assert_eq!(of(&["ok", "ok", "ok", "paused"], &at(7, 86_400)), Degraded);
    // The second sign: too few of them vote.
    assert_eq!(of(&["ok", "ok", "behind", "behind"], &at(7, 11)), Broken);
    assert_eq!(of(&["ok", "ok", "behind", "behind"], &at(7, 9)), Degraded);
    // Recovery: more than two thirds connected.
    assert_eq!(
        of(
            &["ok"; 4],
            &Past {
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
    let past = |height, seconds| Past {
        recovering: true,
        ..at(height, seconds)
    };
    assert_eq!(
        judge(&all, &past(7, 3)),
        (
            Degraded,
            "all validators take part again; a new block has yet to follow".to_owned()
        )
    );
    assert_eq!(judge(&all, &past(6, 3)).0, Healthy);
    assert_eq!(judge(&all, &past(6, 3600)).0, Healthy);
    assert_eq!(
        judge(
            &all,
            &Past {
                recovering: true,
                ..Past::default()
            }
        )
        .0,
        Healthy
    );
    // Nobody shall wait an hour for an empty block.
    let seldom = Parameters {
        empty_block_interval_s: 3600,
        ..Parameters::default()
    };
    assert_eq!(verdict(&seldom, &all, &past(7, 3), NOW).state, Healthy);
}

#[test]
fn a_ledger_without_a_block_is_not_healthy() {
    let mut evidence = seen(&["ok", "ok", "ok", "ok"]);
    evidence.height = None;
    evidence.agree = None;
    let since = |seconds| Past {
        started_at: ago(seconds),
        ..Past::default()
    };
    assert_eq!(
        judge(&evidence, &since(3)),
        (
            Degraded,
            "its validators are up; it has made no block yet".to_owned()
        )
    );
    assert_eq!(
        judge(&evidence, &since(21)),
        (
            Broken,
            "it makes no block, although enough validators answer".to_owned()
        )
    );
}

#[test]
fn powers_that_users_changed_count_as_the_ledger_tells_them() {
    // v2 and v3 were voted out: the other two are all of the power.
    let mut evidence = seen(&["ok", "ok", "paused", "paused"]);
    evidence.power = Some((2, 2));
    assert_eq!(judge(&evidence, &Past::default()).0, Degraded);
    // v3 was given most of the power and is gone.
    let mut evidence = seen(&["ok", "ok", "ok", "exited 1"]);
    evidence.power = Some((3, 13));
    assert_eq!(judge(&evidence, &Past::default()).0, Broken);
}

proptest! {
    #[test]
    fn healthy_is_only_what_is_whole(words in prop::collection::vec(prop::sample::select(vec!["ok", "behind", "silent", "alone", "paused", "absent"]), 1..17), rest in 0i64..100, recovering: bool) {
        let past = Past { recovering, ..at(7, rest) };
        let (state, reason) = judge(&seen(&words), &past);
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

#[test]
fn a_ledger_that_has_begun_again_is_found_when_enough_of_it_votes() {
    let table: [(&[&str], u64, bool); 6] = [
        (&["ok"; 4], 7, false),
        // One may be a block ahead of all others, and be silent now.
        (&["ok"; 4], 8, false),
        (&["ok"; 4], 9, true),
        (&["ok", "ok", "ok", "exited 137"], 9, true),
        // Who fetches blocks has yet to get there, and too few may be those that were never further.
        (&["behind"; 4], 9, false),
        (&["ok", "ok", "silent", "silent"], 9, false),
    ];
    for (words, before, found) in table {
        let again = began_again(&seen(words), &at(before, 1));
        assert_eq!(again.is_some(), found, "{words:?} after {before}");
        assert!(again.is_none_or(|why| why.contains("block 9") && why.contains("release or reset")));
    }
    assert_eq!(began_again(&seen(&["ok"; 4]), &Past::default()), None);
}

#[test]
fn validators_without_blocks_are_a_loss_once_they_could_commit_alone() {
    for (total, lost, is_loss) in [
        (1, 0, false),
        (1, 1, true),
        (4, 1, false),
        (4, 2, false),
        (4, 3, true),
        (4, 4, true),
        (7, 4, false),
        (7, 5, true),
    ] {
        assert_eq!(loses_ledger(total, lost), is_loss, "{lost} of {total}");
    }
}
