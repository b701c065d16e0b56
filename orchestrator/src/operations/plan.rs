//! Planning: from an operation to its steps. Pure: the same operation and nodes give the same plan.
//!
//! Steps of one phase run concurrently, phases one after the other. Every step may run twice: the journal
//! records what may have happened, the platform reports what exists.

use chainpool_agent::{Boot, NodeName};
use chainpool_api::{Fill, OperationKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One idempotent action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(crate) enum Action {
    /// Remove all objects of a cluster up to and including a generation.
    Drop {
        /// The cluster; by default that of the operation.
        cluster: Option<Uuid>,
        /// The last generation to remove.
        through: u32,
    },
    /// Resolve and pin an image for every node and job without one.
    Image,
    /// Create the network.
    Network,
    /// Create, adopt or replace a node, and start or stop it.
    Node {
        /// The node.
        node: NodeName,
        /// Running, or only present.
        on: bool,
    },
    /// Restart a node's process.
    Restart {
        /// The node.
        node: NodeName,
    },
    /// Check that the nodes' volumes exist before any node starts: a ledger must not restart from nothing
    /// under its holder.
    Volumes,
    /// Run a job to completion, once per spec hash.
    Job {
        /// The job.
        job: NodeName,
    },
    /// Wait until each of these nodes responds.
    Answer {
        /// The nodes.
        nodes: Vec<NodeName>,
    },
    /// Run an action of the network type over the nodes' own ports.
    Init {
        /// The name of the action.
        action: String,
    },
    /// Wait until the ledger is healthy.
    Settle,
    /// Commit a transaction and read it back.
    Prove,
    /// Wait for the child operations.
    Children,
    /// Remove all objects of this instance on the host, known or not.
    Sweep,
}

impl Action {
    /// Returns `true` if the action changes the platform, which continues even if nobody waits for it.
    pub(crate) fn changes_platform(&self) -> bool {
        match self {
            Self::Drop { .. }
            | Self::Network
            | Self::Node { .. }
            | Self::Restart { .. }
            | Self::Job { .. }
            | Self::Sweep => true,
            Self::Image
            | Self::Volumes
            | Self::Answer { .. }
            | Self::Init { .. }
            | Self::Settle
            | Self::Prove
            | Self::Children => false,
        }
    }
}

/// A step that is not journaled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) phase: u32,
    pub(crate) title: String,
    pub(crate) action: Action,
}

/// The input of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The kind of operation.
    pub(crate) kind: OperationKind,
    /// The cluster's generation after the operation.
    pub(crate) generation: u32,
    /// The cluster's nodes.
    pub(crate) nodes: Vec<NodeName>,
    /// The boot phases.
    pub(crate) boot: Vec<Boot>,
    /// The accepted arguments.
    pub(crate) arguments: Arguments,
}

/// The arguments of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Arguments {
    /// Only this node.
    pub(crate) node: Option<NodeName>,
    /// Nodes to start.
    pub(crate) start: Vec<NodeName>,
    /// Nodes to restart.
    pub(crate) restart: Vec<NodeName>,
    /// End with a proof.
    pub(crate) prove: bool,
    /// Unclaimed clusters to remove.
    pub(crate) adopt: Vec<Uuid>,
    /// The clusters that a fillup has still to accept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fill: Vec<FillRest>,
}

/// Clusters of one fill entry that are still to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FillRest {
    /// The entry.
    pub(crate) entry: Fill,
    /// The number of clusters.
    pub(crate) count: usize,
}

impl Arguments {
    /// Reads stored arguments. Unreadable ones are an error: without them the restart of one node would be the
    /// restart of its cluster.
    pub(crate) fn read(stored: &serde_json::Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(stored)
    }
}

/// The network may be missing: engine cleanup removes networks that no running container uses.
const CHECK_NETWORK: &str = "ensure the network exists";

/// A node without its volumes starts from nothing.
const CHECK_VOLUMES: &str = "check the nodes' volumes";

struct Plan(Vec<Planned>, u32);

impl Plan {
    fn add(&mut self, title: impl Into<String>, action: Action) {
        self.0.push(Planned {
            phase: self.1,
            title: title.into(),
            action,
        });
    }

    fn then(&mut self) {
        self.1 += 1;
    }
}

/// The steps of an operation.
pub(crate) fn plan(subject: &Subject) -> Vec<Planned> {
    let Subject {
        kind,
        generation,
        nodes,
        boot: phases,
        arguments,
    } = subject;
    let mut plan = Plan(Vec::new(), 0);
    let chosen: Vec<NodeName> = arguments
        .node
        .clone()
        .map_or_else(|| nodes.clone(), |node| vec![node]);
    match kind {
        // A first generation has no predecessor.
        OperationKind::ClusterCreate if *generation == 1 => boot(&mut plan, phases),
        OperationKind::ClusterCreate | OperationKind::ClusterReset => {
            // Remove the new generation too: after a restore the platform may already hold one with that
            // number.
            plan.add(
                "remove the previous generation",
                Action::Drop {
                    cluster: None,
                    through: *generation,
                },
            );
            plan.then();
            boot(&mut plan, phases);
        }
        OperationKind::ClusterDelete => plan.add(
            "remove all objects",
            Action::Drop {
                cluster: None,
                through: *generation,
            },
        ),
        OperationKind::ClusterStart => {
            plan.add(CHECK_VOLUMES, Action::Volumes);
            plan.then();
            plan.add(CHECK_NETWORK, Action::Network);
            plan.then();
            chosen.iter().for_each(|node| {
                plan.add(
                    format!("start {node}"),
                    Action::Node {
                        node: node.clone(),
                        on: true,
                    },
                );
            });
            plan.then();
            plan.add("wait for the nodes to respond", Action::Answer { nodes: chosen });
        }
        OperationKind::ClusterStop => {
            chosen.iter().for_each(|node| {
                plan.add(
                    format!("stop {node}"),
                    Action::Node {
                        node: node.clone(),
                        on: false,
                    },
                );
            });
        }
        OperationKind::ClusterRestart => {
            chosen
                .iter()
                .for_each(|node| plan.add(format!("restart {node}"), Action::Restart { node: node.clone() }));
            plan.then();
            plan.add("wait for the nodes to respond", Action::Answer { nodes: chosen });
        }
        // The phases of an amended spec lead from the previous spec to the new one.
        OperationKind::ClusterAmend => boot(&mut plan, phases),
        OperationKind::ClusterRepair => repair(&mut plan, arguments),
        OperationKind::ClusterProve => plan.add("commit a transaction and read it back", Action::Prove),
        OperationKind::HostFillup => plan.add("create the clusters", Action::Children),
        OperationKind::HostClean => plan.add("delete the free clusters", Action::Children),
        OperationKind::HostReset => {
            plan.add("delete the clusters", Action::Children);
            plan.then();
            plan.add("remove all other labelled objects", Action::Sweep);
        }
        OperationKind::HostAdopt => arguments.adopt.iter().for_each(|id| {
            plan.add(
                format!("remove unclaimed cluster {id}"),
                Action::Drop {
                    cluster: Some(*id),
                    through: u32::MAX,
                },
            );
        }),
        OperationKind::LeaseApply => {}
    }
    plan.0
}

fn boot(plan: &mut Plan, phases: &[Boot]) {
    plan.add("resolve the images", Action::Image);
    plan.add("create the network", Action::Network);
    plan.then();
    for phase in phases {
        match phase {
            Boot::Start(nodes) => {
                nodes.iter().for_each(|node| {
                    plan.add(
                        format!("create and start {node}"),
                        Action::Node {
                            node: node.clone(),
                            on: true,
                        },
                    );
                });
            }
            Boot::Ready(nodes) => plan.add(
                "wait for the nodes to respond",
                Action::Answer { nodes: nodes.clone() },
            ),
            Boot::Init(action) => plan.add(
                format!("set up {action}"),
                Action::Init {
                    action: action.clone(),
                },
            ),
            Boot::Job(job) => plan.add(
                format!("run {job} to completion"),
                Action::Job { job: job.clone() },
            ),
        }
        plan.then();
    }
    plan.add("wait for all nodes to join", Action::Settle);
    plan.add("commit a transaction and read it back", Action::Prove);
}

fn repair(plan: &mut Plan, arguments: &Arguments) {
    if !arguments.start.is_empty() {
        plan.add(CHECK_VOLUMES, Action::Volumes);
        plan.then();
        plan.add(CHECK_NETWORK, Action::Network);
        plan.then();
    }
    arguments.start.iter().for_each(|node| {
        plan.add(
            format!("start {node}"),
            Action::Node {
                node: node.clone(),
                on: true,
            },
        );
    });
    arguments
        .restart
        .iter()
        .for_each(|node| plan.add(format!("restart {node}"), Action::Restart { node: node.clone() }));
    if arguments.prove {
        plan.then();
        plan.add("wait for all nodes to join", Action::Settle);
        plan.add("commit a transaction and read it back", Action::Prove);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(count: usize) -> Vec<NodeName> {
        (0..count)
            .map(|i| NodeName::parse(&format!("v{i}")).expect("a node name"))
            .collect()
    }

    fn subject(kind: OperationKind, count: usize) -> Subject {
        let boot = vec![Boot::Start(nodes(count))];
        Subject {
            kind,
            generation: 2,
            nodes: nodes(count),
            boot,
            arguments: Arguments::default(),
        }
    }

    #[test]
    fn unreadable_arguments_are_an_error() {
        let read = |stored| Arguments::read(&stored).map(|arguments| arguments.node);
        let v1 = NodeName::parse("v1").expect("a node name");
        assert_eq!(
            read(serde_json::json!({"node": "v1"})).expect("arguments"),
            Some(v1)
        );
        assert_eq!(read(serde_json::json!({})).expect("arguments"), None);
        for unreadable in [
            serde_json::json!({"node": 1}),
            serde_json::json!({"nodes": ["v1"]}),
            serde_json::json!("v1"),
            serde_json::json!(null),
        ] {
            assert!(read(unreadable.clone()).is_err(), "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn planning_is_deterministic(kind in proptest::sample::select(OperationKind::ALL), count in 1usize..17) {
            let subject = subject(kind, count);
            prop_assert_eq!(plan(&subject), plan(&subject));
        }

        #[test]
        fn phases_are_in_order(kind in proptest::sample::select(OperationKind::ALL), count in 1usize..17) {
            let phases: Vec<u32> = plan(&subject(kind, count)).iter().map(|p| p.phase).collect();
            prop_assert!(phases.windows(2).all(|w| w[0] <= w[1]));
        }
    }

    #[test]
    fn a_reset_removes_the_previous_generation_before_creating_the_next() {
        let steps = plan(&subject(OperationKind::ClusterReset, 4));
        assert_eq!(
            steps[0].action,
            Action::Drop {
                cluster: None,
                through: 2
            }
        );
        assert!(steps[1..].iter().all(|s| s.phase > 0));
        assert_eq!(steps.last().map(|s| &s.action), Some(&Action::Prove));
    }

    #[test]
    fn each_boot_phase_waits_for_the_previous_one() {
        let [first, second] = [nodes(2), nodes(4).split_off(2)];
        let boot = vec![
            Boot::Start(first.clone()),
            Boot::Ready(first.clone()),
            Boot::Start(second),
        ];
        let steps = plan(&Subject {
            generation: 1,
            boot,
            ..subject(OperationKind::ClusterCreate, 4)
        });
        let place = |wanted: &Action| {
            steps
                .iter()
                .find(|s| s.action == *wanted)
                .map(|s| s.phase)
                .expect("it is planned")
        };
        let started = |name: &str| {
            place(&Action::Node {
                node: NodeName::parse(name).expect("a node name"),
                on: true,
            })
        };
        let answered = place(&Action::Answer { nodes: first });
        assert!(
            place(&Action::Network) < started("v0") && started("v1") < answered && answered < started("v2")
        );
        assert!(started("v3") < place(&Action::Prove));
    }

    #[test]
    fn a_job_runs_in_its_phase_at_each_boot_only() {
        let job = NodeName::parse("setup").expect("a node name");
        let boot = vec![Boot::Job(job.clone()), Boot::Start(nodes(2))];
        let runs = Action::Job { job };
        for kind in OperationKind::ALL {
            let steps = plan(&Subject {
                boot: boot.clone(),
                ..subject(*kind, 2)
            });
            let place = |wanted: &Action| steps.iter().find(|s| s.action == *wanted).map(|s| s.phase);
            let boots = matches!(
                kind,
                OperationKind::ClusterCreate | OperationKind::ClusterReset | OperationKind::ClusterAmend
            );
            assert_eq!(place(&runs).is_some(), boots, "{kind}");
            if boots {
                let started = place(&Action::Node {
                    node: nodes(1)[0].clone(),
                    on: true,
                });
                assert!(
                    place(&Action::Image) < place(&runs) && place(&runs) < started,
                    "{steps:?}"
                );
            }
        }
        assert!(runs.changes_platform());
    }

    #[test]
    fn no_node_starts_before_its_volumes_are_checked() {
        let start = Arguments {
            start: nodes(1),
            ..Arguments::default()
        };
        for (kind, arguments) in [
            (OperationKind::ClusterStart, Arguments::default()),
            (OperationKind::ClusterRepair, start),
        ] {
            let steps = plan(&Subject {
                arguments,
                ..subject(kind, 4)
            });
            let seen = steps
                .iter()
                .find(|s| s.action == Action::Volumes)
                .expect("it is planned")
                .phase;
            assert!(
                steps
                    .iter()
                    .filter(|s| s.action != Action::Volumes)
                    .all(|s| s.phase > seen),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn a_single_node_can_be_restarted() {
        let mut subject = subject(OperationKind::ClusterRestart, 4);
        subject.arguments.node = Some(nodes(3)[2].clone());
        let steps = plan(&subject);
        assert_eq!(steps.len(), 2);
        assert_eq!(
            steps[0].action,
            Action::Restart {
                node: nodes(3)[2].clone()
            }
        );
    }
}
