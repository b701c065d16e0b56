//! Admission of a change: the desired state and its operation in one transaction.

use crate::{
    Error, Result,
    operations::{
        Operations,
        amendment::revert_amendments,
        cause::Cause,
        deadline::deadline,
        generation::{chain_id, next_generation},
        plan::Arguments,
        supersede::{end_superseded, running, supersede},
    },
    placement::{new_cluster::NewCluster, room::offers},
};
use chainpool_api::{ClusterState, HealthState, OperationKind, Timestamp};
use chainpool_networks::SoftwareLine;
use chainpool_store::{
    Audit, ClusterRow, EnumColumn, HostRow, Json, Labels, NewOperation, OperationRow, RowVersion, Tx,
};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

impl Operations {
    /// Commits accepted operations and wakes the executor.
    pub(crate) async fn accepted(&self, tx: Tx, superseded: &[Uuid]) -> Result<()> {
        tx.commit("operation accepted").await?;
        for operation in superseded {
            self.running.cancel(*operation);
        }
        self.running.wake();
        Ok(())
    }

    /// Accepts a new cluster on a host: row, ports, subnet, operation. Its spec is rendered afterwards.
    pub(crate) async fn accept_create(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        new: NewCluster,
        cause: &Cause,
    ) -> Result<OperationRow> {
        let NewCluster {
            name,
            network,
            network_type,
            preset,
            parameters,
            labels,
            fill_key,
        } = new;
        let now = Timestamp::now();
        let SoftwareLine { version, consensus } = network.software_line(&parameters);
        let requirements = network.requirements(&parameters);
        let id = Uuid::now_v7();
        let name = match name {
            Some(name) if tx.cluster_named(&name).await?.is_some() => {
                return Err(Error::conflict(
                    "cluster_exists",
                    format!("cluster {name:?} already exists; choose another name"),
                ));
            }
            Some(name) => name,
            None => free_name(tx, &network_type).await?,
        };
        let allocation = self.placement.allocate(tx, host, id, &requirements).await?;
        let mut row = ClusterRow {
            id,
            name,
            host_id: host.id,
            network_type,
            preset,
            version,
            consensus,
            size: i64::from(requirements.size),
            parameters: Json(parameters),
            created_with: None,
            labels: Labels(labels).to_column(),
            state: EnumColumn(ClusterState::Creating),
            generation: 1,
            chain_id: chain_id(id, 1),
            health: EnumColumn(HealthState::Starting),
            health_reason: "creating".to_owned(),
            health_since: now.into(),
            checked_at: Timestamp(0).into(),
            height: None,
            ledger_fault: None,
            proof: None,
            leased: false,
            schedulable: offers(host),
            operation_id: None,
            subnet: allocation.subnet.map(|s| s.to_string()),
            machines: Json(BTreeMap::new()),
            memory_bytes: i64::try_from(requirements.memory_bytes).map_err(Error::internal)?,
            fill_key,
            stopped_nodes: Json(BTreeSet::new()),
            maintenance_until: None,
            last_started_at: now.into(),
            created_at: now.into(),
            ready_at: None,
            deleted_at: None,
            row_version: RowVersion::default(),
        };
        let ports = allocation.port_rows(host.id, id);
        self.placement.must_accept_nodes(host, &row)?;
        let operation = self
            .operation_on(
                tx,
                &mut row,
                OperationKind::ClusterCreate,
                Arguments::default(),
                cause,
            )
            .await?;
        tx.cluster_insert(row, ports).await?;
        Ok(operation)
    }

    /// Accepts a reset: a new generation on the same name, size and ports. Its spec, with new keys, is rendered
    /// afterwards.
    pub(crate) async fn accept_reset(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        mut row: ClusterRow,
        cause: &Cause,
    ) -> Result<(OperationRow, Option<Uuid>)> {
        let superseded = supersede(tx, &row, OperationKind::ClusterReset).await?;
        let network = self
            .runtime
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        revert_amendments(tx, &mut row, network.as_ref()).await?;
        next_generation(
            &mut row,
            ClusterState::Resetting,
            format!("resetting: {}", cause.reason),
        );
        self.placement.must_accept_nodes(host, &row)?;
        let operation = self
            .operation_on(
                tx,
                &mut row,
                OperationKind::ClusterReset,
                Arguments::default(),
                cause,
            )
            .await?;
        tx.cluster_save(row).await?;
        Ok((operation, superseded))
    }

    /// Accepts a delete.
    pub(crate) async fn accept_delete(
        &self,
        tx: &mut Tx,
        mut row: ClusterRow,
        cause: &Cause,
    ) -> Result<(OperationRow, Option<Uuid>)> {
        let superseded = supersede(tx, &row, OperationKind::ClusterDelete).await?;
        row.state = EnumColumn(ClusterState::Deleting);
        row.health = EnumColumn(HealthState::Unknown);
        row.health_reason = "deleting".to_owned();
        row.health_since = Timestamp::now().into();
        let operation = self
            .operation_on(
                tx,
                &mut row,
                OperationKind::ClusterDelete,
                Arguments::default(),
                cause,
            )
            .await?;
        tx.cluster_save(row).await?;
        Ok((operation, superseded))
    }

    /// Accepts an operation that keeps the generation: start, stop, restart, repair, prove.
    pub(crate) async fn accept_on(
        &self,
        tx: &mut Tx,
        mut row: ClusterRow,
        kind: OperationKind,
        arguments: Arguments,
        cause: &Cause,
    ) -> Result<(OperationRow, Option<Uuid>)> {
        let superseded = supersede(tx, &row, kind).await?;
        let operation = self.operation_on(tx, &mut row, kind, arguments, cause).await?;
        tx.cluster_save(row).await?;
        Ok((operation, superseded))
    }

    /// Inserts an operation on the present generation of a cluster, and names it in the cluster, which the
    /// caller saves.
    pub(crate) async fn operation_on(
        &self,
        tx: &mut Tx,
        row: &mut ClusterRow,
        kind: OperationKind,
        arguments: Arguments,
        cause: &Cause,
    ) -> Result<OperationRow> {
        let now = Timestamp::now();
        let generation = row.generation;
        let new = NewOperation {
            kind,
            host_id: row.host_id,
            cluster_id: Some(row.id),
            generation,
            parent_id: cause.parent,
            author: cause.author.clone(),
            reason: cause.reason.clone(),
            arguments: serde_json::to_value(arguments).map_err(Error::internal)?,
            deadline_at: deadline(kind, now),
        };
        let detail = format!("cluster {} generation {generation}: {}", row.name, cause.reason);
        tx.audit_insert(
            Audit {
                author: &cause.author,
                verb: kind.as_str(),
                subject: &row.id.to_string(),
                detail,
            },
            now,
        )
        .await?;
        let operation = tx.operation_insert(new, now).await?;
        row.operation_id = Some(operation.id);
        Ok(operation)
    }

    /// Accepts an operation on a host itself.
    pub(crate) async fn accept_host(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        kind: OperationKind,
        arguments: Arguments,
        cause: &Cause,
    ) -> Result<OperationRow> {
        if let Some(mut live) = tx.operation_of_host(host.id).await? {
            if live.kind.0 == OperationKind::HostFillup
                && matches!(kind, OperationKind::HostReset | OperationKind::HostClean)
            {
                end_superseded(tx, &mut live, format!("superseded by {kind}")).await?;
            } else {
                return Err(running(&format!("host {}", host.name), &live));
            }
        }
        let now = Timestamp::now();
        let new = NewOperation {
            kind,
            host_id: host.id,
            cluster_id: None,
            generation: 0,
            parent_id: None,
            author: cause.author.clone(),
            reason: cause.reason.clone(),
            arguments: serde_json::to_value(arguments).map_err(Error::internal)?,
            deadline_at: None,
        };
        let detail = format!("host {}: {}", host.name, cause.reason);
        tx.audit_insert(
            Audit {
                author: &cause.author,
                verb: kind.as_str(),
                subject: &host.id.to_string(),
                detail,
            },
            now,
        )
        .await?;
        Ok(tx.operation_insert(new, now).await?)
    }
}

async fn free_name(tx: &Tx, network_type: &str) -> Result<String> {
    const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz23456789";
    loop {
        let tail: String = (0..5)
            .map(|_| char::from(LETTERS[rand::rng().random_range(0..LETTERS.len())]))
            .collect();
        let name = format!("{network_type}-{tail}");
        if tx.cluster_named(&name).await?.is_none() {
            return Ok(name);
        }
    }
}
