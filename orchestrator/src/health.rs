//! Health assessment of ledgers: evidence in; verdict, history and repair requests out.
//!
//! Evidence is gathered from the ledger every two seconds, and at once when the platform reports a change.
//! The platform's inventory is read again only if something does not fit, so that a healthy pool costs no
//! listing. Assessments of a cluster never run concurrently.

mod stalled_nodes;

use crate::{
    Error, Orchestrator, Result,
    admission::Cause,
    cluster_runtime::{ClusterRuntime, NodeExit},
    completion::keep_history,
    evidence::{Inventory, LedgerAssessment},
    plan::Arguments,
    presenter::number,
    reconcile::{Decision, Situation, decide, is_client_saturated},
};
use chainpool_agent::{ClusterId, NodeName};
use chainpool_api::{self as api, ClusterState, HealthState, HostState, OperationKind, Timestamp};
use chainpool_health::millis;
use chainpool_networks::Verdict;
use chainpool_store::{ClusterRow, EnumColumn, HostRow, Tx};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// A cluster as it was assessed, and when its host had settled at that time.
type Assessed<'a> = (&'a ClusterRow, Option<Timestamp>);

/// The outcome of an assessment.
enum Assessment {
    Done,
    /// The platform's inventory timed out; the ledger's own evidence, if any, was used without it.
    TimedOut,
    /// The platform is unresponsive.
    HostUnresponsive(Uuid),
}

impl Orchestrator {
    /// Lists the clusters to probe: unhealthy ones first, then the least recently probed.
    pub async fn clusters_to_assess(&self) -> Result<Vec<Uuid>> {
        self.assessment_order().await
    }

    /// Records the exit of a node's process, as reported by the platform, and assesses its cluster: at once,
    /// so that it is not leased, and again when the platform's inventory has caught up, to repair it.
    pub async fn node_died(&self, cluster: ClusterId, node: &NodeName, code: i64) -> Result<()> {
        let at = Timestamp::now();
        let policy = &self.inner.policy;
        self.inner.runtime_cache.update_known(cluster.0, |runtime| {
            runtime.exits.push_back(NodeExit {
                node: node.clone(),
                code,
                at,
            });
            while runtime
                .exits
                .front()
                .is_some_and(|exit| at.millis_since(exit.at) > millis(policy.crash_loop.window))
            {
                runtime.exits.pop_front();
            }
        });
        // Coalesce many exits into one assessment per cluster.
        let Some(mut flight) = self.inner.runtime_cache.exit_checks.begin(cluster.0) else {
            return Ok(());
        };
        loop {
            self.cluster_assess(cluster.0, false).await?;
            if flight.take_pending() {
                self.cluster_assess(cluster.0, false).await?;
            }
            tokio::time::sleep(policy.assessment.inventory_lag).await;
            self.cluster_assess(cluster.0, true).await?;
            if flight.end() {
                return Ok(());
            }
        }
    }

    /// Gathers evidence on a cluster and acts on the verdict. `refresh` reads the platform's inventory first.
    /// While that is slow, the ledger's own evidence determines the verdict.
    pub async fn cluster_assess(&self, cluster: Uuid, refresh: bool) -> Result<()> {
        let one_at_a_time = self.inner.runtime_cache.assessment_lock(cluster);
        let guard = one_at_a_time.lock().await;
        let inventory_timeout = self.inner.policy.assessment.inventory_timeout;
        let mut outcome = self.assess(cluster, refresh, Some(inventory_timeout)).await?;
        if matches!(outcome, Assessment::TimedOut) {
            outcome = self.assess(cluster, true, None).await?;
        }
        drop(guard);
        match outcome {
            // Assess the host next: it determines what is known, and assesses this cluster too.
            Assessment::HostUnresponsive(host) => self.host_assess(host).await,
            Assessment::Done | Assessment::TimedOut => Ok(()),
        }
    }

    async fn assess(
        &self,
        cluster: Uuid,
        refresh: bool,
        inventory_timeout: Option<Duration>,
    ) -> Result<Assessment> {
        let read = self.store().read();
        let Some(row) = read
            .cluster(cluster)
            .await?
            .filter(|row| row.deleted_at.is_none() && row.state.0 == ClusterState::Ready)
        else {
            return Ok(Assessment::Done);
        };
        let Some(host) = self.fleet().await?.host(row.host_id).map(|host| host.row.clone()) else {
            return Ok(Assessment::Done);
        };
        let unknown = match host.state.0 {
            HostState::Active => None,
            HostState::Unreachable => Some(format!(
                "host {} has been unreachable since {}",
                host.name, host.since.0
            )),
            // Another engine may respond there; its state says nothing about this ledger.
            HostState::Paused => Some(format!("host {} is paused: {}", host.name, host.reason)),
        };
        if let Some(reason) = unknown {
            // Problems are assessed afresh when the host reconnects.
            self.inner
                .runtime_cache
                .update_known(row.id, ClusterRuntime::clear_faults);
            self.verdict_store(
                &row,
                &Verdict {
                    state: HealthState::Unknown,
                    reason,
                },
                None,
                None,
            )
            .await?;
            return Ok(Assessment::Done);
        }
        let agent = self.inner.agents.of(&host)?;
        match self.evidence(&row, &agent, refresh, inventory_timeout).await {
            Ok(Some(assessed)) => {
                let outcome = if assessed.inventory == Inventory::TimedOut {
                    Assessment::TimedOut
                } else {
                    Assessment::Done
                };
                self.verdict_act(&row, &host, assessed).await?;
                Ok(outcome)
            }
            Ok(None) => Ok(Assessment::TimedOut),
            Err(Error::Unavailable(_)) => Ok(Assessment::HostUnresponsive(host.id)),
            Err(error) => Err(error),
        }
    }

    async fn verdict_act(&self, row: &ClusterRow, host: &HostRow, assessed: LedgerAssessment) -> Result<()> {
        let LedgerAssessment {
            evidence,
            verdict,
            inventory,
            ledger_lost,
            fault,
        } = assessed;
        let ledger_lost_or_faulty = ledger_lost || fault.is_some();
        let inventory_known = inventory.is_known();
        let now = Timestamp::now();
        let bad = matches!(verdict.state, HealthState::Degraded | HealthState::Broken);
        let broken = verdict.state == HealthState::Broken;
        let maintenance = in_maintenance(row, host, now);
        let policy = &self.inner.policy;
        let in_grace = row.health.0 == HealthState::Starting
            && now.millis_since(row.last_started_at.0) < millis(policy.assessment.start_grace);
        let client_saturated = is_client_saturated(verdict.state, &evidence, &row.stopped_nodes.0);
        let suspended = !inventory_known
            || maintenance
            || in_grace
            || client_saturated
            || host.state.0 != HostState::Active
            || self.is_paused();
        let runtime = self
            .inner
            .runtime_cache
            .update(row.id, number(row.generation), |runtime| {
                if suspended {
                    // The delays start once something may be done.
                    runtime.reset_timers();
                } else {
                    runtime.unhealthy_since = if bad {
                        runtime.unhealthy_since.or(Some(now))
                    } else {
                        None
                    };
                    runtime.first_broken_at =
                        runtime.first_broken_at.filter(|_| bad).or(broken.then_some(now));
                    runtime.broken_since = runtime.broken_since.filter(|_| broken).or(broken.then_some(now));
                }
                if verdict.state == HealthState::Healthy {
                    runtime.note_recovery();
                }
                runtime.clone()
            });
        if let Some(at) = runtime.reconnected_at {
            self.inner.runtime_cache.node_started(host.id, at);
        }
        let changes_state = match row.operation_id {
            Some(id) => self.store().read().operation(id).await?.is_some_and(|o| {
                o.kind.0 != OperationKind::ClusterRepair && o.kind.0 != OperationKind::ClusterProve
            }),
            None => false,
        };
        if changes_state {
            return Ok(());
        }
        let recovering = matches!(
            row.health.0,
            HealthState::Degraded | HealthState::Broken | HealthState::Unknown
        );
        // A free cluster is healthy again only after a proof; the repair below provides it.
        let needs_proof = recovering && !row.leased && !maintenance && verdict.state == HealthState::Healthy;
        if !(needs_proof || in_grace && bad && !ledger_lost_or_faulty) {
            self.verdict_store(row, &verdict, Some(&evidence), fault).await?;
        }
        let situation = Situation {
            verdict: verdict.state,
            leased: row.leased,
            operation_running: row.operation_id.is_some(),
            inventory_lagging: runtime
                .exits
                .back()
                .is_some_and(|exit| now.millis_since(exit.at) < millis(policy.assessment.inventory_lag)),
            suspended,
            ledger_lost: ledger_lost_or_faulty,
            needs_proof,
            host_settled: self.inner.runtime_cache.host_settled(host.id),
            evidence: &evidence,
            runtime: &runtime,
            stopped: &row.stopped_nodes.0,
            policy,
            now,
        };
        let settled = situation.host_settled;
        match decide(&situation) {
            Decision::Nothing => Ok(()),
            Decision::Reset(why) => self.request_reset((row, settled), &why).await,
            Decision::Repair { start, restart } => {
                self.request_repair((row, settled), &verdict, start, restart)
                    .await
            }
        }
    }

    /// Stores a verdict if it differs from the stored one, and adds it to the history.
    async fn verdict_store(
        &self,
        before: &ClusterRow,
        verdict: &Verdict,
        evidence: Option<&api::Evidence>,
        fault: Option<String>,
    ) -> Result<()> {
        if before.health.0 == verdict.state && before.health_reason == verdict.reason {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let Some(mut row) = tx.cluster(before.id).await? else {
            return Ok(());
        };
        let moved_on = row.generation != before.generation
            || row.state.0 != ClusterState::Ready
            || row.health != before.health
            || row.last_started_at != before.last_started_at;
        if moved_on || row.deleted_at.is_some() {
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
        row.height = self.height_seen(&row);
        row.ledger_fault = row.ledger_fault.or(fault);
        if changed {
            let history = chainpool_store::HealthChangeRow {
                id: Uuid::now_v7(),
                cluster_id: row.id,
                generation: row.generation,
                state: row.health,
                reason: row.health_reason.clone(),
                evidence: evidence.cloned().map(chainpool_store::Json),
                at: now.into(),
            };
            tx.health_insert(history).await?;
        } else if verdict.state != HealthState::Healthy {
            // Record a changed reason, except while healthy.
            keep_history(&mut tx, &row, now).await?;
        }
        tx.cluster_save(row).await?;
        tx.commit("verdict").await?;
        Ok(())
    }

    async fn request_reset(&self, before: Assessed<'_>, why: &str) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let Some((row, host)) = self.as_assessed(&mut tx, before).await? else {
            return Ok(());
        };
        if row.leased {
            return Ok(());
        }
        tracing::info!(cluster = %row.name, why, "resetting a free cluster");
        match self
            .accept_reset(&mut tx, &host, row, &Cause::watchdog(why))
            .await
        {
            Ok((_, superseded)) => self.accepted(tx, superseded.as_slice()).await,
            // A running operation cannot be superseded by a reset; the next assessment sees its outcome.
            Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn request_repair(
        &self,
        before: Assessed<'_>,
        verdict: &Verdict,
        start: Vec<String>,
        restart: Vec<String>,
    ) -> Result<()> {
        let parse = |names: Vec<String>| names.iter().filter_map(|n| NodeName::parse(n).ok()).collect();
        let mut tx = self.store().begin().await?;
        let Some((row, _)) = self.as_assessed(&mut tx, before).await? else {
            return Ok(());
        };
        if row.operation_id.is_some() {
            return Ok(());
        }
        let nodes: BTreeSet<String> = start.iter().chain(&restart).cloned().collect();
        let arguments = Arguments {
            start: parse(start),
            restart: parse(restart),
            prove: !row.leased,
            ..Arguments::default()
        };
        tracing::info!(cluster = %row.name, reason = %verdict.reason, ?arguments, "repairing a cluster in place");
        let reason = format!("{}: {}", verdict.state, verdict.reason);
        let (cluster, restarts) = (row.id, !arguments.restart.is_empty());
        self.inner
            .runtime_cache
            .update_known(cluster, |runtime| runtime.note_repair(&nodes, Timestamp::now()));
        let (_, superseded) = self
            .accept_on(
                &mut tx,
                row,
                OperationKind::ClusterRepair,
                arguments,
                &Cause::watchdog(reason),
            )
            .await?;
        self.accepted(tx, superseded.as_slice()).await?;
        if restarts {
            self.inner
                .runtime_cache
                .update_known(cluster, ClusterRuntime::note_restart);
        }
        Ok(())
    }

    /// Reads a cluster and its host again. `None` if something changed since the assessment: an operation
    /// started or ended, a node was stopped on request, a proof was made, the host became unreachable or
    /// reconnected, or maintenance began. The next assessment takes it into account.
    async fn as_assessed(
        &self,
        tx: &mut Tx,
        (before, settled): Assessed<'_>,
    ) -> Result<Option<(ClusterRow, HostRow)>> {
        let Some(row) = tx.cluster(before.id).await? else {
            return Ok(None);
        };
        let Some(host) = tx.host(row.host_id).await? else {
            return Ok(None);
        };
        let same = row.deleted_at.is_none()
            && row.state.0 == ClusterState::Ready
            && row.generation == before.generation
            && row.last_started_at == before.last_started_at
            && row.operation_id == before.operation_id
            && row.stopped_nodes == before.stopped_nodes
            && row.proof == before.proof;
        let same_host =
            host.state.0 == HostState::Active && self.inner.runtime_cache.host_settled(host.id) == settled;
        Ok((same && same_host && !in_maintenance(&row, &host, Timestamp::now())).then_some((row, host)))
    }
}

fn in_maintenance(row: &ClusterRow, host: &HostRow, now: Timestamp) -> bool {
    [row.maintenance_until, host.maintenance_until]
        .iter()
        .flatten()
        .any(|until| until.0 > now)
}
