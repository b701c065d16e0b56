//! From an operation to its steps. Pure: the same operation and the same nodes give the same plan.
//!
//! Steps of one phase run at once, phases one after the other. Every step may run twice: the journal says which may
//! have happened, the platform says what is.

use chainpool_agent::{Boot, NodeName};
use chainpool_api::OperationKind;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One idempotent thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(crate) enum Action {
    /// Remove everything of a cluster up to and including a generation.
    Drop {
        /// The cluster; the operation's own when absent.
        cluster: Option<Uuid>,
        /// The last generation to go.
        through: u32,
    },
    /// Find an image for every node and job that has none and pin it.
    Image,
    /// Make the network.
    Network,
    /// Make, adopt or replace a node and bring it to a power.
    Node {
        /// Which.
        node: NodeName,
        /// Running, or only there.
        on: bool,
    },
    /// End a node's present life and begin another.
    Restart {
        /// Which.
        node: NodeName,
    },
    /// See that what the nodes keep is still there, before any of them is started: a ledger must not begin again under its holder.
    Volumes,
    /// Run a job to its end, once for its hash.
    Job {
        /// Which.
        job: NodeName,
    },
    /// Wait until each of these answers for itself.
    Answer {
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// Have the network's type perform an action over the nodes' own ports.
    Init {
        /// Its name for it.
        action: String,
    },
    /// Wait until the ledger's evidence says healthy.
    Settle,
    /// Commit a transaction and read it back.
    Prove,
    /// Wait for the operations that are parts of this one.
    Children,
    /// Remove everything of this instance on the host, known or not.
    Sweep,
}

impl Action {
    /// Whether it asks the platform to make, change or remove something, which goes on there when nobody waits for it.
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

/// A step before it is journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) phase: u32,
    pub(crate) title: String,
    pub(crate) action: Action,
}

/// What a plan is made from.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What shall be done.
    pub(crate) kind: OperationKind,
    /// The cluster's generation after it.
    pub(crate) generation: u32,
    /// The cluster's nodes.
    pub(crate) nodes: Vec<NodeName>,
    /// How they come up.
    pub(crate) boot: Vec<Boot>,
    /// The arguments that were accepted.
    pub(crate) arguments: Arguments,
}

/// What an operation was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Arguments {
    /// Only this node.
    pub(crate) node: Option<NodeName>,
    /// Nodes to bring back.
    pub(crate) start: Vec<NodeName>,
    /// Nodes to restart.
    pub(crate) restart: Vec<NodeName>,
    /// End with a proof.
    pub(crate) prove: bool,
    /// Unclaimed clusters to remove.
    pub(crate) adopt: Vec<Uuid>,
}

/// What nodes are started on may be gone: whoever tidies up an engine removes networks that no running container uses.
const LOOK_FOR_NETWORK: &str = "see that the network is there";

/// A node that is started without its volumes begins from nothing.
const LOOK_FOR_VOLUMES: &str = "see that the nodes' data is there";

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
        // A first generation had no place before.
        OperationKind::ClusterCreate if *generation == 1 => boot(&mut plan, phases),
        OperationKind::ClusterCreate | OperationKind::ClusterReset => {
            // The new generation goes too: after a restore the platform may hold one of that number already.
            plan.add(
                "remove the old generation",
                Action::Drop {
                    cluster: None,
                    through: *generation,
                },
            );
            plan.then();
            boot(&mut plan, phases);
        }
        OperationKind::ClusterDelete => plan.add(
            "remove everything",
            Action::Drop {
                cluster: None,
                through: *generation,
            },
        ),
        OperationKind::ClusterStart => {
            plan.add(LOOK_FOR_VOLUMES, Action::Volumes);
            plan.then();
            plan.add(LOOK_FOR_NETWORK, Action::Network);
            plan.then();
            chosen.iter().for_each(|node| {
                plan.add(
                    format!("start {node}"),
                    Action::Node {
                        node: node.clone(),
                        on: true,
                    },
                )
            });
            plan.then();
            plan.add("wait until the nodes answer", Action::Answer { nodes: chosen });
        }
        OperationKind::ClusterStop => {
            chosen.iter().for_each(|node| {
                plan.add(
                    format!("stop {node}"),
                    Action::Node {
                        node: node.clone(),
                        on: false,
                    },
                )
            });
        }
        OperationKind::ClusterRestart => {
            chosen
                .iter()
                .for_each(|node| plan.add(format!("restart {node}"), Action::Restart { node: node.clone() }));
            plan.then();
            plan.add("wait until the nodes answer", Action::Answer { nodes: chosen });
        }
        // The phases of an amended spec lead there from the one before.
        OperationKind::ClusterAmend => boot(&mut plan, phases),
        OperationKind::ClusterRepair => repair(&mut plan, arguments),
        OperationKind::ClusterProve => plan.add("commit a transaction and read it back", Action::Prove),
        OperationKind::HostFillup => plan.add("make the clusters", Action::Children),
        OperationKind::HostClean => plan.add("delete the free clusters", Action::Children),
        OperationKind::HostReset => {
            plan.add("delete the clusters", Action::Children);
            plan.then();
            plan.add("remove what else carries our label", Action::Sweep);
        }
        OperationKind::HostAdopt => arguments.adopt.iter().for_each(|id| {
            plan.add(
                format!("remove unclaimed cluster {id}"),
                Action::Drop {
                    cluster: Some(*id),
                    through: u32::MAX,
                },
            )
        }),
        OperationKind::LeaseApply => {}
    }
    plan.0
}

fn boot(plan: &mut Plan, phases: &[Boot]) {
    plan.add("find the images", Action::Image);
    plan.add("make the network", Action::Network);
    plan.then();
    for phase in phases {
        match phase {
            Boot::Start(nodes) => {
                nodes.iter().for_each(|node| {
                    plan.add(
                        format!("make and start {node}"),
                        Action::Node {
                            node: node.clone(),
                            on: true,
                        },
                    )
                });
            }
            Boot::Ready(nodes) => plan.add(
                "wait until the nodes answer",
                Action::Answer { nodes: nodes.clone() },
            ),
            Boot::Init(action) => plan.add(
                format!("set up {action}"),
                Action::Init {
                    action: action.clone(),
                },
            ),
            Boot::Job(job) => plan.add(format!("run {job} to its end"), Action::Job { job: job.clone() }),
        }
        plan.then();
    }
    plan.add("wait until all nodes take part", Action::Settle);
    plan.add("commit a transaction and read it back", Action::Prove);
}

fn repair(plan: &mut Plan, arguments: &Arguments) {
    if !arguments.start.is_empty() {
        plan.add(LOOK_FOR_VOLUMES, Action::Volumes);
        plan.then();
        plan.add(LOOK_FOR_NETWORK, Action::Network);
        plan.then();
    }
    arguments.start.iter().for_each(|node| {
        plan.add(
            format!("start {node}"),
            Action::Node {
                node: node.clone(),
                on: true,
            },
        )
    });
    arguments
        .restart
        .iter()
        .for_each(|node| plan.add(format!("restart {node}"), Action::Restart { node: node.clone() }));
    if arguments.prove {
        plan.then();
        plan.add("wait until all nodes take part", Action::Settle);
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

    proptest! {
        #[test]
        fn planning_again_gives_the_same_plan(kind in proptest::sample::select(OperationKind::ALL), count in 1usize..17) {
            let subject = subject(kind, count);
            prop_assert_eq!(plan(&subject), plan(&subject));
        }

        #[test]
        fn phases_never_go_back(kind in proptest::sample::select(OperationKind::ALL), count in 1usize..17) {
            let phases: Vec<u32> = plan(&subject(kind, count)).iter().map(|p| p.phase).collect();
            prop_assert!(phases.windows(2).all(|w| w[0] <= w[1]));
        }
    }

    #[test]
    fn a_reset_removes_the_old_generation_before_it_makes_the_new() {
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
    fn a_boot_in_phases_waits_for_each() {
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
    fn a_job_is_run_in_its_phase_at_each_boot_and_at_no_other_time() {
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
    fn nothing_of_a_generation_is_started_before_its_data_is_seen() {
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
    fn one_node_can_be_restarted_alone() {
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
