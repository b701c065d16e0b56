//! Completion of an operation: its outcome and the new state of its cluster, in one transaction.

use crate::{
    Error, Result,
    operations::{
        Operations, health_history::keep_history, outcome::Outcome, plan::Arguments, step_error::StepError,
        volumes::lost_text,
    },
    placement::fill_policy::FAILURES_TO_PAUSE,
};
use chainpool_agent::NodeName;
use chainpool_api::{self as api, ClusterState, HealthState, OperationKind, OperationState, Timestamp};
use chainpool_health::Input;
use chainpool_store::{ClusterRow, EnumColumn, FillPause, Json, OperationRow, Tx};
use std::collections::BTreeSet;

/// Delays between attempts of a failing fill entry, in seconds; the last applies to a paused entry.
const FILL_PAUSES: [i64; FAILURES_TO_PAUSE as usize] = [10, 60, 30 * 60];
/// The maximum delay after a transient failure: at most one full pass.
const TRANSIENT_FILL_PAUSE: i64 = 30;

/// The kind of failure of an operation.
#[derive(Clone, Copy)]
enum Failure<'a> {
    /// Permanent: refused, or not achieved.
    Permanent,
    /// Transient: the platform or a dependency of it was unavailable.
    Transient,
    /// The ledger is lost, with the reason.
    LedgerLost(&'a str),
}

impl<'a> Failure<'a> {
    fn of(error: &'a StepError) -> Self {
        match error {
            StepError::LedgerLost(reason) => Self::LedgerLost(reason),
            StepError::Agent(error) if error.is_transient() => Self::Transient,
            StepError::NoRegistry(_) => Self::Transient,
            _ => Self::Permanent,
        }
    }
}

impl Operations {
    /// Records the outcome of an operation. Does nothing if this process no longer owns it.
    pub(crate) async fn finish(
        &self,
        operation: &OperationRow,
        outcome: &Result<(), StepError>,
    ) -> Result<()> {
        if matches!(outcome, Err(StepError::Superseded)) {
            return Ok(());
        }
        let mut tx = self.store().begin_background().await?;
        if !tx.operation_is_owned(operation.id).await? {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut row = tx
            .operation(operation.id)
            .await?
            .ok_or_else(|| Error::internal("an operation is missing"))?;
        row.ended_at = Some(now.into());
        match outcome {
            Ok(()) => row.state = EnumColumn(OperationState::Succeeded),
            Err(error) => {
                row.state = EnumColumn(OperationState::Failed);
                row.error = Some(error.to_string());
                tracing::warn!(operation = %row.id, kind = %row.kind.0, %error, cause = ?error, "an operation failed");
            }
        }
        let mut cluster = None;
        if let Some(id) = row.cluster_id {
            if let Some(found) = tx.cluster(id).await? {
                cluster = Some(id);
                self.finish_cluster(&mut tx, &row, found, outcome.as_ref().err().map(Failure::of), now)
                    .await?;
            }
        } else {
            finish_host(&mut tx, &mut row).await?;
        }
        let (kind, is_proven) = (row.kind.0, read_outcome(&row)?.proof.is_some());
        tx.operation_save(row).await?;
        tx.commit("operation ended").await?;
        if let Some(id) = cluster {
            if kind == OperationKind::ClusterDelete && outcome.is_ok() {
                self.runtime.forget(id);
            }
            let blocked = matches!(
                &outcome,
                Err(StepError::Agent(chainpool_agent::Error::Dependency(_)))
            );
            let ended = Input::OperationEnded {
                at: now,
                kind,
                proven: is_proven,
                blocked,
            };
            self.runtime.cache.advance_known(id, ended);
        }
        Ok(())
    }

    async fn finish_cluster(
        &self,
        tx: &mut Tx,
        operation: &OperationRow,
        mut cluster: ClusterRow,
        failure: Option<Failure<'_>>,
        now: Timestamp,
    ) -> Result<()> {
        if cluster.operation_id != Some(operation.id) {
            return Ok(());
        }
        cluster.operation_id = None;
        // Keep the height that the cluster had when it stopped.
        cluster.height = self.runtime.height_seen(&cluster);
        let done = operation.state.0 == OperationState::Succeeded;
        let outcome = read_outcome(operation)?;
        let proof = outcome.proof;
        let arguments = || Arguments::read(&operation.arguments.0).map_err(Error::internal);
        match (operation.kind.0, done) {
            (OperationKind::ClusterDelete, true) => return Ok(tx.cluster_mark_deleted(cluster, now).await?),
            (OperationKind::ClusterCreate | OperationKind::ClusterReset, true) => {
                tx.revisions_delete(cluster.id, cluster.generation - 1).await?;
                cluster.state = EnumColumn(ClusterState::Ready);
                cluster.ready_at = Some(now.into());
                cluster.last_started_at = now.into();
                set_proven(&mut cluster, proof, now);
                note_fill(tx, &cluster, None, now).await?;
            }
            (OperationKind::ClusterCreate | OperationKind::ClusterReset, false) => {
                cluster.state = EnumColumn(ClusterState::Failed);
                let why = operation.error.clone().unwrap_or_default();
                set_verdict(
                    &mut cluster,
                    HealthState::Broken,
                    format!("creation failed: {why}"),
                    now,
                );
                note_fill(
                    tx,
                    &cluster,
                    Some((&why, matches!(failure, Some(Failure::Transient)))),
                    now,
                )
                .await?;
            }
            (OperationKind::ClusterStart | OperationKind::ClusterRestart, true) => {
                match arguments()?.node {
                    Some(node) => drop(cluster.stopped_nodes.0.remove(node.as_str())),
                    None => cluster.stopped_nodes.0.clear(),
                }
                cluster.state = EnumColumn(ClusterState::Ready);
                cluster.last_started_at = now.into();
                set_verdict(
                    &mut cluster,
                    HealthState::Starting,
                    started_text(operation.kind.0, &outcome.new_volumes),
                    now,
                );
            }
            (OperationKind::ClusterStop, true) => match arguments()?.node {
                Some(node) => drop(cluster.stopped_nodes.0.insert(node.to_string())),
                None => {
                    cluster.state = EnumColumn(ClusterState::Stopped);
                    cluster.stopped_nodes.0 = BTreeSet::new();
                    set_verdict(
                        &mut cluster,
                        HealthState::Stopped,
                        "stopped on request".to_owned(),
                        now,
                    );
                }
            },
            (OperationKind::ClusterAmend, true) => {
                cluster.last_started_at = now.into();
                set_proven(&mut cluster, proof, now);
            }
            // A partial change is not offered; the next evidence shows the state of the ledger.
            (OperationKind::ClusterAmend, false) => {
                let why = operation.error.clone().unwrap_or_default();
                set_verdict(
                    &mut cluster,
                    HealthState::Degraded,
                    format!("the amendment failed: {why}; amend the cluster again"),
                    now,
                );
            }
            (OperationKind::ClusterRepair, true) => {
                cluster.last_started_at = now.into();
                if proof.is_some() {
                    set_proven(&mut cluster, proof, now);
                }
            }
            // The cluster should run but its ledger is lost: it is monitored as a running one.
            (
                OperationKind::ClusterStart | OperationKind::ClusterRestart | OperationKind::ClusterRepair,
                false,
            ) => {
                if let Some(Failure::LedgerLost(why)) = failure {
                    cluster.state = EnumColumn(ClusterState::Ready);
                    set_verdict(&mut cluster, HealthState::Broken, why.to_owned(), now);
                }
            }
            (OperationKind::ClusterProve, true) => cluster.proof = proof.map(Json),
            _ => {}
        }
        keep_history(tx, &cluster, now).await?;
        tx.cluster_save(cluster).await?;
        Ok(())
    }
}

fn set_proven(cluster: &mut ClusterRow, proof: Option<api::Proof>, now: Timestamp) {
    // A ledger that restarted from nothing commits, but it is not the same ledger.
    let fault = cluster.ledger_fault.clone();
    let reason = proof.as_ref().map_or_else(String::new, |p| {
        let reader = if p.written_to == p.read_from {
            "the only node".to_owned()
        } else {
            p.read_from.clone()
        };
        format!(
            "a transaction was committed through {} in block {} and read back from {reader}",
            p.written_to, p.height
        )
    });
    cluster.height = proof
        .as_ref()
        .and_then(|p| i64::try_from(p.height).ok())
        .max(cluster.height);
    cluster.proof = proof.map(Json);
    cluster.checked_at = now.into();
    match fault {
        Some(fault) => set_verdict(cluster, HealthState::Broken, fault, now),
        None => set_verdict(cluster, HealthState::Healthy, reason, now),
    }
}

fn set_verdict(cluster: &mut ClusterRow, state: HealthState, reason: String, now: Timestamp) {
    if cluster.health.0 != state {
        cluster.health_since = now.into();
    }
    cluster.health = EnumColumn(state);
    cluster.health_reason = reason;
}

/// The reason of a started cluster's health.
fn started_text(kind: OperationKind, new_volumes: &BTreeSet<NodeName>) -> String {
    let operation = kind.to_string().replace('_', " ");
    let renewed = lost_text(new_volumes).map_or_else(String::new, |text| format!("; {text}"));
    format!("{operation} completed; waiting for the first assessment{renewed}")
}

fn read_outcome(operation: &OperationRow) -> Result<Outcome> {
    Outcome::of(operation).map_err(Error::internal)
}

/// Counts the consecutive failures of the cluster's fill entry.
async fn note_fill(
    tx: &mut Tx,
    cluster: &ClusterRow,
    failure: Option<(&str, bool)>,
    now: Timestamp,
) -> Result<()> {
    let Some(key) = &cluster.fill_key else {
        return Ok(());
    };
    let Some(mut host) = tx.host(cluster.host_id).await? else {
        return Ok(());
    };
    match failure {
        None => {
            if host.fill_state.0.remove(key).is_none() {
                return Ok(());
            }
        }
        Some((reason, is_transient)) => {
            let known = host.fill_state.0.entry(key.clone()).or_insert(FillPause {
                failures: 0,
                reason: String::new(),
                next_at: now,
            });
            let pause = fill_pause(known.failures, is_transient);
            known.failures += 1;
            known.next_at = now.plus_seconds(pause);
            reason.clone_into(&mut known.reason);
        }
    }
    tx.host_save(host).await?;
    Ok(())
}

/// The delay of a fill entry after this many previous failures, in seconds.
fn fill_pause(failures: u32, is_transient: bool) -> i64 {
    let pause = FILL_PAUSES[usize::try_from(failures)
        .unwrap_or(usize::MAX)
        .min(FILL_PAUSES.len() - 1)];
    if is_transient {
        pause.min(TRANSIENT_FILL_PAUSE)
    } else {
        pause
    }
}

/// Summarises the children of an operation.
async fn finish_host(tx: &mut Tx, row: &mut OperationRow) -> Result<()> {
    let children = tx.operation_children(row.id).await?;
    let count = |state: OperationState| children.iter().filter(|c| c.state.0 == state).count();
    let (succeeded, failed) = (
        count(OperationState::Succeeded),
        count(OperationState::Failed) + count(OperationState::Superseded),
    );
    let mut outcome = read_outcome(row)?;
    match row.kind.0 {
        OperationKind::HostFillup => (outcome.made, outcome.failed) = (Some(succeeded), Some(failed)),
        OperationKind::HostClean | OperationKind::HostReset => {
            (outcome.deleted, outcome.failed) = (Some(succeeded), Some(failed));
        }
        _ => {}
    }
    row.result = Some(outcome.stored());
    if failed > 0 && row.state.0 == OperationState::Succeeded {
        row.state = EnumColumn(OperationState::Failed);
        let first = children.iter().find_map(|c| c.error.clone()).unwrap_or_default();
        row.error = Some(format!(
            "{failed} of {} failed; first error: {first}",
            children.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transient_failure_delays_a_fill_entry_by_at_most_a_full_pass() {
        let pauses = |is_transient| [0, 1, 2, 9].map(|failures| fill_pause(failures, is_transient));
        assert_eq!(pauses(false), [10, 60, 1800, 1800]);
        assert_eq!(pauses(true), [10, 30, 30, 30]);
    }

    #[test]
    fn a_failure_is_transient_if_the_platform_was_unavailable() {
        let of = |error: StepError| matches!(Failure::of(&error), Failure::Transient);
        assert!(of(chainpool_agent::Error::Dependency(
            "the log server is down".to_owned()
        )
        .into()));
        assert!(of(StepError::NoRegistry("no such host".to_owned())));
        assert!(of(
            chainpool_agent::Error::Unreachable("no answer".to_owned()).into()
        ));
        assert!(!of(
            chainpool_agent::Error::Refused("no such program".to_owned()).into()
        ));
        assert!(!of(StepError::DeadlineExceeded("no quorum".to_owned())));
    }
}
