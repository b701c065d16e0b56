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
mod tests;
