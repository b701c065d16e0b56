//! Allocation of ports and a subnet for a new cluster on its host, and relocation on a conflict.
//!
//! The platform is shared: another control plane or program may take an address after it was chosen. Then the
//! cluster becomes its next generation at another place, within the same operation.

use crate::{Error, Orchestrator, Result, admission::next_generation, placement, text::counted};
use chainpool_agent::{NodeName, Place, ResourcesInUse};
use chainpool_api::{OperationKind, Timestamp};
use chainpool_networks::{PortNeed, Requirements};
use chainpool_store::{ClusterRow, HostRow, OperationRow, PortRow, Tx};
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
    let most = placement::addresses(subnet, machines(host));
    if requirements.size <= most {
        return Ok(());
    }
    let text = format!(
        "network {subnet} of cluster {} has addresses for {most} nodes, but {} are needed; create a new cluster with all nodes to get a larger network",
        cluster.name, requirements.size
    );
    Err(Error::conflict("subnets_exhausted", text))
}

impl Orchestrator {
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
        if !self.inner.agents.of(host)?.agent.capabilities().subnets {
            return Ok(Allocation { ports, subnet: None });
        }
        let settings = &host.settings.0;
        let foreign_networks = self.inner.status.in_use(host.id).networks;
        let others = tx
            .clusters_of(host.id)
            .await?
            .into_iter()
            .filter(|row| row.id != cluster);
        let taken = others
            .filter_map(|row| row.subnet?.parse().ok())
            .chain(foreign_networks)
            .collect();
        let subnet = placement::subnet(settings.subnets, &taken, (requirements.size, machines(host)))
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
        } = self.inner.status.in_use(host.id);
        let range = host.settings.0.ports;
        let others = tx
            .ports_of(host.id)
            .await?
            .into_iter()
            .filter(|row| Some(row.cluster_id) != except);
        let taken: BTreeSet<u16> = others
            .filter_map(|row| u16::try_from(row.port).ok())
            .chain(foreign)
            .collect();
        placement::ports(range, &taken, needs).ok_or_else(|| {
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
        let known = host
            .info
            .as_ref()
            .map(|info| info.0.machines.as_slice())
            .unwrap_or_default();
        let mut load = BTreeMap::new();
        for other in tx
            .clusters_of(host.id)
            .await?
            .into_iter()
            .filter(|other| other.id != cluster.id)
        {
            other
                .machines
                .0
                .into_values()
                .for_each(|machine| *load.entry(machine).or_insert(0) += 1);
        }
        placement::machines(nodes, known, &cluster.machines.0, &load, together).ok_or_else(|| {
            let why: Vec<String> = known
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
        })
    }

    /// Relocates a cluster that is being created, or replaces a port of an amendment, because `place` is in
    /// use. Returns the operation to continue with; `None` if the operation is of another kind or no longer
    /// ours.
    pub(crate) async fn relocate(
        &self,
        operation: &OperationRow,
        place: Place,
        why: &str,
    ) -> Result<Option<OperationRow>> {
        let late = operation.deadline_at.is_some_and(|at| at.0 <= Timestamp::now());
        let creating = matches!(
            operation.kind.0,
            OperationKind::ClusterCreate | OperationKind::ClusterReset
        );
        let amending = operation.kind.0 == OperationKind::ClusterAmend;
        let Some(id) = operation.cluster_id.filter(|_| (creating || amending) && !late) else {
            return Ok(None);
        };
        self.inner.status.in_use_add(operation.host_id, place);
        let mut tx = self.store().begin().await?;
        if !tx.operation_is_owned(operation.id).await? {
            return Ok(None);
        }
        let (Some(mut row), Some(host), Some(mut moved)) = (
            tx.cluster(id).await?,
            tx.host(operation.host_id).await?,
            tx.operation(operation.id).await?,
        ) else {
            return Ok(None);
        };
        if amending {
            let Place::Port(port) = place else { return Ok(None) };
            self.amend_elsewhere(&mut tx, &host, row, port).await?;
            tx.steps_delete(operation.id).await?;
            let cached = self.inner.runtime_cache.amending(id);
            tx.commit("amendment relocated").await?;
            cached.done();
            tracing::warn!(operation = %operation.id, cluster = %id, port, why, "a port of an amendment is in use; choosing another one");
            return Ok(Some(operation.clone()));
        }
        let network = self
            .inner
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let allocation = self
            .allocate(&tx, &host, id, &network.requirements(&row.parameters.0))
            .await?;
        let ports = allocation.port_rows(host.id, id);
        row.subnet = allocation.subnet.map(|s| s.to_string());
        let state = row.state.0;
        next_generation(&mut row, state, format!("relocating: {why}"))?;
        tx.ports_replace(id, ports.clone()).await?;
        self.render_into(&mut tx, &host, &mut row, &ports, network.as_ref())
            .await?;
        moved.generation = row.generation;
        tx.cluster_save(row).await?;
        let moved = tx.operation_save(moved).await?;
        tx.steps_delete(moved.id).await?;
        tx.commit("cluster relocated").await?;
        tracing::warn!(operation = %moved.id, cluster = %id, why, "an address or port of a cluster is in use; relocating it");
        Ok(Some(moved))
    }
}
