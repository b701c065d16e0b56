//! Operations that end others.

use crate::{Error, Result};
use chainpool_api::{OperationKind, OperationState, Timestamp};
use chainpool_store::{ClusterRow, EnumColumn, OperationRow, Tx};
use uuid::Uuid;

/// Supersedes the running operation of a cluster, or refuses the new one. Delete and reset supersede create,
/// amend, start, stop, restart, repair and prove; delete supersedes reset; stop and amend supersede repair;
/// nothing supersedes delete.
pub(crate) async fn supersede(tx: &mut Tx, row: &ClusterRow, kind: OperationKind) -> Result<Option<Uuid>> {
    let Some(id) = row.operation_id else {
        return Ok(None);
    };
    let Some(mut live) = tx.operation(id).await? else {
        return Ok(None);
    };
    if live.state.0.is_over() {
        return Ok(None);
    }
    let allowed = match kind {
        OperationKind::ClusterDelete => live.kind.0 != OperationKind::ClusterDelete,
        OperationKind::ClusterReset => !matches!(
            live.kind.0,
            OperationKind::ClusterDelete | OperationKind::ClusterReset
        ),
        _ => {
            live.kind.0 == OperationKind::ClusterRepair
                && matches!(kind, OperationKind::ClusterStop | OperationKind::ClusterAmend)
        }
    };
    if !allowed {
        return Err(running(&format!("cluster {}", row.name), &live));
    }
    end_superseded(tx, &mut live, format!("superseded by {kind}")).await?;
    Ok(Some(id))
}

/// Marks a running operation as superseded, for this reason.
pub(crate) async fn end_superseded(tx: &mut Tx, live: &mut OperationRow, reason: String) -> Result<()> {
    live.state = EnumColumn(OperationState::Superseded);
    live.error = Some(reason);
    live.ended_at = Some(Timestamp::now().into());
    *live = tx.operation_save(live.clone()).await?;
    Ok(())
}

/// The error for an operation in progress.
pub(crate) fn running(subject: &str, live: &OperationRow) -> Error {
    let (kind, id) = (live.kind.0, live.id);
    Error::conflict(
        "operation_running",
        format!(
            "{subject} has an operation in progress ({kind}, {id}); wait for it: chainpool operation wait {id}"
        ),
    )
}
