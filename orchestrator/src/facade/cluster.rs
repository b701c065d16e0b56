//! Clusters.

mod amend;

use crate::{
    Caller, Error, Orchestrator, Result,
    facade::{
        presenter::page,
        validation::{check_labels, check_name, check_search, maintenance_until},
    },
    operations::{cause::Cause, plan::Arguments},
    permissions::{self, VisibleLeases},
    placement::{host_choice::choose_host, new_cluster::NewCluster},
};
use chainpool_agent::{ClusterId, ClusterKey, ClusterSpec, LogQuery, LogStream, NodeName, NodeSpec};
use chainpool_api::{self as api, ClusterState, LeaseState, OperationKind, Timestamp};
use chainpool_store::{Audit, ClusterQuery, ClusterRow, EnumColumn, Tx};
use std::sync::Arc;
use uuid::Uuid;

/// The log of a node.
pub struct ClusterLog {
    /// The cluster's id: the stream ends with the caller's lease on it ([`crate::StreamScope::Cluster`]).
    pub cluster: Uuid,
    /// The lines.
    pub lines: LogStream,
}

impl Orchestrator {
    /// Creates a cluster; chooses a host if none is given.
    pub async fn cluster_create(&self, caller: &Caller, new: api::ClusterCreate) -> Result<api::Operation> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let api::ClusterCreate {
            name,
            host,
            network_type,
            preset,
            parameters,
            labels,
        } = new;
        if let Some(name) = &name {
            check_name("name", name)?;
        }
        check_labels(&labels)?;
        let network_type = network_type.unwrap_or_else(|| self.runtime.registry.default_type().to_owned());
        let network = self
            .runtime
            .registry
            .get(&network_type)
            .map_err(|e| Error::field("network_type", e.to_string()))?;
        let preset = network.preset(preset.as_deref().unwrap_or("default"));
        let parameters = network.validate(&preset, &parameters).map_err(|e| {
            Error::fields(
                e.0.into_iter()
                    .map(|(field, why)| {
                        (
                            if field == "preset" {
                                field
                            } else {
                                format!("parameters.{field}")
                            },
                            why,
                        )
                    })
                    .collect(),
            )
        })?;
        let memory = network.requirements(&parameters).memory_bytes;
        let mut tx = self.store().begin().await?;
        let host = choose_host(&tx, host.as_deref(), memory).await?;
        let cause = Cause::of(caller, "create requested");
        let new = NewCluster {
            name,
            network,
            network_type,
            preset,
            parameters,
            labels,
            fill_key: None,
        };
        let operation = self.operations.accept_create(&mut tx, &host, new, &cause).await?;
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, &[]).await?;
        self.operations.render_for_request(&operation).await;
        self.present_operation(operation, true).await
    }

    /// Lists the clusters that the caller may use.
    pub async fn cluster_list(
        &self,
        caller: &Caller,
        filter: &api::ClusterFilter,
    ) -> Result<api::Page<api::Cluster>> {
        let api::ClusterFilter {
            host,
            state,
            health,
            network_type,
            offered,
            holder,
            search,
            after,
            limit,
        } = filter.clone();
        check_search(search.as_deref())?;
        let host = match host {
            Some(host) => match self.host_row(&host).await {
                Ok(host) => Some(host.id),
                // Callers that see no hosts must not learn which hosts exist.
                Err(Error::NotFound { .. }) if !permissions::operates(caller) => {
                    return Ok(api::Page {
                        items: Vec::new(),
                        next: None,
                    });
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let VisibleLeases { holders, applied_by } = permissions::visible_leases(caller, holder.as_deref());
        let query = ClusterQuery {
            host,
            state,
            health,
            network_type,
            offered: offered.map(|offered| self.store().offer_filter(offered)),
            holders,
            applied_by,
            search,
            after: after.and_then(|a| a.parse().ok()),
            limit,
        };
        let rows = page(self.store().read().cluster_page(&query).await?, limit, |row| {
            row.id
        });
        let read = self.store().read();
        let hosts = read.host_names(rows.items.iter().map(|row| row.host_id)).await?;
        let of_holders = rows.items.iter().filter(|row| row.leased).map(|row| row.id);
        let leases = read.leases_of(of_holders).await?;
        let present = |row: ClusterRow| {
            let (host, lease) = (hosts.get(&row.host_id), leases.get(&row.id));
            self.present_cluster(row, host.map(String::as_str), lease)
        };
        Ok(api::Page {
            items: rows.items.into_iter().map(present).collect(),
            next: rows.next,
        })
    }

    /// Shows a cluster by name or id, with nodes and evidence.
    pub async fn cluster_show(&self, caller: &Caller, cluster: &str) -> Result<api::Cluster> {
        let row = self.cluster_for(caller, cluster).await?;
        self.present_cluster_details(row).await
    }

    /// Updates a cluster's settings.
    pub async fn cluster_update(
        &self,
        caller: &Caller,
        cluster: &str,
        change: api::ClusterUpdate,
    ) -> Result<api::Cluster> {
        permissions::must_operate(caller)?;
        let id = self.cluster_for(caller, cluster).await?.id;
        let mut tx = self.store().begin().await?;
        let mut row = existing_cluster(&tx, id, cluster).await?;
        let api::ClusterUpdate { maintenance_seconds } = change;
        if let Some(seconds) = maintenance_seconds {
            row.maintenance_until = maintenance_until(seconds)?;
            tx.audit_insert(
                Audit {
                    author: &caller.account,
                    verb: "cluster_update",
                    subject: &row.id.to_string(),
                    detail: format!("cluster {}: maintenance for {seconds} s", row.name),
                },
                Timestamp::now(),
            )
            .await?;
        }
        let row = tx.cluster_save(row).await?;
        tx.commit("cluster updated").await?;
        self.present_cluster_details(row).await
    }

    /// Starts a stopped cluster or one node.
    pub async fn cluster_start(
        &self,
        caller: &Caller,
        cluster: &str,
        node: Option<&str>,
    ) -> Result<api::Operation> {
        self.cluster_power(caller, cluster, node, OperationKind::ClusterStart)
            .await
    }

    /// Stops a cluster or one node; data is kept.
    pub async fn cluster_stop(
        &self,
        caller: &Caller,
        cluster: &str,
        node: Option<&str>,
    ) -> Result<api::Operation> {
        self.cluster_power(caller, cluster, node, OperationKind::ClusterStop)
            .await
    }

    /// Restarts a cluster or one node.
    pub async fn cluster_restart(
        &self,
        caller: &Caller,
        cluster: &str,
        node: Option<&str>,
    ) -> Result<api::Operation> {
        self.cluster_power(caller, cluster, node, OperationKind::ClusterRestart)
            .await
    }

    async fn cluster_power(
        &self,
        caller: &Caller,
        cluster: &str,
        node: Option<&str>,
        kind: OperationKind,
    ) -> Result<api::Operation> {
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let known = self.cluster_for(caller, cluster).await?;
        let node = match node {
            Some(node) => Some(self.node_of(&known, node).await?),
            None => None,
        };
        let mut tx = self.store().begin().await?;
        let row = existing_cluster(&tx, known.id, cluster).await?;
        let allowed = match kind {
            OperationKind::ClusterStart => matches!(row.state.0, ClusterState::Stopped | ClusterState::Ready),
            _ => row.state.0 == ClusterState::Ready,
        };
        if !allowed {
            return Err(Error::conflict(
                "wrong_state",
                format!(
                    "cluster {} is {}; {} requires it to be {}",
                    row.name,
                    row.state.0,
                    kind,
                    if kind == OperationKind::ClusterStart {
                        "stopped"
                    } else {
                        "ready"
                    }
                ),
            ));
        }
        let arguments = Arguments {
            node: node.filter(|_| row.state.0 == ClusterState::Ready),
            ..Arguments::default()
        };
        let (operation, superseded) = self
            .operations
            .accept_on(&mut tx, row, kind, arguments, &Cause::of(caller, "requested"))
            .await?;
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, superseded.as_slice()).await?;
        self.present_operation(operation, true).await
    }

    /// Resets a cluster: wipes it and creates its next generation. A leased cluster requires `force`, which
    /// ends the lease.
    pub async fn cluster_reset(&self, caller: &Caller, cluster: &str, force: bool) -> Result<api::Operation> {
        self.cluster_wipe(caller, cluster, force, OperationKind::ClusterReset)
            .await
    }

    /// Deletes a cluster. A leased cluster requires `force`, which ends the lease.
    pub async fn cluster_delete(
        &self,
        caller: &Caller,
        cluster: &str,
        force: bool,
    ) -> Result<api::Operation> {
        self.cluster_wipe(caller, cluster, force, OperationKind::ClusterDelete)
            .await
    }

    async fn cluster_wipe(
        &self,
        caller: &Caller,
        cluster: &str,
        force: bool,
        kind: OperationKind,
    ) -> Result<api::Operation> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let id = self.cluster_for(caller, cluster).await?.id;
        let mut tx = self.store().begin().await?;
        let mut row = existing_cluster(&tx, id, cluster).await?;
        let cause = Cause::of(caller, "requested");
        let mut ended = None;
        if let Some(lease) = tx.lease_of(id).await? {
            if !force {
                let message = format!(
                    "cluster {} is leased by {}; release the lease first, or use force to end it",
                    row.name, lease.holder
                );
                return Err(Error::conflict("cluster_in_use", message));
            }
            row.leased = false;
            ended = Some(lease);
        }
        let (operation, superseded) = if kind == OperationKind::ClusterDelete {
            self.operations.accept_delete(&mut tx, row, &cause).await?
        } else {
            let host = tx
                .host(row.host_id)
                .await?
                .ok_or_else(|| Error::internal("a cluster without a host"))?;
            self.operations.accept_reset(&mut tx, &host, row, &cause).await?
        };
        if let Some(mut lease) = ended {
            lease.state = EnumColumn(LeaseState::Revoked);
            lease.ended_at = Some(Timestamp::now().into());
            lease.operation_id = Some(operation.id);
            tx.lease_save(lease).await?;
        }
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, superseded.as_slice()).await?;
        self.operations.render_for_request(&operation).await;
        self.present_operation(operation, true).await
    }

    /// Proves a cluster: commits a transaction and reads it back; the result contains the proof.
    pub async fn cluster_prove(&self, caller: &Caller, cluster: &str) -> Result<api::Operation> {
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let id = self.cluster_for(caller, cluster).await?.id;
        let mut tx = self.store().begin().await?;
        let row = existing_cluster(&tx, id, cluster).await?;
        if row.state.0 != ClusterState::Ready {
            return Err(Error::conflict(
                "wrong_state",
                format!(
                    "cluster {} is {}; only a ready cluster can be proven",
                    row.name, row.state.0
                ),
            ));
        }
        let (operation, superseded) = self
            .operations
            .accept_on(
                &mut tx,
                row,
                OperationKind::ClusterProve,
                Arguments::default(),
                &Cause::of(caller, "proof requested"),
            )
            .await?;
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, superseded.as_slice()).await?;
        self.present_operation(operation, true).await
    }

    /// Lists the health history, newest first. A holder sees only the current generation: earlier ones belong
    /// to previous holders.
    pub async fn cluster_health(&self, caller: &Caller, cluster: &str) -> Result<Vec<api::HealthChange>> {
        let row = self.cluster_for(caller, cluster).await?;
        let mut changes = self.store().read().health_changes(row.id, 500).await?;
        changes.retain(|change| {
            permissions::sees_previous_generations(caller) || change.generation == row.generation
        });
        let view = |change: chainpool_store::HealthChangeRow| api::HealthChange {
            state: change.state.0,
            reason: change.reason,
            at: change.at.0,
            evidence: change.evidence.map(|e| e.0),
        };
        Ok(changes.into_iter().map(view).collect())
    }

    /// Reads the log of a node or job.
    pub async fn cluster_logs(
        &self,
        caller: &Caller,
        cluster: &str,
        node: &str,
        query: LogQuery,
    ) -> Result<ClusterLog> {
        let row = self.cluster_for(caller, cluster).await?;
        let node = find_node(&row, node, self.current_spec(&row).await?.processes())?;
        let host = self
            .store()
            .read()
            .host(row.host_id)
            .await?
            .ok_or_else(|| Error::internal("a cluster without a host"))?;
        let key = ClusterKey {
            cluster: ClusterId(row.id),
            generation: row.generation,
        };
        let lines = self
            .runtime
            .agents
            .of(&host)?
            .agent
            .logs(&key, &node, query)
            .await?;
        Ok(ClusterLog {
            cluster: row.id,
            lines,
        })
    }

    /// Reads a cluster that the caller may use: any for operators, leased ones for users.
    pub(crate) async fn cluster_for(&self, caller: &Caller, cluster: &str) -> Result<ClusterRow> {
        let row = self
            .store()
            .read()
            .cluster_named(cluster)
            .await?
            .ok_or_else(|| Error::not_found("cluster", cluster))?;
        let lease = self.store().read().lease_of(row.id).await?;
        if permissions::may_use_cluster(caller, lease.as_ref()) {
            Ok(row)
        } else {
            Err(Error::not_found("cluster", cluster))
        }
    }

    async fn node_of(&self, row: &ClusterRow, node: &str) -> Result<NodeName> {
        find_node(row, node, self.current_spec(row).await?.nodes.iter())
    }

    async fn current_spec(&self, row: &ClusterRow) -> Result<Arc<ClusterSpec>> {
        self.runtime
            .spec(row.id, row.generation)
            .await?
            .ok_or_else(|| Error::not_found("cluster", row.name.clone()))
    }
}

/// Finds a node by name.
fn find_node<'a>(
    row: &ClusterRow,
    name: &str,
    known: impl Iterator<Item = &'a NodeSpec>,
) -> Result<NodeName> {
    let known: Vec<&NodeName> = known.map(|node| &node.name).collect();
    let found = known.iter().find(|known| known.as_str() == name);
    found.map(|name| (*name).clone()).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|known| known.as_str()).collect();
        Error::field(
            "node",
            format!(
                "cluster {} has no node {name:?}; it has: {}",
                row.name,
                known.join(", ")
            ),
        )
    })
}

pub(crate) async fn existing_cluster(tx: &Tx, id: Uuid, name: &str) -> Result<ClusterRow> {
    tx.cluster(id)
        .await?
        .filter(|row| row.deleted_at.is_none())
        .ok_or_else(|| Error::not_found("cluster", name))
}
