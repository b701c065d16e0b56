//! Executes the effects of a cluster's state machine: records verdicts, and requests repairs and resets like any
//! caller.

use super::assessment::{Assessed, in_maintenance};
use crate::{
    Error, Result,
    health::Health,
    operations::{cause::Cause, health_history::keep_history, plan::Arguments},
};
use chainpool_agent::NodeName;
use chainpool_api::{self as api, HealthState, HostState, OperationKind, Timestamp};
use chainpool_health::{Effect, Input, Verdict};
use chainpool_store::{ClusterRow, EnumColumn, HealthChangeRow, HostRow, Json, Priority, Tx};
use std::{collections::BTreeSet, sync::Arc};
use uuid::Uuid;

impl Health {
    /// Executes the effects of a cluster's state machine, except listings and probes within the assessment.
    pub(super) async fn perform(
        self: &Arc<Self>,
        assessed: &mut Assessed,
        effects: Vec<Effect>,
        evidence: Option<&api::Evidence>,
    ) -> Result<()> {
        if effects.is_empty() {
            return Ok(());
        }
        // Its own allocation: most assessments have no effects, and thousands may be in progress.
        Box::pin(self.perform_each(assessed, effects, evidence)).await
    }

    async fn perform_each(
        self: &Arc<Self>,
        assessed: &mut Assessed,
        effects: Vec<Effect>,
        evidence: Option<&api::Evidence>,
    ) -> Result<()> {
        // Without a verdict to record, the cluster recovered and has no proof yet.
        let mut reason = "recovered; verifying with a transaction".to_owned();
        for effect in effects {
            match effect {
                Effect::Record { verdict, fault } => {
                    reason = format!("{}: {}", verdict.state, verdict.reason);
                    self.record(&mut assessed.row, &verdict, evidence, fault).await?;
                }
                Effect::Repair { start, restart } => {
                    self.request_repair(assessed, &reason, start, restart).await?;
                }
                Effect::Prove => {
                    self.request_repair(assessed, &reason, BTreeSet::new(), BTreeSet::new())
                        .await?;
                }
                Effect::Reset(why) => self.request_reset(assessed, &why).await?,
                Effect::ProbeAgain { after } => {
                    if !after.is_zero() {
                        self.cluster_assess_after(assessed.row.id, after);
                    }
                }
                Effect::ListNow { .. } => {}
            }
        }
        Ok(())
    }

    /// Stores a verdict if it differs from the stored one, and adds it to the history. Does nothing if the cluster
    /// changed since the assessment began, which the next assessment takes into account, or if another process leads
    /// its host.
    async fn record(
        &self,
        before: &mut ClusterRow,
        verdict: &Verdict,
        evidence: Option<&api::Evidence>,
        fault: Option<String>,
    ) -> Result<()> {
        if before.health.0 == verdict.state && before.health_reason == verdict.reason {
            return Ok(());
        }
        let now = Timestamp::now();
        // Applies that arrive later must not lease a cluster that is no longer healthy.
        let withdraws = before.health.0 == HealthState::Healthy && !before.leased;
        let priority = if withdraws {
            Priority::Request
        } else {
            Priority::Background
        };
        let mut tx = self.store().begin_as(priority).await?;
        let Some(mut row) = tx
            .cluster(before.id)
            .await?
            .filter(|row| row.row_version == before.row_version)
        else {
            return Ok(());
        };
        if !tx.leads(row.host_id).await? {
            return Ok(());
        }
        if row.health.0 != verdict.state {
            row.health_since = now.into();
            tracing::info!(cluster = %row.name, from = %row.health.0, to = %verdict.state, reason = %verdict.reason, "health changed");
        }
        let changed = row.health.0 != verdict.state;
        row.health = EnumColumn(verdict.state);
        row.health_reason.clone_from(&verdict.reason);
        row.checked_at = now.into();
        row.height = self.runtime.height_seen(&row);
        row.ledger_fault = row.ledger_fault.or(fault);
        if changed {
            let history = HealthChangeRow {
                id: Uuid::now_v7(),
                cluster_id: row.id,
                generation: row.generation,
                state: row.health,
                reason: row.health_reason.clone(),
                evidence: evidence.cloned().map(Json),
                at: now.into(),
            };
            tx.health_insert(history).await?;
        } else if verdict.state != HealthState::Healthy {
            // Record a changed reason, except while healthy.
            keep_history(&mut tx, &row, now).await?;
        }
        let row = tx.cluster_save(row).await?;
        tx.commit("verdict").await?;
        *before = row;
        Ok(())
    }

    async fn request_reset(&self, assessed: &Assessed, why: &str) -> Result<()> {
        let mut tx = self.store().begin_background().await?;
        let Some((row, host)) = self.as_assessed(&mut tx, assessed).await? else {
            return Ok(());
        };
        if row.leased {
            return Ok(());
        }
        tracing::info!(cluster = %row.name, why, "resetting a free cluster");
        match self
            .operations
            .accept_reset(&mut tx, &host, row, &Cause::watchdog(why))
            .await
        {
            Ok((_, superseded)) => self.operations.accepted(tx, superseded.as_slice()).await,
            // A running operation cannot be superseded by a reset; the next assessment sees its outcome.
            Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn request_repair(
        &self,
        assessed: &Assessed,
        reason: &str,
        start: BTreeSet<String>,
        restart: BTreeSet<String>,
    ) -> Result<()> {
        let parse = |names: &BTreeSet<String>| names.iter().filter_map(|n| NodeName::parse(n).ok()).collect();
        let mut tx = self.store().begin_background().await?;
        let Some((row, _)) = self.as_assessed(&mut tx, assessed).await? else {
            return Ok(());
        };
        if row.operation_id.is_some() {
            return Ok(());
        }
        let arguments = Arguments {
            start: parse(&start),
            restart: parse(&restart),
            prove: !row.leased,
            ..Arguments::default()
        };
        tracing::info!(cluster = %row.name, reason, ?arguments, "repairing a cluster in place");
        let started = Input::OperationStarted {
            kind: OperationKind::ClusterRepair,
            restarts: !restart.is_empty(),
            repairs: start.union(&restart).cloned().collect(),
        };
        let cluster = row.id;
        let cause = Cause::watchdog(reason);
        let (_, superseded) = self
            .operations
            .accept_on(&mut tx, row, OperationKind::ClusterRepair, arguments, &cause)
            .await?;
        // Before the operation is visible, so that it cannot end first.
        self.runtime.cache.advance_known(cluster, started);
        self.operations.accepted(tx, superseded.as_slice()).await
    }

    /// Reads a cluster and its host again. `None` if the cluster changed since the assessment (an operation began or
    /// ended, it was leased, a node was stopped on request), or the host became unavailable, reconnected or went into
    /// maintenance; the next assessment takes it into account. `None` also if another process leads the host.
    async fn as_assessed(&self, tx: &mut Tx, assessed: &Assessed) -> Result<Option<(ClusterRow, HostRow)>> {
        let Some(row) = tx
            .cluster(assessed.row.id)
            .await?
            .filter(|row| row.row_version == assessed.row.row_version)
        else {
            return Ok(None);
        };
        let Some(host) = tx.host(row.host_id).await? else {
            return Ok(None);
        };
        let same_host = host.state.0 == HostState::Active
            && self.runtime.cache.host(host.id).quiet_since() == assessed.quiet_since;
        let same = same_host && !in_maintenance(&row, &host, Timestamp::now());
        Ok((same && tx.leads(host.id).await?).then_some((row, host)))
    }
}
