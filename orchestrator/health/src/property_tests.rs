//! Invariants under any faults. The world checks after each step that a leased cluster is not reset, that
//! nothing is reset on a host that warms up, that repairs keep their distance, and that nothing counts while a
//! cluster is healthy.

use crate::{
    Cluster, ClusterHealth, Evidence, HealthPolicy, HostReport, Input, Inventory, NodeExit, NodeReport,
    Record, Verdict, step,
    testing::{Engine, ScriptedLedger, World},
};
use chainpool_api::{HealthState, OperationKind, ProcessState, Progress, Timestamp};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

/// Something that happens to a world.
#[derive(Debug, Clone)]
enum Fault {
    Exit(usize),
    Freeze(usize),
    Silence(usize),
    Stall(usize),
    EngineStops,
    EngineBusy,
    EngineSlow,
    EngineReturns,
    MissingImage(bool),
    Lease(bool),
    Maintenance(bool),
    StopOnRequest(usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0usize..4).prop_map(Fault::Exit),
        (0usize..4).prop_map(Fault::Freeze),
        (0usize..4).prop_map(Fault::Silence),
        (0usize..4).prop_map(Fault::Stall),
        Just(Fault::EngineStops),
        Just(Fault::EngineBusy),
        Just(Fault::EngineSlow),
        Just(Fault::EngineReturns),
        any::<bool>().prop_map(Fault::MissingImage),
        any::<bool>().prop_map(Fault::Lease),
        any::<bool>().prop_map(Fault::Maintenance),
        (0usize..4).prop_map(Fault::StopOnRequest),
    ]
}

fn apply(world: &mut World<ScriptedLedger>, fault: &Fault) {
    let name = |n: &usize| format!("v{n}");
    match fault {
        Fault::Exit(n) => world.exit(&name(n), 137),
        Fault::Freeze(n) => world.nodes.get_mut(&name(n)).unwrap().process = ProcessState::Paused,
        Fault::Silence(n) => world.nodes.get_mut(&name(n)).unwrap().responds = false,
        Fault::Stall(n) => world.nodes.get_mut(&name(n)).unwrap().stalled = true,
        Fault::EngineStops => world.engine_stops(),
        Fault::EngineBusy => world.engine = Engine::Busy,
        Fault::EngineSlow => world.engine = Engine::Slow,
        Fault::EngineReturns => world.engine_returns(),
        Fault::MissingImage(missing) => world.nodes_start = !missing,
        Fault::Lease(leased) => world.record.leased = *leased,
        Fault::Maintenance(on) => world.record.maintenance = *on,
        Fault::StopOnRequest(n) => {
            world.record.stopped_nodes.insert(name(n));
        }
    }
}

/// Lets faults happen, each some time after the previous one, and then everything work again.
fn survives(ledger: ScriptedLedger, faults: &[(u64, Fault)]) {
    let mut world = World::new(4, ledger, &HealthPolicy::default());
    for (millis, fault) in faults {
        world.run_for(Duration::from_millis(*millis));
        apply(&mut world, fault);
    }
    world.run_for(Duration::from_secs(5));
    world.engine_returns();
    world.nodes_start = true;
    world.record.maintenance = false;
    world.record.stopped_nodes = BTreeSet::new();
    world.run_until("it is healthy", |world| {
        world.record.health == HealthState::Healthy
            && world.record.operation.is_none()
            && world.cluster.health() == ClusterHealth::Healthy
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cluster_survives_any_faults(
        faults in proptest::collection::vec((0u64..20_000, fault()), 1..12),
    ) {
        for ledger in ScriptedLedger::ALL {
            survives(ledger, &faults);
        }
    }
}

#[test]
fn a_repair_after_a_reset_does_not_wait_for_the_repairs_before_it() {
    let faults = [
        (2_251, Fault::EngineReturns),
        (0, Fault::Silence(1)),
        (4_201, Fault::StopOnRequest(0)),
        (14_551, Fault::Exit(2)),
        (4_851, Fault::Exit(0)),
    ];
    survives(ScriptedLedger::MAJORITY, &faults);
}

const START: Timestamp = Timestamp(1_795_000_000_000);

fn record(leased: bool) -> Record {
    Record {
        health: HealthState::Healthy,
        stopped: false,
        leased,
        maintenance: false,
        paused: false,
        operation: None,
        stopped_nodes: BTreeSet::new(),
        started_at: Timestamp(0),
        fault: None,
    }
}

fn evidence(state: HealthState, up: bool, position: u64) -> Input {
    let report = NodeReport {
        process: ProcessState::Running,
        answers: up,
        stalled: false,
    };
    Input::Evidence(Box::new(Evidence {
        nodes: [("v0".to_owned(), report)].into(),
        verdict: Verdict {
            state,
            reason: String::new(),
        },
        progress: Some(Progress::At(position)),
        saturated: false,
        fault: None,
        lost: None,
        crash_loop: None,
    }))
}

/// News in one busy minute.
fn news() -> Vec<Input> {
    let ended = |kind, proven, blocked| Input::OperationEnded {
        at: START,
        kind,
        proven,
        blocked,
    };
    vec![
        Input::Record(record(false)),
        Input::Record(record(true)),
        Input::Host(HostReport::Unavailable("no route".to_owned())),
        Input::Host(HostReport::Reachable {
            quiet_since: Some(START),
        }),
        Input::Inventory(Inventory::Current),
        Input::Inventory(Inventory::TimedOut),
        Input::Inventory(Inventory::Listed),
        evidence(HealthState::Healthy, true, 7),
        evidence(HealthState::Broken, false, 6),
        evidence(HealthState::Degraded, false, 8),
        Input::NodeExited(NodeExit {
            node: "v0".to_owned(),
            code: 1,
            at: START,
        }),
        Input::OperationStarted {
            kind: OperationKind::ClusterRepair,
            repairs: ["v0".to_owned()].into(),
            restarts: true,
        },
        Input::OperationBlocked(Some("the log server is down".to_owned())),
        ended(OperationKind::ClusterRepair, false, true),
        ended(OperationKind::ClusterStart, true, false),
    ]
}

/// The state and the requests once the world is quiet: the host has long been quiet, and everything known is
/// reported again.
fn when_quiet(mut state: Cluster, health: HealthState) -> (Cluster, String) {
    let policy = HealthPolicy::default();
    let mut requests = String::new();
    let mut report = |seconds, input| {
        let (next, effects) = step(state.clone(), input, &policy, START.plus_seconds(seconds));
        state = next;
        requests = format!("{requests}{effects:?}\n");
    };
    let quiet = HostReport::Reachable {
        quiet_since: Some(START),
    };
    report(
        600,
        Input::OperationEnded {
            at: START.plus_seconds(600),
            kind: OperationKind::ClusterRepair,
            proven: false,
            blocked: false,
        },
    );
    for (seconds, position) in [(600, 100), (602, 101), (900, 102)] {
        report(seconds, Input::Host(quiet.clone()));
        report(seconds, Input::Record(record(true)));
        report(seconds, Input::Inventory(Inventory::Current));
        report(
            seconds,
            evidence(health, health == HealthState::Healthy, position),
        );
    }
    (state, requests.lines().last().unwrap_or_default().to_owned())
}

proptest! {
    #[test]
    fn every_order_of_news_ends_in_the_same_state(
        order in Just(news()).prop_shuffle(),
        millis in proptest::collection::vec(0i64..5_000, 15),
        health in prop_oneof![Just(HealthState::Healthy), Just(HealthState::Degraded)],
    ) {
        let policy = HealthPolicy::default();
        let (mut state, mut now) = (Cluster::default(), START);
        for (input, millis) in order.into_iter().zip(millis) {
            now.0 += millis;
            state = step(state, input, &policy, now).0;
        }
        let (state, requests) = when_quiet(state, health);
        let (reference, expected) = when_quiet(Cluster::default(), health);
        prop_assert_eq!(state.health(), reference.health());
        prop_assert_eq!(state.progress().map(|(at, _)| at), reference.progress().map(|(at, _)| at));
        prop_assert_eq!(state.is_clear(), reference.is_clear());
        prop_assert_eq!(requests, expected);
        if health == HealthState::Healthy {
            prop_assert!(state.is_clear());
            prop_assert_eq!(state.nodes().nodes(), reference.nodes().nodes());
        }
    }

    #[test]
    fn a_cluster_is_due_when_the_same_evidence_has_another_consequence(
        order in Just(news()).prop_shuffle(),
        leased in any::<bool>(),
        started in any::<bool>(),
        waits in proptest::collection::vec(1i64..12_000, 1..8),
        bad in prop_oneof![Just(HealthState::Broken), Just(HealthState::Degraded), Just(HealthState::Healthy)],
    ) {
        let policy = HealthPolicy::default();
        let (mut state, mut now) = (Cluster::default(), START.plus_seconds(600));
        for input in order {
            state = step(state, input, &policy, START).0;
        }
        let record = Record {
            health: if started { HealthState::Starting } else { HealthState::Degraded },
            started_at: START.plus_seconds(590),
            ..record(leased)
        };
        state = step(state, Input::Record(record), &policy, now).0;
        let host = HostReport::Reachable { quiet_since: Some(START.plus_seconds(595)) };
        state = step(state, Input::Host(host), &policy, now).0;
        let assess = |state: &mut Cluster, now| {
            let due = state.is_due(&policy, now);
            let known = step(state.clone(), Input::Inventory(Inventory::Current), &policy, now).0;
            let up = bad == HealthState::Healthy;
            let (next, effects) = step(known, evidence(bad, up, 1), &policy, now);
            *state = next;
            (due, effects)
        };
        let (_, mut before) = assess(&mut state, now);
        for wait in waits {
            prop_assert!(!state.is_due(&policy, now), "right after an assessment");
            now.0 += wait;
            let (due, effects) = assess(&mut state, now);
            prop_assert_eq!(due, !effects.is_empty() && effects != before, "{:?} after {:?}", effects, before);
            before = effects;
        }
    }

    #[test]
    fn repeated_news_changes_nothing(order in Just(news()).prop_shuffle()) {
        let policy = HealthPolicy::default();
        let is_state = |input: &Input| !matches!(
            input,
            Input::NodeExited(_) | Input::OperationStarted { .. } | Input::Evidence(_) | Input::Inventory(_)
        );
        let (mut once, mut twice) = (Cluster::default(), Cluster::default());
        for input in order {
            once = step(once, input.clone(), &policy, START).0;
            twice = step(twice, input.clone(), &policy, START).0;
            if is_state(&input) {
                twice = step(twice, input, &policy, START).0;
            }
        }
        prop_assert_eq!(once, twice);
    }
}
