//! Amendment of a running cluster on request.

use super::existing_cluster;
use crate::{Caller, Error, Orchestrator, Result, operations::cause::Cause, permissions};
use chainpool_api::{self as api, ClusterState};
use chainpool_store::{ClusterRow, Priority};

/// How often an amendment is drafted because its cluster or host changed while it was rendered.
const ATTEMPTS: u32 = 5;

impl Orchestrator {
    /// Amends a running cluster: more of what its type can grow, or new certificates. Repeating the request
    /// continues an unfinished amendment.
    pub async fn cluster_amend(
        &self,
        caller: &Caller,
        cluster: &str,
        amend: api::ClusterAmend,
    ) -> Result<api::Operation> {
        permissions::must_operate(caller)?;
        let (_turn, known) = self.idempotency.remembered(caller).await?;
        if let Some(id) = known {
            return self.operation_show(caller, id).await;
        }
        if amend.parameters.is_empty() && !amend.renew_certificates {
            return Err(Error::field(
                "parameters",
                "nothing to change; set a parameter or renew_certificates",
            ));
        }
        let id = self.cluster_for(caller, cluster).await?.id;
        let cause = Cause::of(caller, describe(&amend));
        for _ in 0..ATTEMPTS {
            let mut tx = self.store().begin().await?;
            let row = existing_cluster(&tx, id, cluster).await?;
            must_be_amendable(&row)?;
            let draft = Box::pin(self.operations.draft_amend(&mut tx, row, &amend)).await?;
            drop(tx);
            let rendered = Box::pin(self.operations.draft_render(draft, Priority::Request)).await?;
            let mut tx = self.store().begin().await?;
            let Some((operation, superseded)) =
                Box::pin(self.operations.accept_amend(&mut tx, rendered, &cause)).await?
            else {
                continue;
            };
            self.idempotency.remember(&mut tx, caller, operation.id).await?;
            let amending = self.runtime.specs.amending(id);
            self.operations.accepted(tx, superseded.as_slice()).await?;
            amending.done();
            return self.present_operation(operation, true).await;
        }
        Err(chainpool_store::Error::Overtaken("cluster").into())
    }
}

fn must_be_amendable(row: &ClusterRow) -> Result<()> {
    if row.state.0 != ClusterState::Ready {
        return Err(Error::conflict(
            "wrong_state",
            format!(
                "cluster {} is {}; only a ready cluster can be amended",
                row.name, row.state.0
            ),
        ));
    }
    if let Some(node) = row.stopped_nodes.0.first() {
        let text = format!(
            "node {node} of cluster {} is stopped; an amendment requires all nodes: run chainpool cluster start {} --node {node}",
            row.name, row.name
        );
        return Err(Error::conflict("wrong_state", text));
    }
    Ok(())
}

/// Describes the requested change.
fn describe(amend: &api::ClusterAmend) -> String {
    let certificates = amend.renew_certificates.then(|| "new certificates".to_owned());
    let changes = amend
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .chain(certificates);
    format!("requested: {}", changes.collect::<Vec<_>>().join(", "))
}
