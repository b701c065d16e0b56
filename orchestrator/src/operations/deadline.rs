//! Deadlines of operations.

use chainpool_api::{OperationKind, Timestamp};

/// The deadline of an operation: create, amend and reset 15 min; start, stop, restart and repair 5 min; prove
/// 30 s; others have none.
pub(crate) fn deadline(kind: OperationKind, now: Timestamp) -> Option<Timestamp> {
    match kind {
        OperationKind::ClusterCreate | OperationKind::ClusterAmend | OperationKind::ClusterReset => {
            Some(now.plus_seconds(15 * 60))
        }
        OperationKind::ClusterStart
        | OperationKind::ClusterStop
        | OperationKind::ClusterRestart
        | OperationKind::ClusterRepair => Some(now.plus_seconds(5 * 60)),
        OperationKind::ClusterProve => Some(now.plus_seconds(30)),
        OperationKind::ClusterDelete
        | OperationKind::HostFillup
        | OperationKind::HostClean
        | OperationKind::HostReset
        | OperationKind::HostAdopt
        | OperationKind::LeaseApply => None,
    }
}
