//! The ledger's rules, on nodes that an agent made. Blocks take a minute, which only the test lets pass.

use super::{Answer, Conduct, Ledger, Request, probe::probe, render::Parameters, verdict::verdict};
use crate::{Fault, MemoryAgent, Verb, World};
use chainpool_agent::{
    Agent, Boot, ClusterId, ClusterKey, Error, ImageRef, InstanceId, LogConfig, NetworkSpec, NodeName,
    ObjectKind, Power, Scope, Secret, network_name, node_object_name, volume_name,
};
use chainpool_api::{HealthState, LogLevel, Timestamp};
use chainpool_networks::{Amendment, Before, NetworkType, Nodes, Order, Past, Reach};
use serde_json::json;
use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

/// A network that was made, and all that reaches it.
struct Made {
    world: Arc<World>,
    agent: Arc<MemoryAgent>,
    nodes: Nodes,
    image: ImageRef,
}

fn order(parameters: serde_json::Value) -> Order {
    Order {
        parameters,
        chain_id: "chain".to_owned(),
        genesis_at: Timestamp(0),
        network: NetworkSpec { subnet: None },
        ports: BTreeMap::new(),
        reach: Reach {
            address: "127.0.0.1".to_owned(),
            loopback: true,
            machines: BTreeMap::new(),
        },
        images: BTreeMap::new(),
        log: LogConfig::default(),
        log_level: LogLevel::Info,
    }
}

fn parameters(nodes: u16, staged: bool) -> serde_json::Value {
    json!(Parameters {
        nodes,
        staged,
        interval_ms: 60_000,
        ..Parameters::default()
    })
}

impl Made {
    /// All nodes of a network of these parameters, running.
    async fn new(parameters: serde_json::Value) -> Self {
        let world = World::new();
        let agent = Arc::new(MemoryAgent::connect(Arc::clone(&world), InstanceId::new()));
        let spec = Ledger.render(&order(parameters), &Secret::new([7; 32]));
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: 1,
        };
        let image = agent.ensure_image(&spec.nodes[0].images).await.unwrap();
        let nodes = Nodes {
            agent: agent.clone(),
            key,
            spec: Arc::new(spec),
        };
        let made = Self {
            world,
            agent,
            nodes,
            image,
        };
        made.agent
            .ensure_network(&key, &NetworkSpec { subnet: None })
            .await
            .unwrap();
        made.start_all().await;
        made
    }

    async fn start_all(&self) {
        for node in &self.nodes.spec.nodes {
            self.start(&node.name).await;
        }
    }

    async fn start(&self, name: &NodeName) {
        let node = self.nodes.spec.node(name).unwrap();
        self.agent
            .ensure_node(&self.nodes.key, node, &self.image, &Power::On { after: None })
            .await
            .unwrap();
    }

    fn status(&self, node: &str) -> (u64, (usize, usize)) {
        match self.world.ask(&self.nodes.key, &name(node), &Request::Status) {
            Some(Answer::Status { height, power, .. }) => (height, power),
            other => panic!("{node} answers {other:?}"),
        }
    }

    fn get(&self, node: &str) -> Option<String> {
        match self.world.ask(
            &self.nodes.key,
            &name(node),
            &Request::Get { key: "a".to_owned() },
        )? {
            Answer::Entry { value, .. } => Some(value),
            _ => None,
        }
    }

    fn put(&self, node: &str) -> Answer {
        let request = Request::Put {
            key: "a".to_owned(),
            value: "b".to_owned(),
        };
        self.world.ask(&self.nodes.key, &name(node), &request).unwrap()
    }

    async fn judged(&self) -> (HealthState, String) {
        let observed = self
            .agent
            .observe(Scope::Cluster(self.nodes.key.cluster))
            .await
            .unwrap();
        let evidence = probe(&self.nodes, &observed).await;
        let verdict = verdict(&Parameters::default(), &evidence, &Past::default(), Timestamp(0));
        (verdict.state, verdict.reason)
    }
}

fn name(node: &str) -> NodeName {
    NodeName::parse(node).unwrap()
}

/// As long as ten blocks take.
const BLOCKS: Duration = Duration::from_mins(10);

#[tokio::test]
async fn blocks_come_with_time_while_enough_members_take_part() {
    let made = Made::new(parameters(4, false)).await;
    made.world.advance(BLOCKS);
    let (height, power) = made.status("v0");
    assert_eq!(power, (4, 4));
    assert!(height >= 10, "{height}");
    made.world.kill(&made.nodes.key, &name("v3"), 137);
    made.world.advance(BLOCKS);
    let (with_three, power) = made.status("v0");
    assert_eq!(power, (3, 4));
    assert!(with_three >= height + 10, "{with_three} after {height}");
    made.world.set_paused(&made.nodes.key, &name("v2"), true);
    let (stopped, _) = made.status("v0");
    made.world.advance(BLOCKS);
    assert_eq!(
        made.status("v0"),
        (stopped, (2, 4)),
        "it goes on without enough members"
    );
    assert!(matches!(made.put("v0"), Answer::Refused { .. }));
    made.world.set_paused(&made.nodes.key, &name("v2"), false);
    made.world.advance(BLOCKS);
    assert!(made.status("v0").0 > stopped);
}

#[tokio::test]
async fn a_copy_lies_in_its_volume_and_goes_with_it() {
    let made = Made::new(parameters(4, false)).await;
    let key = made.nodes.key;
    assert!(matches!(made.put("v0"), Answer::Committed { .. }));
    assert_eq!(made.get("v3").as_deref(), Some("b"), "it was not spread");
    made.world
        .remove(ObjectKind::Node, &node_object_name(&key, &name("v3")));
    made.world
        .remove(ObjectKind::Volume, &volume_name(&key, &name("v3"), "data"));
    made.start(&name("v3")).await;
    assert_eq!(made.get("v3").as_deref(), Some("b"), "it did not catch up");
    made.world.advance(BLOCKS);
    for node in ["v0", "v1", "v2", "v3"] {
        made.world
            .remove(ObjectKind::Node, &node_object_name(&key, &name(node)));
        made.world
            .remove(ObjectKind::Volume, &volume_name(&key, &name(node), "data"));
    }
    made.start_all().await;
    assert_eq!(
        (made.status("v0").0, made.get("v0")),
        (0, None),
        "a ledger without any copy begins again from nothing"
    );
}

#[tokio::test]
async fn the_verdict_follows_the_conduct_of_the_nodes() {
    let made = Made::new(parameters(4, false)).await;
    let key = made.nodes.key;
    made.world.advance(BLOCKS);
    assert_eq!(made.judged().await.0, HealthState::Healthy);
    let set = |node: &str, conduct: Conduct| made.world.set_conduct(&key, &name(node), conduct);
    set(
        "v1",
        Conduct {
            silent: true,
            ..Conduct::default()
        },
    );
    let (state, reason) = made.judged().await;
    assert!(
        state == HealthState::Degraded && reason.contains("v1 runs and does not answer"),
        "{reason}"
    );
    set(
        "v1",
        Conduct {
            delay: Duration::from_secs(5),
            ..Conduct::default()
        },
    );
    assert_eq!(
        made.judged().await.0,
        HealthState::Degraded,
        "a slow answer is none"
    );
    set(
        "v1",
        Conduct {
            forked: true,
            ..Conduct::default()
        },
    );
    let (state, reason) = made.judged().await;
    assert!(
        state == HealthState::Broken && reason.contains("different blocks"),
        "{reason}"
    );
    set(
        "v1",
        Conduct {
            stalled: true,
            ..Conduct::default()
        },
    );
    let height = made.status("v1").0;
    made.world.advance(BLOCKS);
    assert_eq!(made.status("v1").0, height, "a stalled node goes on");
    assert!(made.status("v0").0 > height);
    set(
        "v0",
        Conduct {
            stalled: true,
            ..Conduct::default()
        },
    );
    let (state, reason) = made.judged().await;
    assert!(state == HealthState::Broken && reason.contains("2/3"), "{reason}");
    // A new start ends all of it.
    for node in ["v0", "v1"] {
        made.world.kill(&key, &name(node), 1);
        made.start(&name(node)).await;
    }
    made.world.advance(BLOCKS);
    assert_eq!(made.judged().await.0, HealthState::Healthy);
    made.world.remove(ObjectKind::Network, &network_name(&key));
    assert_eq!(
        made.judged().await.0,
        HealthState::Broken,
        "nodes without a network take part"
    );
}

#[tokio::test]
async fn a_staged_ledger_admits_its_nodes_and_an_amended_one_the_new_ones() {
    let mut made = Made::new(parameters(2, true)).await;
    made.world.advance(BLOCKS);
    assert_eq!(made.status("v0").1, (1, 1));
    for action in ["found", "admit", "admit"] {
        Ledger.init(&made.nodes, action).await.unwrap();
    }
    assert_eq!(made.status("v1").1, (2, 2));
    assert!(Ledger.init(&made.nodes, "nonsense").await.is_err());
    let before = made.nodes.spec.clone();
    let change = |nodes| Amendment {
        order: order(parameters(nodes, true)),
        renew_certificates: false,
        before: Before::Ended,
    };
    let after = Ledger.amend(&before, &change(4), &Secret::new([8; 32])).unwrap();
    assert_eq!(after.nodes[..2], before.nodes[..], "untouched nodes changed");
    assert!(
        after.boot.contains(&Boot::Init("admit".to_owned())),
        "{:?}",
        after.boot
    );
    assert!(Ledger.amend(&before, &change(1), &Secret::new([8; 32])).is_err());
    made.nodes.spec = Arc::new(after);
    made.start_all().await;
    Ledger.init(&made.nodes, "admit").await.unwrap();
    assert_eq!(made.status("v3").1, (4, 4));
    let proof = Ledger.prove(&made.nodes).await.unwrap();
    assert_ne!(proof.written_to, proof.read_from);
}

#[tokio::test]
async fn faults_meet_the_calls_that_they_are_scripted_for() {
    let made = Made::new(parameters(1, false)).await;
    let look = async || made.agent.observe(Scope::Host).await;
    let before = look().await.unwrap();
    for (fault, error) in [
        (Fault::Unreachable, "Unreachable"),
        (Fault::Busy, "Busy"),
        (Fault::Refused("no".to_owned()), "Refused"),
        (Fault::AnswerLost, "Unreachable"),
    ] {
        made.world.next(Verb::Observe, fault.clone());
        let answer = look().await;
        assert!(
            answer
                .as_ref()
                .is_err_and(|said| format!("{said:?}").starts_with(error)),
            "{fault:?}: {answer:?}"
        );
        assert_eq!(look().await.unwrap(), before, "{fault:?} met a second call");
    }
    made.world.always(Verb::Observe, Some(Fault::Hang));
    let mut hanging = pin!(look());
    for _ in 0..10 {
        assert!(futures::poll!(hanging.as_mut()).is_pending(), "it does not hang");
        tokio::task::yield_now().await;
    }
    made.world.always(Verb::Observe, None);
    assert_eq!(
        hanging.await.unwrap(),
        before,
        "a call that hung does not happen when the fault is lifted"
    );
    made.world.set_stale(true);
    made.agent.drop_cluster(made.nodes.key.cluster, 1).await.unwrap();
    assert_eq!(look().await.unwrap(), before, "the listing is fresh");
    made.world.set_stale(false);
    assert!(look().await.unwrap().objects.is_empty());
    made.world.set_reachable(false);
    assert!(matches!(look().await, Err(Error::Unreachable(_))));
    assert_eq!(made.world.calls(Verb::Observe), 13);
}

#[tokio::test]
async fn an_answer_that_is_lost_comes_after_the_deed() {
    let made = Made::new(parameters(1, false)).await;
    made.world.next(Verb::DropCluster, Fault::AnswerLost);
    assert!(made.agent.drop_cluster(made.nodes.key.cluster, 1).await.is_err());
    assert!(made.agent.observe(Scope::Host).await.unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_snapshot_goes_its_own_way() {
    let made = Made::new(parameters(4, false)).await;
    assert!(matches!(made.put("v0"), Answer::Committed { .. }));
    let copy = made.world.snapshot();
    made.agent.drop_cluster(made.nodes.key.cluster, 1).await.unwrap();
    let agent = MemoryAgent::connect(Arc::clone(&copy), InstanceId::new());
    assert_eq!(
        agent.probe().await.unwrap().engine_id,
        made.agent.probe().await.unwrap().engine_id
    );
    copy.advance(BLOCKS);
    let asked = copy.ask(&made.nodes.key, &name("v2"), &Request::Status);
    assert!(
        matches!(asked, Some(Answer::Status { height, power: (4, 4), .. }) if height >= 10),
        "{asked:?}"
    );
}
