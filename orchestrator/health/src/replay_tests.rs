//! Replays of what happens to hosts and ledgers, in virtual time.

use crate::{
    Cluster, ClusterHealth, HealthPolicy, HostAvailability, Input, NodeExit, NodeHealth, millis, step,
    testing::{Engine, Event, ScriptedLedger, SimulatedNode, World},
};
use chainpool_api::{HealthState, HostState, OperationKind, Timestamp};
use std::time::Duration;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn world(nodes: usize, ledger: ScriptedLedger) -> World<ScriptedLedger> {
    World::new(nodes, ledger, &HealthPolicy::default())
}

fn is_healthy(world: &World<ScriptedLedger>) -> bool {
    world.record.health == HealthState::Healthy
        && world.record.operation.is_none()
        && world.nodes.values().all(SimulatedNode::takes_part)
}

/// When an event first happened, in milliseconds.
fn first(world: &World<ScriptedLedger>, which: impl Fn(&Event) -> bool) -> Option<i64> {
    world
        .log
        .iter()
        .find(|(_, event)| which(event))
        .map(|(at, _)| *at)
}

/// The states of the host in the log.
fn host_states(world: &World<ScriptedLedger>) -> Vec<HostState> {
    let states = world.log.iter().filter_map(|(_, event)| match event {
        Event::Host(state) => Some(*state),
        _ => None,
    });
    states.collect()
}

/// The engine is down for this many seconds; afterwards it starts each node at this many seconds.
fn outage(world: &mut World<ScriptedLedger>, downtime: u64, starts: &[(u64, &str)]) {
    world.engine_stops();
    world.run_for(s(downtime));
    world.engine_returns();
    let mut elapsed = 0;
    for (at, node) in starts {
        world.run_for(s(at - elapsed));
        elapsed = *at;
        world.start(node);
    }
}

/// Runs a test with each scripted ledger of four nodes.
fn each_ledger(test: impl Fn(&mut World<ScriptedLedger>)) {
    for ledger in ScriptedLedger::ALL {
        test(&mut world(4, ledger));
    }
}

#[test]
fn an_undisturbed_cluster_causes_nothing() {
    each_ledger(|world| {
        world.run_for(s(600));
        assert!(is_healthy(world));
        assert_eq!((world.resets().len(), world.repairs()), (0, 0));
    });
}

#[test]
fn a_killed_node_is_started_in_place_and_the_cluster_proven() {
    for leased in [false, true] {
        each_ledger(|world| {
            if leased {
                world.record.leased = true;
            }
            world.exit("v1", 137);
            world.run_until("it is healthy", is_healthy);
            world.run_for(s(60));
            assert!(is_healthy(world));
            assert_eq!((world.resets().len(), world.repairs()), (0, 1));
        });
    }
}

#[test]
fn an_engine_that_returns_after_8_s_with_its_nodes_in_any_order_costs_no_ledger() {
    let orders: [&[(u64, &str)]; 4] = [
        &[(1, "v0"), (1, "v1"), (1, "v2"), (1, "v3")],
        &[(1, "v3"), (4, "v1"), (9, "v0"), (14, "v2")],
        &[(2, "v2"), (20, "v3"), (38, "v0"), (56, "v1")],
        &[(0, "v1"), (15, "v0"), (15, "v3"), (30, "v2")],
    ];
    for order in orders {
        each_ledger(|world| {
            outage(world, 8, order);
            world.run_until("it is healthy", is_healthy);
            world.run_for(s(120));
            assert!(is_healthy(world));
            assert!(world.resets().is_empty(), "{order:?}");
            assert_eq!(host_states(world), [HostState::Unreachable, HostState::Active]);
        });
    }
}

#[test]
fn a_host_that_never_starts_a_node_again_is_repaired_or_reset_once_it_is_quiet() {
    let mut world = world(4, ScriptedLedger::MAJORITY);
    world.engine_stops();
    world.run_for(s(8));
    world.nodes_start = false;
    world.engine_returns();
    let returned = world.now;
    world.run_until("a reset", |world| !world.resets().is_empty());
    assert!(world.now.millis_since(returned) >= millis(HealthPolicy::default().host.settle));
    world.run_until("it is healthy", is_healthy);
}

#[test]
fn a_host_warms_up_with_a_hundred_ledgers_and_none_is_reset() {
    // One of them, the last of a hundred: the others start before it, one node a second and a half.
    let mut world = world(4, ScriptedLedger::MAJORITY);
    world.record.leased = false;
    world.engine_stops();
    world.run_for(s(30));
    world.engine_returns();
    for others in 0..100 {
        // Nodes of other clusters keep the host warming up.
        let now = world.now;
        world.node_of_another_cluster_up(now);
        world.run_for(Duration::from_millis(1_500));
        assert!(
            matches!(world.host.availability(), HostAvailability::WarmingUp { .. }),
            "after {others}"
        );
    }
    for node in world.names() {
        world.start(&node);
        world.run_for(Duration::from_millis(1_500));
    }
    world.run_until("it is healthy", is_healthy);
    world.run_for(s(120));
    assert!(world.resets().is_empty(), "{:?}", world.log);
    assert_eq!(*world.host.availability(), HostAvailability::Available);
}

#[test]
fn a_partition_breaks_a_ledger_with_a_quorum_and_heals_by_itself() {
    for leased in [false, true] {
        let mut world = world(4, ScriptedLedger::MAJORITY);
        world.record.leased = leased;
        for node in ["v2", "v3"] {
            world.nodes.get_mut(node).unwrap().responds = false;
        }
        world.run_until("it is broken", |world| world.record.health == HealthState::Broken);
        assert!(world.now.0 > 0 && world.resets().is_empty());
        world.run_for(s(15));
        assert!(
            world.resets().is_empty(),
            "its nodes run, so it gets the time of a degraded one"
        );
        for node in ["v2", "v3"] {
            world.nodes.get_mut(node).unwrap().responds = true;
        }
        world.run_until("it is healthy", is_healthy);
        assert!(world.resets().is_empty());
        assert_eq!(
            first(&world, |event| *event == Event::Proved).is_some(),
            !leased,
            "only a free cluster is proven"
        );
    }
}

#[test]
fn a_partition_that_lasts_costs_a_free_ledger_and_never_a_leased_one() {
    for leased in [false, true] {
        let mut world = world(4, ScriptedLedger::MAJORITY);
        world.record.leased = leased;
        for node in ["v2", "v3"] {
            world.nodes.get_mut(node).unwrap().responds = false;
        }
        world.run_for(s(300));
        assert_eq!(world.resets().is_empty(), leased, "{:?}", world.log);
        assert!(world.repairs() > 0 || !leased, "unresponsive nodes are restarted");
    }
}

#[test]
fn a_node_that_responds_late_once_changes_nothing() {
    for (late, changes) in [(1, false), (2, true)] {
        let mut world = world(4, ScriptedLedger::MAJORITY);
        world.nodes.get_mut("v1").unwrap().late = late;
        world.run_for(s(30));
        assert_eq!(!world.log.is_empty(), changes, "{:?}", world.log);
        assert!(is_healthy(&world) && world.resets().is_empty());
    }
}

#[test]
fn an_exit_after_the_end_of_an_operation_counts_although_it_is_reported_earlier() {
    let (policy, ended_at) = (HealthPolicy::default(), Timestamp(1_000_000));
    let exit = |seconds| {
        Input::NodeExited(NodeExit {
            node: "v0".to_owned(),
            code: 1,
            at: ended_at.plus_seconds(seconds),
        })
    };
    let ended = Input::OperationEnded {
        at: ended_at,
        kind: OperationKind::ClusterStart,
        proven: true,
        blocked: false,
    };
    let mut state = Cluster::default();
    for input in [exit(-1), exit(1), ended] {
        state = step(state, input, &policy, ended_at.plus_seconds(2)).0;
    }
    assert_eq!(state.exits().within(s(60), ended_at.plus_seconds(2)).count(), 1);
}

#[test]
fn a_crash_loop_is_repaired_at_growing_intervals_while_leased() {
    let mut world = world(4, ScriptedLedger::MAJORITY);
    world.record.leased = true;
    world.nodes_start = false;
    world.exit("v1", 1);
    world.run_for(s(600));
    let at: Vec<i64> = world
        .log
        .iter()
        .filter(|(_, event)| matches!(event, Event::Repaired { .. }))
        .map(|(at, _)| *at)
        .collect();
    let intervals: Vec<i64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        intervals[..5].iter().all(|interval| *interval < 10_000),
        "{intervals:?}"
    );
    assert!(
        intervals[5..].windows(2).all(|pair| pair[1] > pair[0]),
        "{intervals:?}"
    );
    assert!(at.len() < 14, "{at:?}");
    world.nodes_start = true;
    world.run_until("it is healthy", is_healthy);
    assert!(world.resets().is_empty());
}

#[test]
fn a_lease_taken_or_renewed_before_a_reset_prevents_it() {
    let policy = HealthPolicy::default();
    let mut world = world(4, ScriptedLedger::MAJORITY);
    world.nodes_start = false;
    world.exit("v1", 1);
    world.run_for(policy.repair.degraded_reset.saturating_sub(s(3)));
    assert!(world.resets().is_empty());
    // The lease's expiry was decided meanwhile, but it was renewed: the record says that it is leased.
    world.record.leased = true;
    world.run_for(s(120));
    assert!(world.resets().is_empty(), "{:?}", world.log);
    world.record.leased = false;
    world.run_for(s(3));
    assert!(!world.resets().is_empty(), "it has been unhealthy for long");
}

#[test]
fn nothing_is_repaired_or_reset_in_maintenance_and_it_counts_from_its_end() {
    let mut world = world(4, ScriptedLedger::MAJORITY);
    world.record.maintenance = true;
    world.nodes_start = false;
    world.exit("v1", 1);
    world.exit("v2", 1);
    world.run_for(s(300));
    assert_eq!(
        world.record.health,
        HealthState::Broken,
        "the verdict is recorded"
    );
    assert_eq!((world.resets().len(), world.repairs()), (0, 0));
    world.record.maintenance = false;
    let ended = world.now;
    world.run_until("a reset", |world| !world.resets().is_empty());
    assert!(world.now.millis_since(ended) >= millis(HealthPolicy::default().repair.broken_confirm));
}

#[test]
fn a_node_stopped_on_request_is_not_started() {
    let mut world = world(4, ScriptedLedger::MAJORITY);
    world.record.leased = true;
    world.record.stopped_nodes = ["v1".to_owned()].into();
    world.exit("v1", 0);
    world.run_for(s(120));
    assert_eq!(world.repairs(), 0);
    assert_eq!(
        world.cluster.nodes().node("v1"),
        Some(&NodeHealth::StoppedOnPurpose)
    );
    assert!(
        matches!(&world.log[..], [(_, Event::Recorded(HealthState::Degraded, reason))] if reason.ends_with("(stopped on request: v1)"))
    );
    world.exit("v2", 137);
    world.run_until("v2 runs", |world| world.nodes["v2"].takes_part());
    assert!(!world.nodes["v1"].takes_part());
}

#[test]
fn a_platform_that_cannot_list_leaves_the_verdict_to_the_ledger_and_repairs_nothing() {
    for engine in [Engine::Busy, Engine::Slow] {
        let mut world = world(4, ScriptedLedger::MAJORITY);
        world.engine = engine;
        world.nodes.get_mut("v1").unwrap().responds = false;
        world.run_for(s(20));
        assert_eq!(world.record.health, HealthState::Degraded);
        world.nodes.get_mut("v2").unwrap().responds = false;
        world.run_for(s(10));
        assert_eq!(world.record.health, HealthState::Broken, "the probes continue");
        world.nodes.get_mut("v2").unwrap().responds = true;
        assert_eq!((world.resets().len(), world.repairs()), (0, 0));
        world.engine = Engine::Up;
        world.run_until("it is healthy", is_healthy);
    }
}

#[test]
fn a_confirmed_failure_is_a_state() {
    let mut world = world(1, ScriptedLedger::MAJORITY);
    world.record.leased = true;
    world.nodes_start = false;
    world.exit("v0", 1);
    world.run_until("it is broken", |world| {
        world.cluster.health() == ClusterHealth::Broken { confirmed: false }
    });
    world.run_until("it is confirmed", |world| {
        world.cluster.health() == ClusterHealth::Broken { confirmed: true }
    });
}

#[test]
fn all_limits_scale_with_the_policy() {
    let policy = HealthPolicy::default().scaled(2.0);
    let mut world = World::new(4, ScriptedLedger::MAJORITY, &policy);
    world.nodes_start = false;
    world.exit("v1", 1);
    world.run_for(policy.repair.degraded_reset.saturating_sub(s(5)));
    assert!(world.resets().is_empty(), "{:?}", world.log);
    world.run_for(s(15));
    assert_eq!(world.resets(), ["still unhealthy after 40 s"], "{:?}", world.log);
}
