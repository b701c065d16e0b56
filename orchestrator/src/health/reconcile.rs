//! Decisions about a verdict. Pure; docs/decisions.md has the rules.
//!
//! - A free degraded cluster is not offered and its nodes are started in place; if it is still unhealthy
//!   after `degraded_reset`, it is reset.
//! - A free broken cluster is reset once the verdict has lasted for a moment: an engine that shuts down stops
//!   its containers first, and that is no reason to wipe ledgers. A cluster that was broken and is still
//!   unhealthy after `broken_reset` is reset too: ledgers that lost their quorum are slow to recover, and a
//!   reset is faster. If all its nodes run and only respond late, it gets the time of a degraded one.
//! - A cluster that commits while clients exhaust the connections of its client port is left alone.
//! - A leased cluster is repaired in place and never wiped.
//! - After its host reconnected, or was first assessed by this process, a free cluster gets time, counted
//!   from the start of the last node there: a host that starts a hundred ledgers at once is slow, and
//!   resetting them would add load.
//! - A cluster with a lost ledger is not started: that would give its holder another ledger.
//! - No cluster is reset because a dependency of the platform is down: a new one could not be created either.
//! - Repair starts or unpauses nodes that do not run, and restarts running nodes that have been unresponsive
//!   or stalled for `node_unresponsive`, counted from the same moment.
//! - After several repairs without success the interval doubles each time: a missing image does not appear
//!   within five seconds.

use crate::runtime::cluster_runtime::ClusterRuntime;
use chainpool_api::{Evidence, HealthState, NodeEvidence, Timestamp};
use chainpool_health::{HealthPolicy, millis, text};
use std::{collections::BTreeSet, time::Duration};

/// The inputs of a decision.
pub(crate) struct Situation<'a> {
    /// The current verdict.
    pub(crate) verdict: HealthState,
    /// The cluster is leased.
    pub(crate) leased: bool,
    /// An operation is in progress.
    pub(crate) operation_running: bool,
    /// A process has just exited and the platform's inventory may not show it yet.
    pub(crate) inventory_lagging: bool,
    /// Nothing may be done: maintenance, grace period, a paused host or installation, an unavailable
    /// inventory, or clients that exhaust the connections.
    pub(crate) suspended: bool,
    /// The ledger is lost; a start would create another one.
    pub(crate) ledger_lost: bool,
    /// The cluster seems healthy again but has no new proof.
    pub(crate) needs_proof: bool,
    /// When the host reconnected, or the last node started there afterwards; `None`: not assessed yet by this
    /// process.
    pub(crate) host_settled: Option<Timestamp>,
    /// The evidence.
    pub(crate) evidence: &'a Evidence,
    /// The previously observed state.
    pub(crate) runtime: &'a ClusterRuntime,
    /// Nodes that were stopped on request.
    pub(crate) stopped: &'a BTreeSet<String>,
    /// Timing rules.
    pub(crate) policy: &'a HealthPolicy,
    /// The current time.
    pub(crate) now: Timestamp,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Do nothing.
    Nothing,
    /// Start and restart nodes in place; a free cluster is proven afterwards.
    Repair {
        /// Nodes that do not run.
        start: Vec<String>,
        /// Running nodes that are unresponsive or stalled.
        restart: Vec<String>,
    },
    /// Reset the cluster.
    Reset(String),
}

/// Decides what to do.
pub(crate) fn decide(situation: &Situation<'_>) -> Decision {
    let Situation {
        verdict,
        leased,
        operation_running,
        inventory_lagging,
        suspended,
        ledger_lost,
        needs_proof,
        host_settled,
        evidence,
        runtime,
        stopped,
        policy,
        now,
    } = situation;
    let HealthPolicy { repair, host, .. } = policy;
    if *suspended {
        return Decision::Nothing;
    }
    let elapsed = |since: Option<Timestamp>, limit: Duration| {
        since.is_some_and(|since| now.millis_since(since) >= millis(limit))
    };
    let bad = matches!(verdict, HealthState::Degraded | HealthState::Broken);
    // A reconnected engine starts its containers itself, and the ledger needs a moment to recover.
    let settled = !leased && elapsed(*host_settled, host.settle);
    let may_reset = settled && runtime.blocked_by.is_none();
    if *ledger_lost {
        let confirmed = settled && elapsed(runtime.broken_since, repair.broken_confirm);
        return if confirmed {
            Decision::Reset("free and its ledger is lost".to_owned())
        } else {
            Decision::Nothing
        };
    }
    let wanted = evidence.nodes.iter().filter(|(name, _)| !stopped.contains(*name));
    // If all nodes run and only respond late, the host may be busy: a new ledger would be no faster.
    let only_slow = wanted.clone().all(|(_, node)| node.process == "running")
        && wanted.clone().any(|(_, node)| !node.answers);
    let confirmed = *verdict == HealthState::Broken && elapsed(runtime.broken_since, repair.broken_confirm);
    if may_reset && !only_slow && confirmed {
        return Decision::Reset("free and broken".to_owned());
    }
    if may_reset && !only_slow && bad && elapsed(runtime.first_broken_at, repair.broken_reset) {
        return Decision::Reset(format!(
            "still unhealthy {} after a failure",
            text(repair.broken_reset)
        ));
    }
    if may_reset && bad && elapsed(runtime.unhealthy_since, repair.degraded_reset) {
        return Decision::Reset(format!("still unhealthy after {}", text(repair.degraded_reset)));
    }
    if *operation_running || *inventory_lagging || !(bad || *needs_proof) {
        return Decision::Nothing;
    }
    let start: Vec<String> = wanted
        .clone()
        .filter(|(_, node)| node.process != "running")
        .map(|(name, _)| name.clone())
        .collect();
    let unresponsive = |name: &String| {
        let since = runtime
            .unresponsive_since
            .get(name)
            .zip(*host_settled)
            .map(|(since, settled)| (*since).max(settled));
        elapsed(since, repair.node_unresponsive)
    };
    let restart: Vec<String> = wanted
        .filter(|(name, node)| node.process == "running" && unresponsive(name))
        .map(|(name, _)| name.clone())
        .collect();
    let nothing_to_repair = start.is_empty() && restart.is_empty();
    let repaired_before = start
        .iter()
        .chain(&restart)
        .all(|node| runtime.repaired_nodes.contains(node));
    let interval = if repaired_before {
        repair.backoff.interval(runtime.repairs)
    } else {
        repair.backoff.initial
    };
    let too_soon = runtime
        .repaired_at
        .is_some_and(|at| now.millis_since(at) < millis(interval));
    // Without a node to repair, a free cluster can still be proven healthy; a leased one is left to its
    // ledger.
    if (nothing_to_repair && !*needs_proof) || too_soon {
        Decision::Nothing
    } else {
        Decision::Repair { start, restart }
    }
}

/// Returns `true` if the only problem of a ledger is that clients have exhausted the connections of its user
/// port. Nothing is done then: they would do the same to another ledger and to restarted nodes.
pub(crate) fn is_client_saturated(
    verdict: HealthState,
    evidence: &Evidence,
    stopped: &BTreeSet<String>,
) -> bool {
    let participates = |node: &NodeEvidence| {
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
        && wanted().all(participates)
        && wanted().any(|node| node.closed_to_users.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Limits of the default policy.
    const CONFIRM_MS: i64 = 1_500;
    const REPAIR_MS: i64 = 20_000;
    const BROKEN_REPAIR_MS: i64 = 5_000;
    const UNRESPONSIVE_MS: i64 = 30_000;

    #[derive(Clone, Copy)]
    struct Case {
        verdict: HealthState,
        leased: bool,
        operation_running: bool,
        suspended: bool,
        process: &'static str,
        unresponsive_ms: Option<i64>,
        unhealthy_ms: i64,
        broken_ms: Option<i64>,
        host_settled_ms: Option<i64>,
        ledger_lost: bool,
    }

    const BASE: Case = Case {
        verdict: HealthState::Degraded,
        leased: false,
        operation_running: false,
        suspended: false,
        process: "exited 137",
        unresponsive_ms: None,
        unhealthy_ms: 0,
        broken_ms: None,
        host_settled_ms: Some(1_000_000),
        ledger_lost: false,
    };

    fn run(case: &Case) -> Decision {
        run_with(case, ClusterRuntime::default(), Timestamp(1_000_000))
    }

    fn run_with(case: &Case, before: ClusterRuntime, now: Timestamp) -> Decision {
        run_by(&HealthPolicy::default(), case, before, now)
    }

    fn run_by(policy: &HealthPolicy, case: &Case, before: ClusterRuntime, now: Timestamp) -> Decision {
        let node = |process: &str, answers| NodeEvidence {
            process: process.into(),
            answers,
            ..NodeEvidence::default()
        };
        let answers = case.process == "running" && case.unresponsive_ms.is_none();
        let nodes = [
            ("v0".to_owned(), node("running", true)),
            ("v1".to_owned(), node(case.process, answers)),
        ]
        .into();
        let evidence = Evidence {
            nodes,
            ..Evidence::default()
        };
        let since = Some(Timestamp(now.0 - case.unhealthy_ms));
        let runtime = ClusterRuntime {
            unhealthy_since: since,
            first_broken_at: case.broken_ms.map(|ms| Timestamp(now.0 - ms)),
            broken_since: since.filter(|_| case.verdict == HealthState::Broken),
            unresponsive_since: case
                .unresponsive_ms
                .map(|ms| ("v1".to_owned(), Timestamp(now.0 - ms)))
                .into_iter()
                .collect(),
            ..before
        };
        let stopped = BTreeSet::new();
        let Case {
            verdict,
            leased,
            operation_running,
            suspended,
            ledger_lost,
            ..
        } = *case;
        decide(&Situation {
            verdict,
            leased,
            operation_running,
            inventory_lagging: false,
            suspended,
            ledger_lost,
            needs_proof: false,
            host_settled: case.host_settled_ms.map(|ms| Timestamp(now.0 - ms)),
            evidence: &evidence,
            runtime: &runtime,
            stopped: &stopped,
            policy,
            now,
        })
    }

    #[test]
    fn a_ledger_is_client_saturated_when_it_has_no_other_problem() {
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
            is_client_saturated(
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
            "no port is closed"
        );
        assert!(
            !crowded(HealthState::Broken, vec![closed(), closed()], None),
            "no new blocks"
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
    fn a_free_cluster_still_unhealthy_after_20_s_is_reset() {
        assert!(matches!(
            run(&Case {
                unhealthy_ms: REPAIR_MS,
                operation_running: true,
                ..BASE
            }),
            Decision::Reset(_)
        ));
        assert_eq!(
            run(&Case {
                unhealthy_ms: REPAIR_MS,
                leased: true,
                ..BASE
            }),
            start()
        );
    }

    #[test]
    fn a_free_broken_cluster_is_reset_once_confirmed() {
        let broken = Case {
            verdict: HealthState::Broken,
            ..BASE
        };
        assert_eq!(run(&broken), start());
        assert!(matches!(
            run(&Case {
                unhealthy_ms: CONFIRM_MS,
                ..broken
            }),
            Decision::Reset(_)
        ));
    }

    #[test]
    fn a_free_cluster_that_was_broken_gets_less_time_for_repair() {
        let repaired_nodes = Case {
            process: "running",
            operation_running: true,
            ..BASE
        };
        assert_eq!(
            run(&Case {
                broken_ms: Some(BROKEN_REPAIR_MS - 1),
                ..repaired_nodes
            }),
            Decision::Nothing
        );
        assert!(matches!(
            run(&Case {
                broken_ms: Some(BROKEN_REPAIR_MS),
                ..repaired_nodes
            }),
            Decision::Reset(_)
        ));
        assert_eq!(
            run(&Case {
                broken_ms: Some(BROKEN_REPAIR_MS),
                leased: true,
                ..repaired_nodes
            }),
            Decision::Nothing
        );
    }

    #[test]
    fn a_free_cluster_with_slow_nodes_is_not_reset_at_once() {
        let late = Case {
            verdict: HealthState::Broken,
            process: "running",
            unresponsive_ms: Some(0),
            ..BASE
        };
        assert_eq!(
            run(&Case {
                unhealthy_ms: CONFIRM_MS,
                broken_ms: Some(CONFIRM_MS),
                ..late
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                unhealthy_ms: REPAIR_MS - 1,
                broken_ms: Some(REPAIR_MS - 1),
                ..late
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                unhealthy_ms: REPAIR_MS,
                ..late
            }),
            Decision::Reset("still unhealthy after 20 s".into())
        );
        let stalled = Case {
            unresponsive_ms: None,
            ..late
        };
        assert!(matches!(
            run(&Case {
                unhealthy_ms: CONFIRM_MS,
                ..stalled
            }),
            Decision::Reset(_)
        ));
    }

    #[test]
    fn nothing_is_reset_while_a_host_reconnects() {
        for verdict in [HealthState::Degraded, HealthState::Broken] {
            let bad = Case {
                verdict,
                unhealthy_ms: 1_000_000,
                ..BASE
            };
            assert_eq!(
                run(&Case {
                    host_settled_ms: None,
                    ..bad
                }),
                start()
            );
            assert_eq!(
                run(&Case {
                    host_settled_ms: Some(REPAIR_MS - 1),
                    ..bad
                }),
                start()
            );
            assert!(matches!(
                run(&Case {
                    host_settled_ms: Some(REPAIR_MS),
                    ..bad
                }),
                Decision::Reset(_)
            ));
        }
    }

    #[test]
    fn the_limits_are_those_of_the_policy() {
        let policy = HealthPolicy::default().scaled(2.0);
        let run = |case: &Case| run_by(&policy, case, ClusterRuntime::default(), Timestamp(1_000_000));
        let broken = Case {
            verdict: HealthState::Broken,
            ..BASE
        };
        for (verdict, limit, reason) in [
            (HealthState::Broken, 2 * CONFIRM_MS, "free and broken"),
            (HealthState::Degraded, 2 * REPAIR_MS, "still unhealthy after 40 s"),
        ] {
            let case = |unhealthy_ms| Case {
                verdict,
                unhealthy_ms,
                ..broken
            };
            assert_eq!(run(&case(limit - 1)), start());
            assert_eq!(run(&case(limit)), Decision::Reset(reason.to_owned()));
        }
        let settled = |host_settled_ms| Case {
            unhealthy_ms: 2 * CONFIRM_MS,
            host_settled_ms: Some(host_settled_ms),
            ..broken
        };
        assert_eq!(run(&settled(2 * REPAIR_MS - 1)), start());
        assert!(matches!(run(&settled(2 * REPAIR_MS)), Decision::Reset(_)));
    }

    #[test]
    fn a_leased_cluster_is_never_wiped() {
        for unhealthy_ms in [0, CONFIRM_MS, REPAIR_MS, 1_000_000] {
            for verdict in [HealthState::Degraded, HealthState::Broken, HealthState::Unknown] {
                assert!(!matches!(
                    run(&Case {
                        verdict,
                        unhealthy_ms,
                        leased: true,
                        ..BASE
                    }),
                    Decision::Reset(_)
                ));
            }
        }
    }

    #[test]
    fn a_running_node_is_restarted_only_after_30_s_without_a_response() {
        let unresponsive = Case {
            process: "running",
            leased: true,
            ..BASE
        };
        assert_eq!(
            run(&Case {
                unresponsive_ms: Some(UNRESPONSIVE_MS - 1),
                ..unresponsive
            }),
            Decision::Nothing
        );
        let restart = Decision::Repair {
            start: vec![],
            restart: vec!["v1".into()],
        };
        assert_eq!(
            run(&Case {
                unresponsive_ms: Some(UNRESPONSIVE_MS),
                ..unresponsive
            }),
            restart
        );
        // Nodes started by a reconnected host get as much time.
        assert_eq!(
            run(&Case {
                unresponsive_ms: Some(UNRESPONSIVE_MS),
                host_settled_ms: None,
                ..unresponsive
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                unresponsive_ms: Some(UNRESPONSIVE_MS),
                host_settled_ms: Some(UNRESPONSIVE_MS - 1),
                ..unresponsive
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                unresponsive_ms: Some(UNRESPONSIVE_MS),
                host_settled_ms: Some(UNRESPONSIVE_MS),
                ..unresponsive
            }),
            restart
        );
    }

    #[test]
    fn unsuccessful_repairs_are_retried_at_growing_intervals() {
        let mut runtime = ClusterRuntime::default();
        let (v1, both) = (
            ["v1".to_owned()].into(),
            ["v1".to_owned(), "v2".to_owned()].into(),
        );
        (0..7).for_each(|_| runtime.note_repair(&v1, Timestamp(1_000_000)));
        assert_eq!(runtime.repairs, 7);
        let again = |runtime: &ClusterRuntime, after: i64| {
            run_with(
                &Case { leased: true, ..BASE },
                runtime.clone(),
                Timestamp(1_000_000 + after),
            )
        };
        assert_eq!(again(&runtime, 9_999), Decision::Nothing);
        assert_eq!(again(&runtime, 10_000), start());
        runtime.note_repair(&both, Timestamp(1_000_000));
        assert_eq!(again(&runtime, 5_000), start(), "another node restarts the count");
        (0..7).for_each(|_| runtime.note_repair(&v1, Timestamp(1_000_000)));
        assert_eq!(again(&runtime, 5_000), Decision::Nothing);
        runtime.note_recovery();
        assert_eq!(again(&runtime, 5_000), start());
    }

    #[test]
    fn a_lost_ledger_is_not_started_and_is_reset_when_free() {
        let ledger_lost = Case {
            verdict: HealthState::Broken,
            ledger_lost: true,
            process: "absent",
            ..BASE
        };
        for unhealthy_ms in [0, CONFIRM_MS, 1_000_000] {
            assert_eq!(
                run(&Case {
                    unhealthy_ms,
                    leased: true,
                    ..ledger_lost
                }),
                Decision::Nothing
            );
        }
        assert_eq!(run(&ledger_lost), Decision::Nothing, "not confirmed yet");
        assert!(
            matches!(run(&Case { unhealthy_ms: CONFIRM_MS, ..ledger_lost }), Decision::Reset(why) if why.contains("lost"))
        );
        assert_eq!(
            run(&Case {
                unhealthy_ms: CONFIRM_MS,
                host_settled_ms: Some(REPAIR_MS - 1),
                ..ledger_lost
            }),
            Decision::Nothing
        );
    }

    #[test]
    fn nothing_is_reset_while_a_platform_dependency_is_down() {
        let blocked_by = ClusterRuntime {
            blocked_by: Some("the log server is down".to_owned()),
            ..ClusterRuntime::default()
        };
        for verdict in [HealthState::Degraded, HealthState::Broken] {
            let bad = Case {
                verdict,
                unhealthy_ms: 1_000_000,
                broken_ms: Some(1_000_000),
                ..BASE
            };
            assert_eq!(run_with(&bad, blocked_by.clone(), Timestamp(1_000_000)), start());
            assert!(matches!(run(&bad), Decision::Reset(_)));
        }
        // A lost ledger does not recover by waiting.
        let ledger_lost = Case {
            verdict: HealthState::Broken,
            ledger_lost: true,
            unhealthy_ms: 1_000_000,
            broken_ms: Some(1_000_000),
            ..BASE
        };
        assert!(
            matches!(run_with(&ledger_lost, blocked_by, Timestamp(1_000_000)), Decision::Reset(why) if why.contains("lost"))
        );
    }

    #[test]
    fn nothing_is_done_in_maintenance_or_while_the_host_is_unreachable() {
        assert_eq!(
            run(&Case {
                suspended: true,
                unhealthy_ms: 1_000_000,
                ..BASE
            }),
            Decision::Nothing
        );
        assert_eq!(
            run(&Case {
                verdict: HealthState::Unknown,
                unhealthy_ms: 1_000_000,
                ..BASE
            }),
            Decision::Nothing
        );
    }
}
