//! A cluster on a host in virtual time, with its record, its operations and its platform, for tests.
//!
//! The world performs what the machines ask for, as the orchestrator does, and checks after each step what must
//! always hold.

mod ledger;
mod operation;

pub use ledger::{ScriptedLedger, SimulatedLedger};

use crate::{
    Cluster, ClusterHealth, Effect, Evidence, HealthPolicy, Host, HostAvailability, HostEffect, HostInput,
    HostReport, Input, Inventory, NodeExit, NodeReport, Probed, Record, host_step, millis, step,
};
use chainpool_api::{HealthState, HostState, OperationKind, ProcessState, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Step of the virtual clock.
const STEP: i64 = 50;

/// A simulated node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedNode {
    /// Its process.
    pub process: ProcessState,
    /// It responds when it runs and the host does.
    pub responds: bool,
    /// It makes no progress.
    pub stalled: bool,
    /// The number of probes to which it responds too late.
    pub late: u32,
}

impl SimulatedNode {
    fn running() -> Self {
        Self {
            process: ProcessState::Running,
            responds: true,
            stalled: false,
            late: 0,
        }
    }

    /// `true` if it takes part in its ledger.
    pub fn takes_part(&self) -> bool {
        self.process.is_running() && self.responds && !self.stalled
    }
}

/// How the platform of the host behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// It responds.
    Up,
    /// It responds and cannot list its objects.
    Busy,
    /// It responds and lists its objects only when it is up again.
    Slow,
    /// It does not respond, and neither do the nodes.
    Down,
}

/// An event in a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Another health was recorded.
    Recorded(HealthState, String),
    /// Nodes were started and restarted.
    Repaired {
        /// Started nodes.
        start: BTreeSet<String>,
        /// Restarted nodes.
        restart: BTreeSet<String>,
    },
    /// A proof was requested.
    Proved,
    /// The cluster was reset, for this reason.
    Reset(String),
    /// The host's state changed.
    Host(HostState),
}

/// An operation in progress.
struct Operation {
    kind: OperationKind,
    ends_at: Timestamp,
    nodes: BTreeSet<String>,
}

/// A cluster on a host in virtual time.
pub struct World<L> {
    /// The current time.
    pub now: Timestamp,
    /// The nodes as they are.
    pub nodes: BTreeMap<String, SimulatedNode>,
    /// The host's platform.
    pub engine: Engine,
    /// Nodes start on request; `false`: an image is missing.
    pub nodes_start: bool,
    /// The record of the cluster.
    pub record: Record,
    /// The machine of the cluster.
    pub cluster: Cluster,
    /// The machine of the host.
    pub host: Host,
    /// Everything that happened, with its time in milliseconds since the start.
    pub log: Vec<(i64, Event)>,
    policy: HealthPolicy,
    ledger: L,
    listed: BTreeMap<String, ProcessState>,
    operation: Option<Operation>,
    probes: BTreeSet<Timestamp>,
    host_record: HostState,
    started: Timestamp,
    repaired_at: Option<Timestamp>,
    awaits_list: bool,
}

impl<L: SimulatedLedger> World<L> {
    /// A healthy free cluster with this many nodes on a host that has been available for long.
    pub fn new(nodes: usize, ledger: L, policy: &HealthPolicy) -> Self {
        let start = Timestamp(1_795_000_000_000);
        let nodes: BTreeMap<String, SimulatedNode> = (0..nodes)
            .map(|n| (format!("v{n}"), SimulatedNode::running()))
            .collect();
        let mut world = Self {
            now: start,
            listed: BTreeMap::new(),
            nodes,
            engine: Engine::Up,
            nodes_start: true,
            record: Record {
                health: HealthState::Healthy,
                stopped: false,
                leased: false,
                maintenance: false,
                paused: false,
                operation: None,
                stopped_nodes: BTreeSet::new(),
                started_at: Timestamp(0),
                fault: None,
            },
            cluster: Cluster::default(),
            host: Host::default(),
            log: vec![],
            policy: policy.clone(),
            ledger,
            operation: None,
            probes: BTreeSet::new(),
            host_record: HostState::Active,
            started: start,
            repaired_at: None,
            awaits_list: false,
        };
        world.run_for(policy.assessment.full_pass_interval * 2 + policy.host.settle);
        assert_eq!(world.cluster.health(), ClusterHealth::Healthy, "{:?}", world.log);
        world.log.clear();
        world.started = world.now;
        world
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = Timestamp(self.now.0 + millis(time));
        while self.now < end {
            self.tick();
            self.now.0 += STEP;
        }
    }

    /// Lets time pass until this holds, for at most 20 minutes.
    pub fn run_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = self.now.plus_seconds(20 * 60);
        while !holds(self) {
            assert!(self.now < end, "{what} never happens: {:?}", self.log);
            self.tick();
            self.now.0 += STEP;
        }
    }

    /// Ends the process of a node. The platform reports it at once, if it can.
    pub fn exit(&mut self, node: &str, code: i64) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.process = ProcessState::Exited(code);
        }
        if self.engine == Engine::Up {
            let exit = NodeExit {
                node: node.to_owned(),
                code,
                at: self.now,
            };
            self.input(Input::NodeExited(exit));
        }
    }

    /// The platform goes down with all its nodes.
    pub fn engine_stops(&mut self) {
        for name in self.names() {
            self.exit(&name, 137);
        }
        self.engine = Engine::Down;
    }

    /// The platform is up again. Its event stream was interrupted.
    pub fn engine_returns(&mut self) {
        self.engine = Engine::Up;
        self.host_input(HostInput::EventsInterrupted);
        self.assess_host();
    }

    /// The platform starts a node.
    pub fn start(&mut self, node: &str) {
        self.nodes.insert(node.to_owned(), SimulatedNode::running());
    }

    /// A node of another cluster on the host becomes responsive.
    pub fn node_of_another_cluster_up(&mut self, at: Timestamp) {
        self.host_input(HostInput::NodeUp(at));
    }

    /// The names of the nodes.
    pub fn names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// The resets in the log.
    pub fn resets(&self) -> Vec<&str> {
        let resets = self.log.iter().filter_map(|(_, event)| match event {
            Event::Reset(why) => Some(why.as_str()),
            _ => None,
        });
        resets.collect()
    }

    /// The number of repairs in the log.
    pub fn repairs(&self) -> usize {
        let repairs = self
            .log
            .iter()
            .filter(|(_, event)| matches!(event, Event::Repaired { .. }));
        repairs.count()
    }

    fn tick(&mut self) {
        if self
            .operation
            .as_ref()
            .is_some_and(|running| running.ends_at <= self.now)
            && self.engine == Engine::Up
        {
            self.operation_ends();
        }
        if self
            .now
            .0
            .rem_euclid(millis(self.policy.assessment.full_pass_interval))
            < STEP
        {
            self.assess_host();
        }
        if self.awaits_list && self.engine == Engine::Up {
            self.awaits_list = false;
            self.list();
            self.probes.insert(self.now);
        }
        let due: Vec<Timestamp> = self.probes.range(..=self.now).copied().collect();
        for at in &due {
            self.probes.remove(at);
        }
        let pass = self
            .now
            .0
            .rem_euclid(millis(self.policy.assessment.probe_interval))
            < STEP;
        if pass || !due.is_empty() {
            self.assess();
        }
    }

    /// Assesses the cluster as the orchestrator does.
    fn assess(&mut self) {
        self.record.operation = self.operation.as_ref().map(|running| running.kind);
        self.input(Input::Record(self.record.clone()));
        match self.host.availability().clone() {
            HostAvailability::Unreachable { error: reason, .. } | HostAvailability::Paused { reason } => {
                self.input(Input::Host(HostReport::Unavailable(reason)));
                return;
            }
            _ => self.input(Input::Host(HostReport::Reachable {
                quiet_since: self.host.quiet_since(),
            })),
        }
        if self.is_being_replaced() {
            return;
        }
        // At most: list, probe again, list without a limit.
        for _ in 0..4 {
            let evidence = self.probe();
            let requests = self.step(Input::Evidence(Box::new(evidence)));
            let lists = requests
                .iter()
                .any(|effect| matches!(effect, Effect::ListNow { limit: Some(_) }));
            for request in requests {
                self.perform(request);
            }
            if !lists || self.is_being_replaced() {
                break;
            }
            match self.engine {
                Engine::Up => self.list(),
                Engine::Slow => self.input(Input::Inventory(Inventory::TimedOut)),
                Engine::Busy => {
                    self.input(Input::Inventory(Inventory::Unavailable("no leader".to_owned())));
                }
                Engine::Down => {
                    self.assess_host();
                    break;
                }
            }
        }
        if let Some(at) = self.cluster.reconnected_at() {
            self.host_input(HostInput::NodeUp(at));
        }
    }

    fn list(&mut self) {
        let listed = self
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), node.process.clone()));
        self.listed = listed.collect();
        self.input(Input::Inventory(Inventory::Current));
    }

    fn is_being_replaced(&self) -> bool {
        self.operation
            .as_ref()
            .is_some_and(|running| running.kind == OperationKind::ClusterReset)
    }

    /// Asks the nodes, as far as the inventory says that they run.
    fn probe(&mut self) -> Evidence {
        let exited: BTreeSet<&str> = self
            .cluster
            .exits()
            .within(self.policy.assessment.inventory_lag, self.now)
            .map(|exit| exit.node.as_str())
            .collect();
        let report = |(name, node): (&String, &SimulatedNode)| {
            let known = self.listed.get(name).cloned().unwrap_or_default();
            let process = if exited.contains(name.as_str()) {
                ProcessState::Exited(137)
            } else {
                known
            };
            let reachable = self.engine != Engine::Down && process.is_running() && node.process.is_running();
            let report = NodeReport {
                answers: reachable && node.responds && !node.stalled && node.late == 0,
                stalled: reachable && node.stalled,
                process,
            };
            (name.clone(), report)
        };
        let nodes: BTreeMap<String, NodeReport> = self.nodes.iter().map(report).collect();
        for node in self.nodes.values_mut() {
            node.late = node.late.saturating_sub(1);
        }
        let history = self.cluster.history(&nodes, self.now);
        let (verdict, progress) = self.ledger.assess(&nodes, &history, &self.policy, self.now);
        Evidence {
            nodes,
            verdict,
            progress,
            saturated: false,
            fault: None,
            lost: None,
            crash_loop: None,
        }
    }

    /// Gives the cluster's machine an input and performs what it asks for, except listings and probes.
    fn input(&mut self, input: Input) {
        for effect in self.step(input) {
            self.perform(effect);
        }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let (cluster, effects) = step(self.cluster.clone(), input, &self.policy, self.now);
        self.cluster = cluster;
        if self.cluster.health() == ClusterHealth::Healthy {
            assert!(
                self.cluster.is_clear(),
                "healthy, and something counts: {:?}",
                self.cluster
            );
        }
        effects
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Record { verdict, .. } => {
                if self.record.health != verdict.state {
                    self.log(Event::Recorded(verdict.state, verdict.reason));
                }
                self.record.health = verdict.state;
            }
            Effect::Repair { start, restart } => {
                let nodes = start.union(&restart).cloned().collect();
                self.log(Event::Repaired {
                    start,
                    restart: restart.clone(),
                });
                self.repair(nodes, !restart.is_empty());
            }
            Effect::Prove => {
                self.log(Event::Proved);
                self.repair(BTreeSet::new(), false);
            }
            Effect::Reset(why) => self.reset(why),
            Effect::ListNow { limit: None } => self.awaits_list = true,
            Effect::ListNow { limit: Some(_) } => {}
            Effect::ProbeAgain { after } => {
                if !after.is_zero() {
                    self.probes.insert(Timestamp(self.now.0 + millis(after)));
                }
            }
        }
    }

    fn assess_host(&mut self) {
        let probed = match self.engine {
            Engine::Up | Engine::Slow => Probed::Reported,
            Engine::Busy => Probed::Busy {
                reason: "no leader".to_owned(),
            },
            Engine::Down => Probed::Failed {
                error: "no route".to_owned(),
            },
        };
        self.host_input(HostInput::Probed(probed));
    }

    fn host_input(&mut self, input: HostInput) {
        let (host, effects) = host_step(self.host.clone(), input, &self.policy, self.now);
        self.host = host;
        for effect in effects {
            match effect {
                HostEffect::Record { state, .. } => {
                    if self.host_record != state {
                        self.host_record = state;
                        self.log(Event::Host(state));
                    }
                }
                HostEffect::AssessClusters => self.assess(),
            }
        }
    }

    fn log(&mut self, event: Event) {
        self.log.push((self.now.millis_since(self.started), event));
    }
}
