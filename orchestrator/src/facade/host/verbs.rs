//! Actions on a whole host: fillup, clean, reset, adopt; and their preview.

use crate::{
    Caller, Error, Orchestrator, Result,
    operations::{cause::Cause, plan::Arguments},
    permissions,
};
use chainpool_api::{self as api, ClusterState, OperationKind};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The state of a host that an action would affect.
#[derive(Debug, Clone)]
pub struct HostPreview {
    /// The host.
    pub host: api::Host,
    /// Its clusters with their holders, newest first; at most 500.
    pub clusters: Vec<api::Cluster>,
    /// Unknown objects with our label found by the last full pass.
    pub unclaimed: Vec<api::Unclaimed>,
}

impl Orchestrator {
    /// Shows the state that fillup, clean, reset, delete, forget and adopt would affect. Changes nothing.
    pub async fn host_preview(&self, caller: &Caller, host: &str) -> Result<HostPreview> {
        let host = self.host_show(caller, host).await?;
        let filter = api::ClusterFilter {
            host: Some(host.id.to_string()),
            limit: Some(500),
            ..api::ClusterFilter::default()
        };
        let clusters = self.cluster_list(caller, &filter).await?.items;
        let unclaimed = self.runtime.findings.unclaimed(host.id);
        Ok(HostPreview {
            host,
            clusters,
            unclaimed,
        })
    }

    /// Creates missing clusters up to the capacity.
    pub async fn host_fillup(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let row = self.host_row(host).await?;
        let mut tx = self.store().begin().await?;
        let operation = self
            .operations
            .accept_fillup(&mut tx, row.id, &Cause::of(caller, "fillup requested"), false)
            .await?;
        let operation = operation.ok_or_else(|| Error::internal("a requested fillup is always accepted"))?;
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, &[]).await?;
        self.present_operation(operation, true).await
    }

    /// Disables autofill and deletes the free clusters.
    pub async fn host_clean(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        self.host_empty(caller, host, OperationKind::HostClean).await
    }

    /// Removes all objects of this instance on the host; refused while clusters are leased.
    pub async fn host_reset(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        self.host_empty(caller, host, OperationKind::HostReset).await
    }

    async fn host_empty(&self, caller: &Caller, host: &str, kind: OperationKind) -> Result<api::Operation> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let id = self.host_row(host).await?.id;
        let cause = Cause::of(caller, format!("{kind} requested"));
        let mut tx = self.store().begin().await?;
        let mut row = tx.host(id).await?.ok_or_else(|| Error::not_found("host", host))?;
        let (leased, free): (Vec<_>, Vec<_>) = tx
            .clusters_of(id)
            .await?
            .into_iter()
            .partition(|cluster| cluster.leased);
        if kind == OperationKind::HostReset && !leased.is_empty() {
            let names: Vec<&str> = leased.iter().map(|cluster| cluster.name.as_str()).collect();
            let message = format!(
                "host {} has leased clusters ({}); release them first",
                row.name,
                names.join(", ")
            );
            return Err(Error::conflict("host_in_use", message));
        }
        let operation = self
            .operations
            .accept_host(&mut tx, &row, kind, Arguments::default(), &cause)
            .await?;
        row.settings.0.autofill = false;
        tx.host_save(row).await?;
        let mut superseded = Vec::new();
        for cluster in free
            .into_iter()
            .filter(|cluster| cluster.state.0 != ClusterState::Deleting)
        {
            superseded.extend(
                self.operations
                    .accept_delete(&mut tx, cluster, &cause.part_of(operation.id))
                    .await?
                    .1,
            );
        }
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, &superseded).await?;
        self.present_operation(operation, true).await
    }

    /// Adopts unclaimed objects in order to remove them.
    pub async fn host_adopt(
        &self,
        caller: &Caller,
        host: &str,
        adopt: api::HostAdopt,
    ) -> Result<api::Operation> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        let row = self.host_row(host).await?;
        let unclaimed: BTreeSet<Uuid> = self
            .health
            .unclaimed_now(&row)
            .await?
            .into_iter()
            .map(|u| u.cluster_id)
            .collect();
        if adopt.clusters.is_empty() {
            return Err(Error::field(
                "clusters",
                "specify at least one unclaimed cluster id; chainpool status lists them",
            ));
        }
        if let Some(unknown) = adopt.clusters.iter().find(|id| !unclaimed.contains(id)) {
            return Err(Error::field(
                "clusters",
                format!(
                    "{unknown} is not an unclaimed cluster on host {}; chainpool status lists them",
                    row.name
                ),
            ));
        }
        let mut tx = self.store().begin().await?;
        let arguments = Arguments {
            adopt: adopt.clusters,
            ..Arguments::default()
        };
        let operation = self
            .operations
            .accept_host(
                &mut tx,
                &row,
                OperationKind::HostAdopt,
                arguments,
                &Cause::of(caller, "adopt requested"),
            )
            .await?;
        self.idempotency.remember(&mut tx, caller, operation.id).await?;
        self.operations.accepted(tx, &[]).await?;
        self.present_operation(operation, true).await
    }
}
