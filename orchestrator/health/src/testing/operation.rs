//! Operations in a simulated world.

use super::{Event, Operation, SimulatedLedger, SimulatedNode, World};
use crate::{Cluster, Input, millis};
use chainpool_api::{HealthState, OperationKind, Timestamp};
use std::collections::BTreeSet;

/// How long a simulated operation takes.
const DURATION: i64 = 2_000;

impl<L: SimulatedLedger> World<L> {
    pub(super) fn repair(&mut self, nodes: BTreeSet<String>, restarts: bool) {
        let since = self.repaired_at.map(|at| self.now.millis_since(at));
        let backoff = millis(self.policy.repair.backoff.initial);
        assert!(
            since.is_none_or(|since| since >= backoff),
            "two repairs within {since:?} ms: {:?}",
            self.log
        );
        assert!(self.operation.is_none(), "a repair beside an operation");
        self.repaired_at = Some(self.now);
        self.operation_starts(OperationKind::ClusterRepair, nodes, restarts);
    }

    pub(super) fn reset(&mut self, why: String) {
        assert!(!self.record.leased, "a leased cluster is reset: {:?}", self.log);
        let quiet = self.host.quiet_since().map(|since| self.now.millis_since(since));
        assert!(
            quiet.is_some_and(|quiet| quiet >= millis(self.policy.host.settle)),
            "a reset on a host that warms up: {:?}",
            self.log
        );
        // A reset begins the next generation, which has no repairs yet.
        self.repaired_at = None;
        self.log(Event::Reset(why));
        self.cluster = Cluster::default();
        self.record.health = HealthState::Starting;
        self.record.stopped_nodes = BTreeSet::new();
        self.operation_starts(
            OperationKind::ClusterReset,
            self.names().into_iter().collect(),
            false,
        );
    }

    fn operation_starts(&mut self, kind: OperationKind, nodes: BTreeSet<String>, restarts: bool) {
        self.operation = Some(Operation {
            kind,
            ends_at: Timestamp(self.now.0 + DURATION),
            nodes: nodes.clone(),
        });
        self.record.operation = Some(kind);
        self.input(Input::OperationStarted {
            kind,
            repairs: nodes,
            restarts,
        });
    }

    pub(super) fn operation_ends(&mut self) {
        let Some(Operation { kind, nodes, .. }) = self.operation.take() else {
            return;
        };
        self.record.operation = None;
        for node in &nodes {
            let starts = self.nodes_start || kind == OperationKind::ClusterReset;
            if starts && !self.record.stopped_nodes.contains(node) {
                self.start(node);
            }
        }
        // An operation waits until the ledger is healthy, and then proves it; a repair of a leased cluster does not.
        let leased_repair = self.record.leased && kind == OperationKind::ClusterRepair;
        let takes_part = |(name, node): (&String, &SimulatedNode)| {
            node.takes_part() || self.record.stopped_nodes.contains(name)
        };
        let proven = self.nodes.iter().all(takes_part) && !leased_repair;
        if proven || leased_repair {
            self.record.started_at = self.now;
        }
        if proven {
            self.record.health = HealthState::Healthy;
            self.log(Event::Recorded(HealthState::Healthy, "proven".to_owned()));
        }
        self.input(Input::OperationEnded {
            at: self.now,
            kind,
            proven,
            blocked: false,
        });
        self.record.operation = None;
        self.input(Input::Record(self.record.clone()));
    }
}
