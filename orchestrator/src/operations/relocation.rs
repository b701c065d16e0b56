//! Relocation of a cluster on a conflict.
//!
//! The platform is shared: another control plane or program may take an address after it was chosen. Then the
//! cluster becomes its next generation at another place, within the same operation.

use crate::{
    Error, Result,
    operations::{Operations, generation::next_generation},
};
use chainpool_agent::Place;
use chainpool_api::{OperationKind, Timestamp};
use chainpool_store::{OperationRow, Priority};
use uuid::Uuid;

impl Operations {
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
        self.placement.reservations.add(operation.host_id, place);
        if amending {
            let Place::Port(port) = place else { return Ok(None) };
            return self.amend_elsewhere(operation, id, port, why).await;
        }
        let mut tx = self.store().begin_background().await?;
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
        let network = self
            .runtime
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let allocation = self
            .placement
            .allocate(&tx, &host, id, &network.requirements(&row.parameters.0))
            .await?;
        let ports = allocation.port_rows(host.id, id);
        row.subnet = allocation.subnet.map(|s| s.to_string());
        let state = row.state.0;
        next_generation(&mut row, state, format!("relocating: {why}"));
        tx.ports_replace(id, ports).await?;
        moved.generation = row.generation;
        tx.cluster_save(row).await?;
        let moved = tx.operation_save(moved).await?;
        tx.steps_delete(moved.id).await?;
        tx.commit("cluster relocated").await?;
        tracing::warn!(operation = %moved.id, cluster = %id, why, "an address or port of a cluster is in use; relocating it");
        Ok(Some(moved))
    }

    /// Replaces a port of an amendment that turned out to be in use. The operation continues with the new spec.
    async fn amend_elsewhere(
        &self,
        operation: &OperationRow,
        cluster: Uuid,
        taken: u16,
        why: &str,
    ) -> Result<Option<OperationRow>> {
        loop {
            let tx = self.store().begin_background().await?;
            let Some(row) = tx.cluster(cluster).await? else {
                return Ok(None);
            };
            let draft = Box::pin(self.draft_elsewhere(&tx, row, taken)).await?;
            drop(tx);
            let rendered = Box::pin(self.draft_render(draft, Priority::Background)).await?;
            let mut tx = self.store().begin_background().await?;
            if !tx.operation_is_owned(operation.id).await? {
                return Ok(None);
            }
            let Some(row) = Box::pin(self.draft_store(&mut tx, rendered)).await? else {
                continue;
            };
            tx.cluster_save(row).await?;
            tx.steps_delete(operation.id).await?;
            let cached = self.runtime.specs.amending(cluster);
            tx.commit("amendment relocated").await?;
            cached.done();
            tracing::warn!(operation = %operation.id, %cluster, port = taken, why, "a port of an amendment is in use; choosing another one");
            return Ok(Some(operation.clone()));
        }
    }
}
