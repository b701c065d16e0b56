//! Ending an operation: its outcome and what follows for its cluster, in one transaction.

use crate::{
    Error, Orchestrator, Result, fill::FAILURES_TO_PAUSE, seen::Seen, step::StepError, volumes::renewed_text,
};
use chainpool_api::{self as api, ClusterState, HealthState, OperationKind, OperationState, Timestamp};
use chainpool_store::{ClusterRow, FillPause, HealthChangeRow, Json, OperationRow, Tx, Word};
use std::collections::BTreeSet;

/// Pauses between tries of a fill entry that fails, in seconds; the last one is that of a paused entry.
const FILL_PAUSES: [i64; FAILURES_TO_PAUSE as usize] = [10, 60, 30 * 60];
/// The same where what failed passes by itself, or when somebody puts it right: no longer than a full pass is away.
const FILL_PASSING: i64 = 30;

/// How an operation failed.
#[derive(Clone, Copy)]
enum Failure<'a> {
    /// What it asked for was refused, or did not come about.
    Lasting,
    /// Its platform could not do it then: something that it stands on was down.
    Passing,
    /// The ledger is lost, in these words.
    LedgerLost(&'a str),
}

impl<'a> Failure<'a> {
    fn of(error: &'a StepError) -> Self {
        match error {
            StepError::LedgerLost(words) => Self::LedgerLost(words),
            StepError::Agent(error) if error.is_transient() => Self::Passing,
            StepError::NoRegistry(_) => Self::Passing,
            _ => Self::Lasting,
        }
    }
}

impl Orchestrator {
    /// Writes how an operation ended. Does nothing when it is not this process's any more.
    pub(crate) async fn finish(
        &self,
        operation: &OperationRow,
        outcome: &Result<(), StepError>,
    ) -> Result<()> {
        if matches!(outcome, Err(StepError::Superseded)) {
            return Ok(());
        }
        let mut tx = self.store().begin().await?;
        if !tx.operation_mine(operation.id).await? {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut row = tx
            .operation(operation.id)
            .await?
            .ok_or_else(|| Error::internal("an operation vanished"))?;
        row.ended_at = Some(now.into());
        match outcome {
            Ok(()) => row.state = Word(OperationState::Succeeded),
            Err(error) => {
                row.state = Word(OperationState::Failed);
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
        let (kind, proven) = (row.kind.0, proof_of(&row).is_some());
        tx.operation_save(row).await?;
        tx.commit("operation ended").await?;
        if let Some(id) = cluster {
            if kind == OperationKind::ClusterDelete && outcome.is_ok() {
                self.inner.live.forget(id);
            }
            // A repair is one try within the time that its cluster has, unless it ends with a proof; anything else begins that time anew.
            if proven {
                self.inner.live.note_known(id, Seen::stop_clocks);
            }
            // What hindered it is over unless the operation ended for that very reason.
            if !matches!(
                &outcome,
                Err(StepError::Agent(chainpool_agent::Error::Dependency(_)))
            ) {
                self.inner.live.note_known(id, |seen| seen.hindered = None);
            }
            if kind != OperationKind::ClusterRepair && kind != OperationKind::ClusterProve {
                self.inner.live.note_known(id, Seen::forget_faults);
            }
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
        // What it had when it was stopped is not forgotten with this process.
        cluster.height = self.height_seen(&cluster);
        let done = operation.state.0 == OperationState::Succeeded;
        let proof = proof_of(operation);
        match (operation.kind.0, done) {
            (OperationKind::ClusterDelete, true) => return Ok(tx.cluster_bury(cluster, now).await?),
            (OperationKind::ClusterCreate | OperationKind::ClusterReset, true) => {
                let generation = u32::try_from(cluster.generation).map_err(Error::internal)?;
                tx.revisions_delete(cluster.id, generation - 1).await?;
                cluster.state = Word(ClusterState::Ready);
                cluster.ready_at = Some(now.into());
                cluster.power_at = now.into();
                proven(&mut cluster, proof, now);
                note_fill(tx, &cluster, None, now).await?;
            }
            (OperationKind::ClusterCreate | OperationKind::ClusterReset, false) => {
                cluster.state = Word(ClusterState::Failed);
                let why = operation.error.clone().unwrap_or_default();
                judged(
                    &mut cluster,
                    HealthState::Broken,
                    format!("making it failed: {why}"),
                    now,
                );
                note_fill(
                    tx,
                    &cluster,
                    Some((&why, matches!(failure, Some(Failure::Passing)))),
                    now,
                )
                .await?;
            }
            (OperationKind::ClusterStart | OperationKind::ClusterRestart, true) => {
                let node = operation.arguments.0.get("node").and_then(|n| n.as_str());
                match node {
                    Some(node) => drop(cluster.stopped_nodes.0.remove(node)),
                    None => cluster.stopped_nodes.0.clear(),
                }
                cluster.state = Word(ClusterState::Ready);
                cluster.power_at = now.into();
                let renewed = renewed_text(operation).map_or_else(String::new, |text| format!("; {text}"));
                judged(
                    &mut cluster,
                    HealthState::Starting,
                    format!("after a {}{renewed}", operation.kind.0),
                    now,
                );
            }
            (OperationKind::ClusterStop, true) => {
                match operation.arguments.0.get("node").and_then(|n| n.as_str()) {
                    Some(node) => drop(cluster.stopped_nodes.0.insert(node.to_owned())),
                    None => {
                        cluster.state = Word(ClusterState::Stopped);
                        cluster.stopped_nodes.0 = BTreeSet::new();
                        judged(
                            &mut cluster,
                            HealthState::Stopped,
                            "stopped on purpose".to_owned(),
                            now,
                        );
                    }
                }
            }
            (OperationKind::ClusterAmend, true) => {
                cluster.power_at = now.into();
                proven(&mut cluster, proof, now);
            }
            // Half a change is nothing to offer; what the ledger itself says comes with the next evidence.
            (OperationKind::ClusterAmend, false) => {
                let why = operation.error.clone().unwrap_or_default();
                judged(
                    &mut cluster,
                    HealthState::Degraded,
                    format!("amending it failed: {why}; amend it again"),
                    now,
                );
            }
            (OperationKind::ClusterRepair, true) => {
                cluster.power_at = now.into();
                if proof.is_some() {
                    proven(&mut cluster, proof, now);
                }
            }
            // Without its ledger it was to run and does not: from now on it is watched as one that does.
            (
                OperationKind::ClusterStart | OperationKind::ClusterRestart | OperationKind::ClusterRepair,
                false,
            ) => {
                if let Some(Failure::LedgerLost(why)) = failure {
                    cluster.state = Word(ClusterState::Ready);
                    judged(&mut cluster, HealthState::Broken, why.to_owned(), now);
                }
            }
            (OperationKind::ClusterProve, true) => cluster.proof = proof.map(Json),
            _ => {}
        }
        keep_history(tx, &cluster, now).await?;
        Ok(tx.cluster_save(cluster).await?)
    }
}

fn proven(cluster: &mut ClusterRow, proof: Option<api::Proof>, now: Timestamp) {
    // A ledger that has begun again commits, and still is not the one that it was.
    let fault = cluster.ledger_fault.clone();
    let reason = proof.as_ref().map_or_else(String::new, |p| {
        let elsewhere = if p.written_to == p.read_from {
            "the same node, there is only one".to_owned()
        } else {
            p.read_from.clone()
        };
        format!(
            "a transaction was committed through {} in block {} and read back from {elsewhere}",
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
        Some(fault) => judged(cluster, HealthState::Broken, fault, now),
        None => judged(cluster, HealthState::Healthy, reason, now),
    }
}

fn judged(cluster: &mut ClusterRow, state: HealthState, reason: String, now: Timestamp) {
    if cluster.health.0 != state {
        cluster.health_since = now.into();
    }
    cluster.health = Word(state);
    cluster.health_reason = reason;
}

/// The transaction that an operation has proven its cluster with.
fn proof_of(operation: &OperationRow) -> Option<api::Proof> {
    serde_json::from_value(operation.result.as_ref()?.0.get("proof")?.clone()).ok()
}

/// Keeps a cluster's verdict in its history when it differs from the newest there.
pub(crate) async fn keep_history(tx: &mut Tx, cluster: &ClusterRow, now: Timestamp) -> Result<()> {
    let newest = tx.health_changes(cluster.id, 1).await?.pop();
    if newest.is_some_and(|n| {
        n.state == cluster.health && n.reason == cluster.health_reason && n.generation == cluster.generation
    }) {
        return Ok(());
    }
    let row = HealthChangeRow {
        id: uuid::Uuid::now_v7(),
        cluster_id: cluster.id,
        generation: cluster.generation,
        state: cluster.health,
        reason: cluster.health_reason.clone(),
        evidence: None,
        at: now.into(),
    };
    Ok(tx.health_insert(row).await?)
}

/// Counts the failures in a row of the fill entry that a cluster was made by.
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
        Some((reason, is_passing)) => {
            let known = host.fill_state.0.entry(key.clone()).or_insert(FillPause {
                failures: 0,
                reason: String::new(),
                next_at: now,
            });
            let pause = fill_pause(known.failures, is_passing);
            known.failures += 1;
            known.next_at = now.plus_seconds(pause);
            reason.clone_into(&mut known.reason);
        }
    }
    Ok(tx.host_save(host).await?)
}

/// How long a fill entry waits that has failed so often before, in seconds.
fn fill_pause(failures: u32, is_passing: bool) -> i64 {
    let pause = FILL_PAUSES[usize::try_from(failures)
        .unwrap_or(usize::MAX)
        .min(FILL_PAUSES.len() - 1)];
    if is_passing {
        pause.min(FILL_PASSING)
    } else {
        pause
    }
}

/// What came of an operation with parts.
async fn finish_host(tx: &mut Tx, row: &mut OperationRow) -> Result<()> {
    let children = tx.operation_children(row.id).await?;
    let count = |state: OperationState| children.iter().filter(|c| c.state.0 == state).count();
    let (made, failed) = (
        count(OperationState::Succeeded),
        count(OperationState::Failed) + count(OperationState::Superseded),
    );
    let limited = row.result.take().and_then(|r| r.0.get("limited_by").cloned());
    let mut result = match row.kind.0 {
        OperationKind::HostFillup => serde_json::json!({ "made": made, "failed": failed }),
        OperationKind::HostClean | OperationKind::HostReset => {
            serde_json::json!({ "deleted": made, "failed": failed })
        }
        _ => serde_json::json!({}),
    };
    if let Some(limited) = limited {
        result["limited_by"] = limited;
    }
    row.result = Some(Json(result));
    if failed > 0 && row.state.0 == OperationState::Succeeded {
        row.state = Word(OperationState::Failed);
        let first = children.iter().find_map(|c| c.error.clone()).unwrap_or_default();
        row.error = Some(format!(
            "{failed} of {} failed; the first: {first}",
            children.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_does_not_pause_a_fill_entry_beyond_a_full_pass() {
        let pauses = |is_passing| [0, 1, 2, 9].map(|failures| fill_pause(failures, is_passing));
        assert_eq!(pauses(false), [10, 60, 1800, 1800]);
        assert_eq!(pauses(true), [10, 30, 30, 30]);
    }

    #[test]
    fn a_failure_passes_when_its_platform_could_not_do_it_then() {
        let of = |error: StepError| matches!(Failure::of(&error), Failure::Passing);
        assert!(of(chainpool_agent::Error::Dependency(
            "the log server is away".to_owned()
        )
        .into()));
        assert!(of(StepError::NoRegistry("no such host".to_owned())));
        assert!(of(
            chainpool_agent::Error::Unreachable("no answer".to_owned()).into()
        ));
        assert!(!of(
            chainpool_agent::Error::Refused("no such program".to_owned()).into()
        ));
        assert!(!of(StepError::Late("no quorum".to_owned())));
    }
}
