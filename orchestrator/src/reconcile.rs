//! What to do about a verdict. Pure; the rules are those of the decisions page.
//!
//! A free cluster that is degraded is not offered and started in place; when it is not healthy 20 s later it is made
//! again. A free cluster that is broken is made again, once the verdict has stood for a moment: an engine that goes
//! down stops its containers first, and wiping ledgers because of that would be more than needed. One that was broken
//! and is not healthy 5 s later is made again too. One whose nodes all run, and are only late with their answers, has the
//! time of a degraded one; one that commits, while clients use up the connections of its port for users, is left alone. An applied cluster is mended in place and never wiped. After its host came back, or was first seen by this process, a free cluster has
//! as long to find together as a degraded one, from when the last node came up there: a host that starts a hundred
//! ledgers at once is slow, and making them again would be more of the same work. A cluster whose ledger is lost is started by
//! nobody: what came up would be another ledger under its holder. None is made again because its nodes cannot be started for something that its
//! platform stands on: a new one could not be made either. Mending means: start or unpause what
//! does not run, restart what runs but has not answered, or has stood still, for 30 s, counted from the same moment.

use crate::seen::Seen;
use chainpool_api::{Evidence, HealthState, NodeEvidence, Timestamp};
use std::collections::BTreeSet;

/// How long broken must stand before a free cluster is wiped, in milliseconds.
const CONFIRM_MS: i64 = 1_500;
/// How long a free cluster may be degraded, in milliseconds.
const MEND_MS: i64 = 20_000;
/// The same after it was broken, even for a moment: ledgers that lost their quorum are slow to find together again, and
/// a new one is made sooner.
const BROKEN_MEND_MS: i64 = 5_000;
/// How long a running node may be silent, in milliseconds.
const SILENT_MS: i64 = 30_000;
/// The least time between two repairs of one cluster, in milliseconds. What was mended so often in vain is left for twice as long each
/// time, up to the most: an image that is nowhere is not there five seconds later.
const BETWEEN_MS: i64 = 5_000;
const BETWEEN_MOST_MS: i64 = 300_000;
const IN_VAIN: u32 = 6;

/// Everything that the decision depends on.
pub(crate) struct Situation<'a> {
    /// What the evidence says now.
    pub(crate) verdict: HealthState,
    /// Somebody holds it.
    pub(crate) leased: bool,
    /// An operation is under way.
    pub(crate) live: bool,
    /// A process has just ended and the platform's listing may not know yet.
    pub(crate) settling: bool,
    /// Maintenance, grace, a paused host or installation, a platform that cannot tell what runs, users that leave no connection: nothing is
    /// done.
    pub(crate) held_back: bool,
    /// Its ledger is lost: what would be started is another one.
    pub(crate) lost: bool,
    /// It looks healthy again but has not been proven.
    pub(crate) needs_proof: bool,
    /// When its host came back, or the last node came up there after that; `None`: not judged yet by this process.
    pub(crate) host_settled: Option<Timestamp>,
    /// What was seen.
    pub(crate) evidence: &'a Evidence,
    /// What was seen before.
    pub(crate) seen: &'a Seen,
    /// Nodes that were stopped on purpose.
    pub(crate) stopped: &'a BTreeSet<String>,
    /// Now.
    pub(crate) now: Timestamp,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Leave it.
    Nothing,
    /// Start and restart nodes in place, then prove it if it is free.
    Repair {
        /// Nodes that do not run.
        start: Vec<String>,
        /// Nodes that run and do not answer, or stand still.
        restart: Vec<String>,
    },
    /// Make it again.
    Reset(String),
}

/// Decides.
pub(crate) fn decide(situation: &Situation<'_>) -> Decision {
    let Situation {
        verdict,
        leased,
        live,
        settling,
        held_back,
        lost,
        needs_proof,
        host_settled,
        evidence,
        seen,
        stopped,
        now,
    } = situation;
    if *held_back {
        return Decision::Nothing;
    }
    let stood = |since: Option<Timestamp>, ms: i64| since.is_some_and(|since| now.millis_since(since) >= ms);
    let bad = matches!(verdict, HealthState::Degraded | HealthState::Broken);
    // An engine that has just come back starts its containers itself, and their ledger needs a moment to find together.
    let settled = !leased && stood(*host_settled, MEND_MS);
    let may_reset = settled && seen.hindered.is_none();
    if *lost {
        let is_sure = settled && stood(seen.broken_since, CONFIRM_MS);
        return if is_sure {
            Decision::Reset("free and its ledger is lost".to_owned())
        } else {
            Decision::Nothing
        };
    }
    let wanted = evidence.nodes.iter().filter(|(name, _)| !stopped.contains(*name));
    // Nodes that all run and are late with their answers may be so because their host is busy: a new ledger would be no quicker.
    let only_late = wanted.clone().all(|(_, node)| node.process == "running")
        && wanted.clone().any(|(_, node)| !node.answers);
    if may_reset && !only_late && *verdict == HealthState::Broken && stood(seen.broken_since, CONFIRM_MS) {
        return Decision::Reset("free and broken".to_owned());
    }
    if may_reset && !only_late && bad && stood(seen.was_broken_at, BROKEN_MEND_MS) {
        return Decision::Reset("free, and not healthy again within 5 s of being broken".to_owned());
    }
    if may_reset && bad && stood(seen.bad_since, MEND_MS) {
        return Decision::Reset("free, and not healthy again within 20 s".to_owned());
    }
    if *live || *settling || !(bad || *needs_proof) {
        return Decision::Nothing;
    }
    let start: Vec<String> = wanted
        .clone()
        .filter(|(_, node)| node.process != "running")
        .map(|(name, _)| name.clone())
        .collect();
    let silent = |name: &String| {
        let since = seen
            .silent
            .get(name)
            .zip(*host_settled)
            .map(|(since, settled)| (*since).max(settled));
        stood(since, SILENT_MS)
    };
    let restart: Vec<String> = wanted
        .filter(|(name, node)| node.process == "running" && silent(name))
        .map(|(name, _)| name.clone())
        .collect();
    let idle = start.is_empty() && restart.is_empty();
    let known = start
        .iter()
        .chain(&restart)
        .all(|node| seen.mended.contains(node));
    let between = if known {
        between_ms(seen.repairs)
    } else {
        BETWEEN_MS
    };
    let again_too_soon = seen.repaired_at.is_some_and(|at| now.millis_since(at) < between);
    // Without a node to mend, a free cluster can still be proven healthy; an applied one is left to its ledger.
    if (idle && !*needs_proof) || again_too_soon {
        Decision::Nothing
    } else {
        Decision::Repair { start, restart }
    }
}

/// Whether all that is wrong with a ledger is that clients have used up the connections of its port for users: nothing is done then, because
/// they would do the same to another one, and to what is started anew.
pub(crate) fn is_crowded_out(verdict: HealthState, evidence: &Evidence, stopped: &BTreeSet<String>) -> bool {
    let takes_part = |node: &NodeEvidence| {
        node.answers && node.unable.is_none() && !node.stuck && node.catching_up != Some(true)
    };
    let wanted = || {
        evidence
            .nodes
            .iter()
            .filter(|(name, _)| !stopped.contains(*name))
            .map(|(_, node)| node)
    };
    let connected = evidence.power.is_none_or(|(part, all)| part == all);
    verdict == HealthState::Degraded
        && connected
        && wanted().all(takes_part)
        && wanted().any(|node| node.closed_to_users.is_some())
}

/// The time until the next repair, after so many of the same nodes.
fn between_ms(repairs: u32) -> i64 {
    let doubled = repairs.saturating_sub(IN_VAIN).min(16);
    (BETWEEN_MS << doubled).min(BETWEEN_MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Case {
        verdict: HealthState,
        leased: bool,
        live: bool,
        held_back: bool,
        process: &'static str,
        silent_ms: Option<i64>,
        bad_ms: i64,
        broken_ms: Option<i64>,
        back_ms: Option<i64>,
        lost: bool,
    }

    const BASE: Case = Case {
        verdict: HealthState::Degraded,
        leased: false,
        live: false,
        held_back: false,
        process: "exited 137",
        silent_ms: None,
        bad_ms: 0,
        broken_ms: None,
        back_ms: Some(1_000_000),
        lost: false,
    };

    fn run(case: &Case) -> Decision {
        run_seen(case, Seen::default(), Timestamp(1_000_000))
    }

    fn run_seen(case: &Case, before: Seen, now: Timestamp) -> Decision {
        let node = |process: &str, answers| NodeEvidence {
            process: process.into(),
            answers,
            ..NodeEvidence::default()
        };
        let answers = case.process == "running" && case.silent_ms.is_none();
        let nodes = [
            ("v0".to_owned(), node("running", true)),
            ("v1".to_owned(), node(case.process, answers)),
        ]
        .into();
        let evidence = Evidence {
            nodes,
            ..Evidence::default()
        };
        let since = Some(Timestamp(now.0 - case.bad_ms));
        let seen = Seen {
            bad_since: since,
            was_broken_at: case.broken_ms.map(|ms| Timestamp(now.0 - ms)),
            broken_since: since.filter(|_| case.verdict == HealthState::Broken),
            silent: case
                .silent_ms
                .map(|ms| ("v1".to_owned(), Timestamp(now.0 - ms)))
                .into_iter()
                .collect(),
            ..before
        };
        let stopped = BTreeSet::new();
        let Case {
            verdict,
            leased,
            live,
            held_back,
            lost,
            ..
        } = *case;
        decide(&Situation {
            verdict,
            leased,
            live,
            settling: false,
            held_back,
            lost,
            needs_proof: false,
            host_settled: case.back_ms.map(|ms| Timestamp(now.0 - ms)),
            evidence: &evidence,
            seen: &seen,
            stopped: &stopped,
            now,
        })
    }

    #[test]
    fn a_ledger_is_crowded_out_when_nothing_else_is_wrong_with_it() {
        let closed = || NodeEvidence {
            process: "running".into(),
            answers: true,
            closed_to_users: Some("no answer within 2 s".into()),
            ..NodeEvidence::default()
        };
        let crowded = |verdict: HealthState, nodes: Vec<NodeEvidence>, power: Option<(u64, u64)>| {
            let nodes = nodes
                .into_iter()
                .enumerate()
                .map(|(at, node)| (format!("v{at}"), node))
                .collect();
            is_crowded_out(
                verdict,
                &Evidence {
                    nodes,
                    power,
                    ..Evidence::default()
                },
                &BTreeSet::from(["v9".to_owned()]),
            )
        };
        let open = || NodeEvidence {
            closed_to_users: None,
            ..closed()
        };
        assert!(crowded(
            HealthState::Degraded,
            vec![closed(), open()],
            Some((2, 2))
        ));
        assert!(
            !crowded(HealthState::Degraded, vec![open(), open()], None),
            "nobody is closed"
        );
        assert!(
            !crowded(HealthState::Broken, vec![closed(), closed()], None),
            "no block comes"
        );
        assert!(
            !crowded(HealthState::Degraded, vec![closed(), open()], Some((1, 2))),
            "a partition"
        );
        let dead = NodeEvidence {
            process: "exited 137".into(),
            ..NodeEvidence::default()
        };
        assert!(!crowded(HealthState::Degraded, vec![closed(), dead], None));
        let behind = NodeEvidence {
            catching_up: Some(true),
            ..open()
        };
        assert!(!crowded(HealthState::Degraded, vec![closed(), behind], None));
    }

    fn start() -> Decision {
        Decision::Repair {
            start: vec!["v1".into()],
            restart: vec![],
        }
    }

    #[test]
    fn a_degraded_cluster_is_started_in_place() {
        assert_eq!(run(&BASE), start());
        assert_eq!(run(&Case { leased: true, ..BASE }), start());
        assert_eq!(
            run(&Case {
                process: "paused",
                ..BASE
            }),
            start()
        );
    }

    #[test]
    fn a_free_cluster_that_is_not_mended_in_20_s_is_made_again() {
        assert!(matches!(
            run(&Case {
                bad_ms: MEND_MS,
                live: true,
                ..BASE
            }),
            Decision::Reset(_)
        ));
        assert_eq!(
            run(&Case {
                bad_ms: MEND_MS,
                leased: true,
                ..BASE
            }),
            start()
        );
    }

    #[test]
    fn a_free_broken_cluster_is_made_again_once_that_is_sure() {
        let broken = Case {
            verdict: HealthState::Broken,
            ..BASE
        };
        assert_eq!(run(&broken), start());
        assert!(matches!(
            run(&Case {
                bad_ms: CONFIRM_MS,
                ..broken
            }),
            Decision::Reset(_)
        ));
    }

    #[test]
    fn a_free_cluster_that_was_broken_has_less_time_to_be_mended() {
        let mended = Case {
            process: "running",
            live: true,
            ..BASE
        };
        assert_eq!(
            run(&Case {
                broken_ms: Some(BROKEN_MEND_MS - 1),
                ..mended
            }),
            Decision::Nothing
        );
        assert!(matches!(
            run(&Case {
                broken_ms: Some(BROKEN_MEND_MS),
                ..mended
            }),
            Decision::Reset(_)
        ));
        assert_eq!(
            run(&Case {
                broken_ms: Some(BROKEN_MEND_MS),
                leased: true,
                ..mended
            }),
            Decision::Nothing
        );
    }

    #[test]
    fn a_free_cluster_whose_nodes_are_only_late_is_not_made_again_at_once() {
        let late = Case {
            verdict: HealthState::Broken,
            process: "running",
            silent_ms: Some(0),
            ..BASE
        };
        assert_eq!(
            run(&Case {
                bad_ms: CONFIRM_MS,
                broken_ms: Some(CONFIRM_MS),
                ..late
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                bad_ms: MEND_MS - 1,
                broken_ms: Some(MEND_MS - 1),
                ..late
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                bad_ms: MEND_MS,
                ..late
            }),
            Decision::Reset("free, and not healthy again within 20 s".into())
        );
        let stalled = Case {
            silent_ms: None,
            ..late
        };
        assert!(matches!(
            run(&Case {
                bad_ms: CONFIRM_MS,
                ..stalled
            }),
            Decision::Reset(_)
        ));
    }

    #[test]
    fn nothing_is_made_again_while_a_host_comes_back() {
        for verdict in [HealthState::Degraded, HealthState::Broken] {
            let bad = Case {
                verdict,
                bad_ms: 1_000_000,
                ..BASE
            };
            assert_eq!(run(&Case { back_ms: None, ..bad }), start());
            assert_eq!(
                run(&Case {
                    back_ms: Some(MEND_MS - 1),
                    ..bad
                }),
                start()
            );
            assert!(matches!(
                run(&Case {
                    back_ms: Some(MEND_MS),
                    ..bad
                }),
                Decision::Reset(_)
            ));
        }
    }

    #[test]
    fn an_applied_cluster_is_never_wiped() {
        for bad_ms in [0, CONFIRM_MS, MEND_MS, 1_000_000] {
            for verdict in [HealthState::Degraded, HealthState::Broken, HealthState::Unknown] {
                assert!(!matches!(
                    run(&Case {
                        verdict,
                        bad_ms,
                        leased: true,
                        ..BASE
                    }),
                    Decision::Reset(_)
                ));
            }
        }
    }

    #[test]
    fn a_running_node_is_restarted_only_after_30_s_of_silence() {
        let silent = Case {
            process: "running",
            leased: true,
            ..BASE
        };
        assert_eq!(
            run(&Case {
                silent_ms: Some(SILENT_MS - 1),
                ..silent
            }),
            Decision::Nothing
        );
        let restart = Decision::Repair {
            start: vec![],
            restart: vec!["v1".into()],
        };
        assert_eq!(
            run(&Case {
                silent_ms: Some(SILENT_MS),
                ..silent
            }),
            restart
        );
        // What its host starts, after it came back, may take as long.
        assert_eq!(
            run(&Case {
                silent_ms: Some(SILENT_MS),
                back_ms: None,
                ..silent
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                silent_ms: Some(SILENT_MS),
                back_ms: Some(SILENT_MS - 1),
                ..silent
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                silent_ms: Some(SILENT_MS),
                back_ms: Some(SILENT_MS),
                ..silent
            }),
            restart
        );
    }

    #[test]
    fn what_is_mended_in_vain_is_tried_less_and_less_often() {
        let pauses = [1, 6, 7, 8, 12, 13, u32::MAX].map(between_ms);
        assert_eq!(
            pauses,
            [
                5_000,
                5_000,
                10_000,
                20_000,
                BETWEEN_MOST_MS,
                BETWEEN_MOST_MS,
                BETWEEN_MOST_MS
            ]
        );
        let mut seen = Seen::default();
        let (v1, both) = (
            ["v1".to_owned()].into(),
            ["v1".to_owned(), "v2".to_owned()].into(),
        );
        (0..7).for_each(|_| seen.repairs(&v1, Timestamp(1_000_000)));
        assert_eq!(seen.repairs, 7);
        let again = |seen: &Seen, after: i64| {
            run_seen(
                &Case { leased: true, ..BASE },
                seen.clone(),
                Timestamp(1_000_000 + after),
            )
        };
        assert_eq!(again(&seen, 9_999), Decision::Nothing);
        assert_eq!(again(&seen, 10_000), start());
        seen.repairs(&both, Timestamp(1_000_000));
        assert_eq!(again(&seen, 5_000), start(), "another node is another try");
        (0..7).for_each(|_| seen.repairs(&v1, Timestamp(1_000_000)));
        assert_eq!(again(&seen, 5_000), Decision::Nothing);
        seen.recovers();
        assert_eq!(again(&seen, 5_000), start());
    }

    #[test]
    fn a_lost_ledger_is_started_by_nobody_and_made_again_when_it_is_free() {
        let lost = Case {
            verdict: HealthState::Broken,
            lost: true,
            process: "absent",
            ..BASE
        };
        for bad_ms in [0, CONFIRM_MS, 1_000_000] {
            assert_eq!(
                run(&Case {
                    bad_ms,
                    leased: true,
                    ..lost
                }),
                Decision::Nothing
            );
        }
        assert_eq!(run(&lost), Decision::Nothing, "it is not sure yet");
        assert!(
            matches!(run(&Case { bad_ms: CONFIRM_MS, ..lost }), Decision::Reset(why) if why.contains("lost"))
        );
        assert_eq!(
            run(&Case {
                bad_ms: CONFIRM_MS,
                back_ms: Some(MEND_MS - 1),
                ..lost
            }),
            Decision::Nothing
        );
    }

    #[test]
    fn nothing_is_made_again_for_what_its_platform_stands_on() {
        let hindered = Seen {
            hindered: Some("the log server is away".to_owned()),
            ..Seen::default()
        };
        for verdict in [HealthState::Degraded, HealthState::Broken] {
            let bad = Case {
                verdict,
                bad_ms: 1_000_000,
                broken_ms: Some(1_000_000),
                ..BASE
            };
            assert_eq!(run_seen(&bad, hindered.clone(), Timestamp(1_000_000)), start());
            assert!(matches!(run(&bad), Decision::Reset(_)));
        }
        // A ledger that is lost gets no better by waiting.
        let lost = Case {
            verdict: HealthState::Broken,
            lost: true,
            bad_ms: 1_000_000,
            broken_ms: Some(1_000_000),
            ..BASE
        };
        assert!(
            matches!(run_seen(&lost, hindered, Timestamp(1_000_000)), Decision::Reset(why) if why.contains("lost"))
        );
    }

    #[test]
    fn nothing_is_done_in_maintenance_or_while_the_host_is_unknown() {
        assert_eq!(
            run(&Case {
                held_back: true,
                bad_ms: 1_000_000,
                ..BASE
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                verdict: HealthState::Unknown,
                bad_ms: 1_000_000,
                ..BASE
            }),
            Decision::Nothing
        );
    }
}
