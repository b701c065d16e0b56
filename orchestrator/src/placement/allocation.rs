//! Allocation of ports, a subnet and machines for a cluster on its host.

use crate::{
    Error, Result,
    placement::{Placement, choose},
    text::counted,
};
use chainpool_agent::{NodeName, ResourcesInUse};
use chainpool_api::HostMachine;
use chainpool_networks::{PortNeed, Requirements};
use chainpool_store::{ClusterRow, HostRow, PortRow, Tx};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The resources of a host allocated to a cluster.
pub(crate) struct Allocation {
    ports: BTreeMap<PortNeed, u16>,
    /// `None` if the platform chooses.
    pub(crate) subnet: Option<Ipv4Net>,
}

impl Allocation {
    /// Returns the ports as rows of a cluster.
    pub(crate) fn port_rows(&self, host: Uuid, cluster: Uuid) -> Vec<PortRow> {
        let row = |(need, port): (&PortNeed, &u16)| PortRow {
            host_id: host,
            port: i64::from(*port),
            cluster_id: cluster,
            node: need.node.to_string(),
            name: need.port.clone(),
        };
        self.ports.iter().map(row).collect()
    }
}

/// The number of machines of a host that have an address in each network.
fn machines(host: &HostRow) -> u32 {
    host.info
        .as_ref()
        .map_or(0, |info| u32::try_from(info.0.machines.len()).unwrap_or(u32::MAX))
}

/// Refuses more nodes than the cluster's network has addresses.
pub(crate) fn has_addresses(host: &HostRow, cluster: &ClusterRow, requirements: &Requirements) -> Result<()> {
    let Some(subnet) = cluster.subnet.as_ref().and_then(|subnet| subnet.parse().ok()) else {
        return Ok(());
    };
    let most = choose::addresses(subnet, machines(host));
    if requirements.size <= most {
        return Ok(());
    }
    let text = format!(
        "network {subnet} of cluster {} has addresses for {most} nodes, but {} are needed; create a new cluster with all nodes to get a larger network",
        cluster.name, requirements.size
    );
    Err(Error::conflict("subnets_exhausted", text))
}

impl Placement {
    /// Chooses ports and a subnet for a cluster; its current ones count as free.
    pub(crate) async fn allocate(
        &self,
        tx: &Tx,
        host: &HostRow,
        cluster: Uuid,
        requirements: &Requirements,
    ) -> Result<Allocation> {
        let ports = self
            .free_ports(tx, host, Some(cluster), &requirements.ports)
            .await?;
        if !self.runtime.agents.of(host)?.agent.capabilities().subnets {
            return Ok(Allocation { ports, subnet: None });
        }
        let settings = &host.settings.0;
        let foreign_networks = self.reservations.of(host.id).networks;
        let taken = tx
            .subnets_in_use(host.id, cluster)
            .await?
            .into_iter()
            .filter_map(|subnet| subnet.parse().ok())
            .chain(foreign_networks)
            .collect();
        let subnet = choose::subnet(settings.subnets, &taken, (requirements.size, machines(host)))
            .ok_or_else(|| {
                let text = format!(
                    "host {} has no free network left in {} for {}; delete clusters to free one",
                    host.name,
                    settings.subnets,
                    counted(requirements.size, "node")
                );
                Error::conflict("subnets_exhausted", text)
            })?;
        Ok(Allocation {
            ports,
            subnet: Some(subnet),
        })
    }

    /// Chooses additional ports for a cluster, as rows.
    pub(crate) async fn more_ports(
        &self,
        tx: &Tx,
        host: &HostRow,
        cluster: Uuid,
        needs: &[PortNeed],
    ) -> Result<Vec<PortRow>> {
        let ports = self.free_ports(tx, host, None, needs).await?;
        Ok(Allocation { ports, subnet: None }.port_rows(host.id, cluster))
    }

    /// Chooses free ports; those of cluster `except` count as free.
    async fn free_ports(
        &self,
        tx: &Tx,
        host: &HostRow,
        except: Option<Uuid>,
        needs: &[PortNeed],
    ) -> Result<BTreeMap<PortNeed, u16>> {
        let ResourcesInUse {
            networks: _,
            ports: foreign,
        } = self.reservations.of(host.id);
        let range = host.settings.0.ports;
        let taken: BTreeSet<u16> = tx
            .ports_in_use(host.id, except)
            .await?
            .into_iter()
            .filter_map(|port| u16::try_from(port).ok())
            .chain(foreign)
            .collect();
        choose::ports(range, &taken, needs).ok_or_else(|| {
            let (first, last) = range;
            let text = format!(
                "host {} has too few free ports in {first}-{last} for {} more; delete clusters or widen the range",
                host.name,
                needs.len()
            );
            Error::conflict("ports_exhausted", text)
        })
    }

    /// Chooses machines for a cluster's nodes.
    pub(crate) async fn machines(
        &self,
        tx: &Tx,
        host: &HostRow,
        cluster: &ClusterRow,
        nodes: &[NodeName],
        together: &BTreeMap<NodeName, NodeName>,
    ) -> Result<BTreeMap<NodeName, String>> {
        let known = known_machines(host);
        let mut load = BTreeMap::new();
        for machine in tx.machines_in_use(host.id, cluster.id).await? {
            *load.entry(machine).or_insert(0) += 1;
        }
        choose::machines(nodes, known, &cluster.machines.0, &load, together).ok_or_else(|| no_machine(host))
    }

    /// Refuses a generation whose nodes no machine of the host would accept. The nodes of a cluster that has
    /// machines may stay there.
    pub(crate) fn must_accept_nodes(&self, host: &HostRow, cluster: &ClusterRow) -> Result<()> {
        let chooses = self.runtime.agents.of(host)?.agent.capabilities().machines;
        if !chooses
            || !cluster.machines.0.is_empty()
            || known_machines(host).iter().any(|m| m.closed.is_none())
        {
            return Ok(());
        }
        Err(no_machine(host))
    }
}

/// The machines of a host at its last probe.
fn known_machines(host: &HostRow) -> &[HostMachine] {
    host.info
        .as_ref()
        .map(|info| info.0.machines.as_slice())
        .unwrap_or_default()
}

fn no_machine(host: &HostRow) -> Error {
    let why: Vec<String> = known_machines(host)
        .iter()
        .map(|machine| {
            format!(
                "{}: {}",
                machine.name,
                machine.closed.as_deref().unwrap_or("open")
            )
        })
        .collect();
    Error::conflict(
        "no_machine",
        format!(
            "no machine of host {} accepts new nodes ({})",
            host.name,
            why.join("; ")
        ),
    )
}
