//! The verdicts of the network types drive the health machines in virtual time.

use crate::{NetworkType, Registry};
use chainpool_api::{ChannelEvidence, Evidence, HealthState, NodeEvidence, Progress, Timestamp};
use chainpool_health::{
    HealthPolicy, History, NodeReport, Verdict,
    testing::{Event, SimulatedLedger, SimulatedNode, World},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A network type on simulated nodes.
struct Typed {
    network: Arc<dyn NetworkType>,
    parameters: Value,
    evidence: fn(&BTreeMap<String, NodeReport>, &History, Timestamp) -> Evidence,
}

impl Typed {
    fn new(name: &str, evidence: fn(&BTreeMap<String, NodeReport>, &History, Timestamp) -> Evidence) -> Self {
        let network = Registry::default().get(name).expect("a network type");
        let preset = network.preset("default");
        let parameters = network
            .validate(&preset, &serde_json::Map::new())
            .expect("the defaults are valid");
        Self {
            network,
            parameters,
            evidence,
        }
    }
}

impl SimulatedLedger for Typed {
    fn assess(
        &self,
        nodes: &BTreeMap<String, NodeReport>,
        history: &History,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> (Verdict, Option<Progress>) {
        let evidence = (self.evidence)(nodes, history, now);
        let verdict = self
            .network
            .verdict(&self.parameters, &evidence, history, policy, now);
        (verdict, self.network.progress(&evidence))
    }
}

fn node(report: &NodeReport) -> NodeEvidence {
    NodeEvidence {
        process: report.process.clone(),
        answers: report.answers,
        stuck: report.stalled,
        silent: (!report.answers).then(|| "no response within 2 s".to_owned()),
        catching_up: report.answers.then_some(false),
        ..NodeEvidence::default()
    }
}

/// Validators that commit a block each second while more than two thirds of them respond.
fn cometbft(nodes: &BTreeMap<String, NodeReport>, history: &History, now: Timestamp) -> Evidence {
    let total = u64::try_from(nodes.len()).expect("a few nodes");
    let up = u64::try_from(nodes.values().filter(|node| node.is_up()).count()).expect("a few nodes");
    let committed = 3 * up > 2 * total;
    let height = if committed {
        u64::try_from(now.0 / 1000).ok()
    } else {
        history.position()
    };
    let validator = |report: &NodeReport| NodeEvidence {
        height: height.filter(|_| report.answers),
        hash: report.answers.then(|| "AA".to_owned()),
        peers: report
            .answers
            .then(|| u32::try_from(up.saturating_sub(1)).expect("a few nodes")),
        ..node(report)
    };
    Evidence {
        height: height.filter(|_| up > 0),
        agree: (up > 1).then_some(true),
        power: (up > 0).then_some((up, total)),
        nodes: nodes
            .iter()
            .map(|(name, report)| (name.clone(), validator(report)))
            .collect(),
        ..Evidence::default()
    }
}

/// Three orderers and a peer of each of two organisations, on one channel.
fn fabric(nodes: &BTreeMap<String, NodeReport>, _history: &History, _now: Timestamp) -> Evidence {
    let places = [
        ("orderer", "orderers"),
        ("orderer", "orderers"),
        ("orderer", "orderers"),
        ("peer", "org0"),
        ("peer", "org1"),
    ];
    let member = |report: &NodeReport, (role, organisation): (&str, &str)| NodeEvidence {
        height: report.answers.then_some(7),
        hash: (report.answers && role == "peer").then(|| "aa".to_owned()),
        role: Some(role.to_owned()),
        organisation: Some(organisation.to_owned()),
        channels: if report.answers {
            [("main".to_owned(), 7)].into()
        } else {
            BTreeMap::new()
        },
        ..node(report)
    };
    let orderers: Vec<&String> = nodes
        .iter()
        .take(3)
        .filter(|(_, node)| node.is_up())
        .map(|(name, _)| name)
        .collect();
    let leader = orderers.first().filter(|_| orderers.len() >= 2).copied();
    let channel = ChannelEvidence {
        height: Some(7),
        active: leader.map(|_| u32::try_from(orderers.len()).expect("three")),
        leader: leader.cloned(),
        ..ChannelEvidence::default()
    };
    Evidence {
        height: nodes.values().any(|node| node.answers).then_some(7),
        channels: [("main".to_owned(), channel)].into(),
        nodes: nodes
            .iter()
            .zip(places)
            .map(|((name, report), place)| (name.clone(), member(report, place)))
            .collect(),
        ..Evidence::default()
    }
}

/// A world of each network type.
fn worlds() -> [World<Typed>; 2] {
    let policy = HealthPolicy::default();
    [
        World::new(4, Typed::new("cometbft", cometbft), &policy),
        World::new(5, Typed::new("fabric", fabric), &policy),
    ]
}

fn is_healthy(world: &World<Typed>) -> bool {
    world.record.health == HealthState::Healthy
        && world.record.operation.is_none()
        && world.nodes.values().all(SimulatedNode::takes_part)
}

#[test]
fn a_killed_node_is_started_in_place() {
    for mut world in worlds() {
        world.exit("v1", 137);
        world.run_until("it is healthy", is_healthy);
        world.run_for(Duration::from_mins(2));
        assert!(is_healthy(&world) && world.resets().is_empty(), "{:?}", world.log);
        assert_eq!(world.repairs(), 1);
    }
}

#[test]
fn an_engine_that_returns_after_8_s_costs_no_ledger() {
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 3, 1, 4]] {
        for mut world in worlds() {
            world.engine_stops();
            world.run_for(Duration::from_secs(8));
            world.engine_returns();
            let names = world.names();
            for place in order {
                if let Some(name) = names.get(place) {
                    world.start(name);
                    world.run_for(Duration::from_secs(3));
                }
            }
            world.run_until("it is healthy", is_healthy);
            assert!(world.resets().is_empty(), "{order:?}: {:?}", world.log);
        }
    }
}

#[test]
fn a_partition_breaks_a_leased_ledger_and_heals_by_itself() {
    for mut world in worlds() {
        world.record.leased = true;
        for node in ["v0", "v1"] {
            world.nodes.get_mut(node).expect("a node").responds = false;
        }
        world.run_until("it is broken", |world| world.record.health == HealthState::Broken);
        for node in ["v0", "v1"] {
            world.nodes.get_mut(node).expect("a node").responds = true;
        }
        world.run_until("it is healthy", is_healthy);
        let wiped = |(_, event): &(i64, Event)| matches!(event, Event::Reset(_) | Event::Proved);
        assert!(!world.log.iter().any(wiped), "{:?}", world.log);
    }
}
