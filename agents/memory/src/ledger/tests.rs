//! The ledger's rules, on nodes of an agent. A block takes a minute of virtual time.

use super::{Answer, Ledger, NodeBehavior, Request, probe::probe, render::Parameters, verdict::verdict};
use crate::{Fault, MemoryAgent, Verb, World};
use chainpool_agent::{
    Agent, Boot, ClusterId, ClusterKey, Error, ImageRef, ImageRequest, InstanceId, LogConfig, NetworkSpec,
    NodeName, ObjectKind, Power, Scope, Secret, network_name, node_object_name, volume_name,
};
use chainpool_api::{HealthState, LogLevel, Timestamp};
use chainpool_networks::{
    Amendment, History, NetworkType, Nodes, PreviousChange, PublicEndpoints, RenderRequest,
};
use serde_json::json;
use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

/// A running network, with its world and agent.
struct TestNetwork {
    world: Arc<World>,
    agent: Arc<MemoryAgent>,
    nodes: Nodes,
    image: ImageRef,
}

fn request(parameters: serde_json::Value) -> RenderRequest {
    RenderRequest {
        parameters,
        chain_id: "chain".to_owned(),
        genesis_at: Timestamp(0),
        network: NetworkSpec { subnet: None },
        ports: BTreeMap::new(),
        public_endpoints: PublicEndpoints {
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

impl TestNetwork {
    /// Starts a network with these parameters.
    async fn new(parameters: serde_json::Value) -> Self {
        let world = World::new();
        let agent = Arc::new(MemoryAgent::connect(Arc::clone(&world), InstanceId::new()));
        let spec = Ledger.render(&request(parameters), &Secret::new([7; 32]));
        let key = ClusterKey {
            cluster: ClusterId::new(),
            generation: 1,
        };
        let image = agent
            .ensure_image(&ImageRequest::of(&spec.nodes[0].images))
            .await
            .unwrap();
        let nodes = Nodes {
            agent: agent.clone(),
            key,
            spec: Arc::new(spec),
            policy: Arc::default(),
        };
        let network = Self {
            world,
            agent,
            nodes,
            image,
        };
        network
            .agent
            .ensure_network(&key, &NetworkSpec { subnet: None })
            .await
            .unwrap();
        network.start_all().await;
        network
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

    async fn assess(&self) -> (HealthState, String) {
        let observed = self
            .agent
            .observe(Scope::Cluster(self.nodes.key.cluster))
            .await
            .unwrap();
        let evidence = probe(&self.nodes, &observed).await;
        let verdict = verdict(
            &Parameters::default(),
            &evidence,
            &History::default(),
            &self.nodes.policy.cometbft,
            Timestamp(0),
        );
        (verdict.state, verdict.reason)
    }
}

fn name(node: &str) -> NodeName {
    NodeName::parse(node).unwrap()
}

/// The time of ten blocks.
const BLOCKS: Duration = Duration::from_mins(10);

#[tokio::test]
async fn blocks_come_with_time_while_enough_members_take_part() {
    let network = TestNetwork::new(parameters(4, false)).await;
    network.world.advance(BLOCKS);
    let (height, power) = network.status("v0");
    assert_eq!(power, (4, 4));
    assert!(height >= 10, "{height}");
    network.world.kill(&network.nodes.key, &name("v3"), 137);
    network.world.advance(BLOCKS);
    let (with_three, power) = network.status("v0");
    assert_eq!(power, (3, 4));
    assert!(with_three >= height + 10, "{with_three} after {height}");
    network.world.set_paused(&network.nodes.key, &name("v2"), true);
    let (stopped, _) = network.status("v0");
    network.world.advance(BLOCKS);
    assert_eq!(
        network.status("v0"),
        (stopped, (2, 4)),
        "it commits without enough members"
    );
    assert!(matches!(network.put("v0"), Answer::Refused { .. }));
    network.world.set_paused(&network.nodes.key, &name("v2"), false);
    network.world.advance(BLOCKS);
    assert!(network.status("v0").0 > stopped);
}

#[tokio::test]
async fn a_copy_is_in_its_volume_and_is_lost_with_it() {
    let network = TestNetwork::new(parameters(4, false)).await;
    let key = network.nodes.key;
    assert!(matches!(network.put("v0"), Answer::Committed { .. }));
    assert_eq!(network.get("v3").as_deref(), Some("b"), "it was not replicated");
    network
        .world
        .remove(ObjectKind::Node, &node_object_name(&key, &name("v3")));
    network
        .world
        .remove(ObjectKind::Volume, &volume_name(&key, &name("v3"), "data"));
    network.start(&name("v3")).await;
    assert_eq!(network.get("v3").as_deref(), Some("b"), "it did not catch up");
    network.world.advance(BLOCKS);
    for node in ["v0", "v1", "v2", "v3"] {
        network
            .world
            .remove(ObjectKind::Node, &node_object_name(&key, &name(node)));
        network
            .world
            .remove(ObjectKind::Volume, &volume_name(&key, &name(node), "data"));
    }
    network.start_all().await;
    assert_eq!(
        (network.status("v0").0, network.get("v0")),
        (0, None),
        "a ledger without any copy starts from nothing"
    );
}

#[tokio::test]
async fn the_verdict_follows_the_behavior_of_the_nodes() {
    let network = TestNetwork::new(parameters(4, false)).await;
    let key = network.nodes.key;
    network.world.advance(BLOCKS);
    assert_eq!(network.assess().await.0, HealthState::Healthy);
    let set = |node: &str, behavior: NodeBehavior| network.world.set_behavior(&key, &name(node), behavior);
    set(
        "v1",
        NodeBehavior {
            unresponsive: true,
            ..NodeBehavior::default()
        },
    );
    let (state, reason) = network.assess().await;
    assert!(
        state == HealthState::Degraded && reason.contains("v1 is running but unresponsive"),
        "{reason}"
    );
    set(
        "v1",
        NodeBehavior {
            delay: Duration::from_secs(5),
            ..NodeBehavior::default()
        },
    );
    assert_eq!(
        network.assess().await.0,
        HealthState::Degraded,
        "a late answer is accepted"
    );
    set(
        "v1",
        NodeBehavior {
            forked: true,
            ..NodeBehavior::default()
        },
    );
    let (state, reason) = network.assess().await;
    assert!(
        state == HealthState::Broken && reason.contains("different blocks"),
        "{reason}"
    );
    set(
        "v1",
        NodeBehavior {
            stalled: true,
            ..NodeBehavior::default()
        },
    );
    let height = network.status("v1").0;
    network.world.advance(BLOCKS);
    assert_eq!(network.status("v1").0, height, "a stalled node continues");
    assert!(network.status("v0").0 > height);
    set(
        "v0",
        NodeBehavior {
            stalled: true,
            ..NodeBehavior::default()
        },
    );
    let (state, reason) = network.assess().await;
    assert!(state == HealthState::Broken && reason.contains("2/3"), "{reason}");
    // A new start resets the behavior.
    for node in ["v0", "v1"] {
        network.world.kill(&key, &name(node), 1);
        network.start(&name(node)).await;
    }
    network.world.advance(BLOCKS);
    assert_eq!(network.assess().await.0, HealthState::Healthy);
    network.world.remove(ObjectKind::Network, &network_name(&key));
    assert_eq!(
        network.assess().await.0,
        HealthState::Broken,
        "nodes without a network take part"
    );
}

#[tokio::test]
async fn a_staged_ledger_admits_its_nodes_and_an_amended_ledger_the_new_ones() {
    let mut network = TestNetwork::new(parameters(2, true)).await;
    network.world.advance(BLOCKS);
    assert_eq!(network.status("v0").1, (1, 1));
    for action in ["found", "admit", "admit"] {
        Ledger.init(&network.nodes, action).await.unwrap();
    }
    assert_eq!(network.status("v1").1, (2, 2));
    assert!(Ledger.init(&network.nodes, "nonsense").await.is_err());
    let before = network.nodes.spec.clone();
    let change = |nodes| Amendment {
        request: request(parameters(nodes, true)),
        renew_certificates: false,
        previous: PreviousChange::Completed,
    };
    let after = Ledger.amend(&before, &change(4), &Secret::new([8; 32])).unwrap();
    assert_eq!(after.nodes[..2], before.nodes[..], "untouched nodes changed");
    assert!(
        after.boot.contains(&Boot::Init("admit".to_owned())),
        "{:?}",
        after.boot
    );
    assert!(Ledger.amend(&before, &change(1), &Secret::new([8; 32])).is_err());
    network.nodes.spec = Arc::new(after);
    network.start_all().await;
    Ledger.init(&network.nodes, "admit").await.unwrap();
    assert_eq!(network.status("v3").1, (4, 4));
    let proof = Ledger.prove(&network.nodes).await.unwrap();
    assert_ne!(proof.written_to, proof.read_from);
}

#[tokio::test]
async fn faults_apply_to_their_scripted_calls_only() {
    let network = TestNetwork::new(parameters(1, false)).await;
    let observe = async || network.agent.observe(Scope::Host).await;
    let before = observe().await.unwrap();
    for (fault, error) in [
        (Fault::Unreachable, "Unreachable"),
        (Fault::Busy, "Busy"),
        (Fault::Refused("no".to_owned()), "Refused"),
        (Fault::AnswerLost, "Unreachable"),
    ] {
        network.world.next(Verb::Observe, fault.clone());
        let answer = observe().await;
        assert!(
            answer
                .as_ref()
                .is_err_and(|found| format!("{found:?}").starts_with(error)),
            "{fault:?}: {answer:?}"
        );
        assert_eq!(
            observe().await.unwrap(),
            before,
            "{fault:?} applied to a second call"
        );
    }
    network.world.always(Verb::Observe, Some(Fault::Hang));
    let mut hanging = pin!(observe());
    for _ in 0..10 {
        assert!(futures::poll!(hanging.as_mut()).is_pending(), "it does not hang");
        tokio::task::yield_now().await;
    }
    network.world.always(Verb::Observe, None);
    assert_eq!(
        hanging.await.unwrap(),
        before,
        "a hanging call does not happen when the fault is cleared"
    );
    network.world.set_stale(true);
    network
        .agent
        .drop_cluster(network.nodes.key.cluster, 1)
        .await
        .unwrap();
    assert_eq!(observe().await.unwrap(), before, "the listing is fresh");
    network.world.set_stale(false);
    assert!(observe().await.unwrap().objects.is_empty());
    network.world.set_reachable(false);
    assert!(matches!(observe().await, Err(Error::Unreachable(_))));
    assert_eq!(network.world.calls(Verb::Observe), 13);
}

#[tokio::test]
async fn a_call_with_a_lost_answer_has_happened() {
    let network = TestNetwork::new(parameters(1, false)).await;
    network.world.next(Verb::DropCluster, Fault::AnswerLost);
    assert!(
        network
            .agent
            .drop_cluster(network.nodes.key.cluster, 1)
            .await
            .is_err()
    );
    assert!(
        network
            .agent
            .observe(Scope::Host)
            .await
            .unwrap()
            .objects
            .is_empty()
    );
}

#[tokio::test]
async fn a_snapshot_is_independent() {
    let network = TestNetwork::new(parameters(4, false)).await;
    assert!(matches!(network.put("v0"), Answer::Committed { .. }));
    let copy = network.world.snapshot();
    network
        .agent
        .drop_cluster(network.nodes.key.cluster, 1)
        .await
        .unwrap();
    let agent = MemoryAgent::connect(Arc::clone(&copy), InstanceId::new());
    assert_eq!(
        agent.probe().await.unwrap().engine_id,
        network.agent.probe().await.unwrap().engine_id
    );
    copy.advance(BLOCKS);
    let asked = copy.ask(&network.nodes.key, &name("v2"), &Request::Status);
    assert!(
        matches!(asked, Some(Answer::Status { height, power: (4, 4), .. }) if height >= 10),
        "{asked:?}"
    );
}
