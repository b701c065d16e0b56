//! The machines of a swarm.

use super::manager::Manager;
use bollard::models::{Node, NodeSpecAvailabilityEnum as Availability, NodeState};
use chainpool_agent::{Error, Machine, Result};
use std::net::IpAddr;

/// A machine and its current state in the swarm.
#[derive(Debug, Clone)]
pub(super) struct MachineState {
    pub(super) machine: Machine,
    /// The reason why the machine is unreachable.
    pub(super) unreachable: Option<String>,
}

impl Manager<'_> {
    pub(super) async fn machines(&self) -> Result<Vec<MachineState>> {
        let docker = self.docker().await?;
        let nodes = self
            .call(docker.list_nodes(None::<bollard::query_parameters::ListNodesOptions>))
            .await
            .map_err(|f| f.into_error("list its machines"))?;
        let mut machines: Vec<_> = nodes.into_iter().map(MachineState::from).collect();
        machines.sort_by(|a, b| (&a.machine.name, &a.machine.id).cmp(&(&b.machine.name, &b.machine.id)));
        Ok(machines)
    }

    /// The machine of a node: the one in its spec, else a stable choice while the swarm has the same
    /// machines.
    pub(super) async fn machine_of(&self, wanted: Option<&str>, object: &str) -> Result<MachineState> {
        let all = self.machines().await?;
        let found = match wanted {
            Some(id) => all.into_iter().find(|state| state.machine.id == id),
            None => all
                .into_iter()
                .filter(MachineState::is_schedulable)
                .max_by_key(|state| weight(object, &state.machine.id)),
        };
        found.ok_or_else(|| match wanted {
            Some(id) => Error::Refused(format!(
                "{object}: machine {id} is no longer in the swarm: reset the cluster to create it elsewhere"
            )),
            None => Error::Busy(
                "no schedulable machine in the swarm: all are drained or paused; activate one".to_owned(),
            ),
        })
    }
}

impl MachineState {
    /// Returns true if the swarm would schedule services there when the machine is up.
    fn is_schedulable(&self) -> bool {
        self.machine.closed.is_none() || self.unreachable.is_some()
    }

    /// Fails with the reason if the machine is unreachable.
    pub(super) fn require_reachable(&self, doing: &str) -> Result<()> {
        match &self.unreachable {
            Some(why) => Err(Error::Busy(format!("{doing}: {why}"))),
            None => Ok(()),
        }
    }
}

impl From<Node> for MachineState {
    fn from(node: Node) -> Self {
        let (spec, description, status) = (
            node.spec.unwrap_or_default(),
            node.description.unwrap_or_default(),
            node.status.unwrap_or_default(),
        );
        let resources = description.resources.unwrap_or_default();
        let name = description.hostname.unwrap_or_default();
        let unreachable = match status.state {
            Some(NodeState::READY) => None,
            Some(NodeState::DOWN | NodeState::DISCONNECTED) => Some(format!("machine {name} is down")),
            _ => Some(format!("the state of machine {name} is unknown to the swarm")),
        };
        let closed = match spec.availability {
            Some(Availability::DRAIN) => Some("drained".to_owned()),
            Some(Availability::PAUSE) => Some("paused".to_owned()),
            _ => unreachable.as_ref().map(|_| "down".to_owned()),
        };
        // A leader may know only its manager address.
        let manager = node
            .manager_status
            .and_then(|m| m.addr)
            .and_then(|a| a.rsplit_once(':').map(|(host, _)| host.to_owned()));
        let usable = |a: &String| {
            a.parse::<IpAddr>()
                .map_or(!a.is_empty(), |ip| !ip.is_unspecified())
        };
        let address = status.addr.filter(usable).or(manager).unwrap_or_default();
        let machine = Machine {
            id: node.id.unwrap_or_default(),
            name,
            address: address.trim_start_matches('[').trim_end_matches(']').to_owned(),
            cpus: resources
                .nano_cpus
                .and_then(|n| u32::try_from(n / 1_000_000_000).ok())
                .unwrap_or_default(),
            memory_bytes: resources
                .memory_bytes
                .and_then(|m| u64::try_from(m).ok())
                .unwrap_or_default(),
            closed,
        };
        Self { machine, unreachable }
    }
}

/// Spreads nodes over machines, with a stable choice per node (FNV-1a, stable across versions).
fn weight(object: &str, machine: &str) -> u64 {
    let bytes = object.bytes().chain([0]).chain(machine.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ManagerStatus, NodeSpec, NodeStatus};

    fn machine(state: NodeState, availability: Availability, addr: &str) -> MachineState {
        MachineState::from(Node {
            spec: Some(NodeSpec {
                availability: Some(availability),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus {
                state: Some(state),
                addr: Some(addr.to_owned()),
                ..NodeStatus::default()
            }),
            manager_status: Some(ManagerStatus {
                addr: Some("10.0.0.7:2377".to_owned()),
                ..ManagerStatus::default()
            }),
            ..Node::default()
        })
    }

    #[test]
    fn a_machine_is_closed_when_down_or_drained() {
        let closed = |state, availability| machine(state, availability, "10.0.0.5").machine.closed;
        assert_eq!(closed(NodeState::READY, Availability::ACTIVE), None);
        assert_eq!(
            closed(NodeState::READY, Availability::DRAIN).as_deref(),
            Some("drained")
        );
        assert_eq!(
            closed(NodeState::DOWN, Availability::ACTIVE).as_deref(),
            Some("down")
        );
        assert!(
            machine(NodeState::DOWN, Availability::ACTIVE, "")
                .require_reachable("x")
                .is_err()
        );
    }

    #[test]
    fn an_unspecified_address_is_replaced_by_the_managers() {
        assert_eq!(
            machine(NodeState::READY, Availability::ACTIVE, "0.0.0.0")
                .machine
                .address,
            "10.0.0.7"
        );
        assert_eq!(
            machine(NodeState::READY, Availability::ACTIVE, "10.0.0.5")
                .machine
                .address,
            "10.0.0.5"
        );
    }

    #[test]
    fn nodes_are_spread_with_a_stable_choice() {
        let first = |n: u32| (0..3).max_by_key(|m| weight(&format!("cp-1-1-v{n}"), &format!("m{m}")));
        assert_eq!(
            (0..9).map(first).collect::<Vec<_>>(),
            (0..9).map(first).collect::<Vec<_>>()
        );
        assert!((0..9).map(first).collect::<std::collections::BTreeSet<_>>().len() > 1);
    }
}
