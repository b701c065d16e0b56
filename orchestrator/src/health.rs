//! Judging ledgers: evidence in, verdict out, history kept, repair asked for.
//!
//! Evidence is gathered every two seconds from the ledger itself and at once when the platform tells of a change. The
//! platform's listing is read again only when something does not fit, so that steady state costs no listing. Nothing
//! is judged twice at once.

use crate::{
    Error, Orchestrator, Result,
    accept::Cause,
    evidence::{LISTING, LOOP_MS, Listing, Looked, SETTLE_MS},
    finish::keep_history,
    plan::Arguments,
    reconcile::{Decision, Situation, decide, is_crowded_out},
    seen::{Death, Seen},
    view::number,
};
use chainpool_agent::{ClusterId, NodeName};
use chainpool_api::{self as api, ClusterState, HealthState, HostState, OperationKind, Timestamp};
use chainpool_networks::Verdict;
use chainpool_store::{ClusterRow, HostRow, Tx, Word};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// How long a bad verdict is withheld after a start, in milliseconds.
const GRACE_MS: i64 = 30_000;

/// A cluster as it was judged, and when its host had settled then.
type Judged<'a> = (&'a ClusterRow, Option<Timestamp>);

/// What came of a judgement.
enum Judgement {
    Done,
    /// The platform is slow to list; the ledger's own word, where it has one, was told without it.
    Slow,
    /// The platform does not answer.
    HostSilent(Uuid),
}

impl Orchestrator {
    /// The clusters whose ledgers are to be probed, those with a bad verdict first, then the longest unseen.
    pub async fn clusters_to_judge(&self) -> Result<Vec<Uuid>> {
        let mut rows = self.store().read().clusters().await?;
        rows.retain(|row| row.state.0 == ClusterState::Ready);
        rows.sort_by_key(|row| {
            (
                row.health.0 == HealthState::Healthy,
                self.inner.live.seen(row.id, number(row.generation)).checked_at,
            )
        });
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Notes that a node's process ended, by the platform's own word, and judges its cluster: at once, so that nobody
    /// gets it, and again when the platform's listing has caught up, to mend it.
    pub async fn node_died(&self, cluster: ClusterId, node: &NodeName, code: i64) -> Result<()> {
        let at = Timestamp::now();
        self.inner.live.note_known(cluster.0, |seen| {
            seen.deaths.push_back(Death {
                node: node.clone(),
                code,
                at,
            });
            while seen
                .deaths
                .front()
                .is_some_and(|death| at.millis_since(death.at) > LOOP_MS)
            {
                seen.deaths.pop_front();
            }
        });
        // However often its processes end, one looks at a cluster.
        let Some(mut looking) = self.inner.live.deaths.begin(cluster.0) else {
            return Ok(());
        };
        loop {
            self.cluster_judge(cluster.0, false).await?;
            if looking.again() {
                self.cluster_judge(cluster.0, false).await?;
            }
            tokio::time::sleep(Duration::from_millis(SETTLE_MS.unsigned_abs())).await;
            self.cluster_judge(cluster.0, true).await?;
            if looking.end() {
                return Ok(());
            }
        }
    }

    /// Gathers evidence on a cluster and acts on the verdict. With `look`, the platform's listing is read first. While that is
    /// slow to come the ledger's own word makes a verdict.
    pub async fn cluster_judge(&self, cluster: Uuid, look: bool) -> Result<()> {
        let one_at_a_time = self.inner.live.judging(cluster);
        let guard = one_at_a_time.lock().await;
        let mut judgement = self.judge(cluster, look, Some(LISTING)).await?;
        if matches!(judgement, Judgement::Slow) {
            judgement = self.judge(cluster, true, None).await?;
        }
        drop(guard);
        match judgement {
            // The host's own judgement follows; it decides what is known, and judges this cluster too.
            Judgement::HostSilent(host) => self.host_judge(host).await,
            Judgement::Done | Judgement::Slow => Ok(()),
        }
    }

    async fn judge(&self, cluster: Uuid, look: bool, patience: Option<Duration>) -> Result<Judgement> {
        let read = self.store().read();
        let Some(row) = read
            .cluster(cluster)
            .await?
            .filter(|row| row.gone_at.is_none() && row.state.0 == ClusterState::Ready)
        else {
            return Ok(Judgement::Done);
        };
        let Some(host) = read.host(row.host_id).await? else {
            return Ok(Judgement::Done);
        };
        let unknown = match host.state.0 {
            HostState::Active => None,
            HostState::Unreachable => Some(format!(
                "host {} does not answer since {}",
                host.name, host.since.0
            )),
            // Another engine may answer there: what it says is nothing about this ledger.
            HostState::Paused => Some(format!("host {} is paused: {}", host.name, host.reason)),
        };
        if let Some(reason) = unknown {
            // What was wrong before is judged anew when the host is back.
            self.inner.live.note_known(row.id, Seen::forget_faults);
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
            return Ok(Judgement::Done);
        }
        let agent = self.inner.agents.of(&host)?;
        match self.evidence(&row, &agent, look, patience).await {
            Ok(Some(looked)) => {
                let judgement = if looked.listing == Listing::Slow {
                    Judgement::Slow
                } else {
                    Judgement::Done
                };
                self.verdict_act(&row, &host, looked).await?;
                Ok(judgement)
            }
            Ok(None) => Ok(Judgement::Slow),
            Err(Error::Unavailable(_)) => Ok(Judgement::HostSilent(host.id)),
            Err(error) => Err(error),
        }
    }

    async fn verdict_act(&self, row: &ClusterRow, host: &HostRow, looked: Looked) -> Result<()> {
        let Looked {
            evidence,
            verdict,
            listing,
            ledger_lost,
            fault,
        } = looked;
        let lost = ledger_lost || fault.is_some();
        let told = listing.is_told();
        let now = Timestamp::now();
        let bad = matches!(verdict.state, HealthState::Degraded | HealthState::Broken);
        let broken = verdict.state == HealthState::Broken;
        let maintenance = in_maintenance(row, host, now);
        let in_grace = row.health.0 == HealthState::Starting && now.millis_since(row.power_at.0) < GRACE_MS;
        let crowded_out = is_crowded_out(verdict.state, &evidence, &row.stopped_nodes.0);
        let held_back = !told
            || maintenance
            || in_grace
            || crowded_out
            || host.state.0 != HostState::Active
            || self.is_paused();
        let seen = self.inner.live.note(row.id, number(row.generation), |seen| {
            if held_back {
                // What is done about it has its time once something may be done.
                seen.stop_clocks();
            } else {
                seen.bad_since = if bad { seen.bad_since.or(Some(now)) } else { None };
                seen.was_broken_at = seen.was_broken_at.filter(|_| bad).or(broken.then_some(now));
                seen.broken_since = seen.broken_since.filter(|_| broken).or(broken.then_some(now));
            }
            if verdict.state == HealthState::Healthy {
                seen.recovers();
            }
            seen.clone()
        });
        if let Some(at) = seen.returned_at {
            self.inner.live.node_came_up(host.id, at);
        }
        let power_op = match row.operation_id {
            Some(id) => self.store().read().operation(id).await?.is_some_and(|o| {
                o.kind.0 != OperationKind::ClusterRepair && o.kind.0 != OperationKind::ClusterProve
            }),
            None => false,
        };
        if power_op {
            return Ok(());
        }
        let recovering = matches!(
            row.health.0,
            HealthState::Degraded | HealthState::Broken | HealthState::Unknown
        );
        // A free cluster is healthy again only when a transaction of ours went through; the repair below sees to that.
        let needs_proof = recovering && !row.leased && !maintenance && verdict.state == HealthState::Healthy;
        if !(needs_proof || in_grace && bad && !lost) {
            self.verdict_store(row, &verdict, Some(&evidence), fault).await?;
        }
        let situation = Situation {
            verdict: verdict.state,
            leased: row.leased,
            live: row.operation_id.is_some(),
            settling: seen
                .deaths
                .back()
                .is_some_and(|death| now.millis_since(death.at) < SETTLE_MS),
            held_back,
            lost,
            needs_proof,
            host_settled: self.inner.live.host_settled(host.id),
            evidence: &evidence,
            seen: &seen,
            stopped: &row.stopped_nodes.0,
            now,
        };
        let settled = situation.host_settled;
        match decide(&situation) {
            Decision::Nothing => Ok(()),
            Decision::Reset(why) => self.ask_reset((row, settled), &why).await,
            Decision::Repair { start, restart } => {
                self.ask_repair((row, settled), &verdict, start, restart).await
            }
        }
    }

    /// Stores a verdict when it differs from the stored one, and keeps it in the history.
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
            || row.power_at != before.power_at;
        if moved_on || row.gone_at.is_some() {
            return Ok(());
        }
        if row.health.0 != verdict.state {
            row.health_since = now.into();
            tracing::info!(cluster = %row.name, from = %row.health.0, to = %verdict.state, reason = %verdict.reason, "verdict");
        }
        let changed = row.health.0 != verdict.state;
        row.health = Word(verdict.state);
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
            // In other words still healthy: nothing happened to it.
            keep_history(&mut tx, &row, now).await?;
        }
        tx.cluster_save(row).await?;
        tx.commit("verdict").await?;
        Ok(())
    }

    async fn ask_reset(&self, before: Judged<'_>, why: &str) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let Some((row, host)) = self.as_judged(&mut tx, before).await? else {
            return Ok(());
        };
        if row.leased {
            return Ok(());
        }
        tracing::info!(cluster = %row.name, why, "a free cluster is made again");
        match self
            .accept_reset(&mut tx, &host, row, &Cause::watchdog(why))
            .await
        {
            Ok((_, superseded)) => self.accepted(tx, superseded.as_slice()).await,
            // An operation is under way that no reset may end: the next judgement sees what came of it.
            Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask_repair(
        &self,
        before: Judged<'_>,
        verdict: &Verdict,
        start: Vec<String>,
        restart: Vec<String>,
    ) -> Result<()> {
        let parse = |names: Vec<String>| names.iter().filter_map(|n| NodeName::parse(n).ok()).collect();
        let mut tx = self.store().begin().await?;
        let Some((row, _)) = self.as_judged(&mut tx, before).await? else {
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
        tracing::info!(cluster = %row.name, reason = %verdict.reason, ?arguments, "a cluster is mended in place");
        let reason = format!("{}: {}", verdict.state, verdict.reason);
        let (cluster, restarts) = (row.id, !arguments.restart.is_empty());
        self.inner
            .live
            .note_known(cluster, |seen| seen.repairs(&nodes, Timestamp::now()));
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
            self.inner.live.note_known(cluster, Seen::restarts);
        }
        Ok(())
    }

    /// A cluster and its host as they are now; `None` when something has happened since it was judged: an operation began or ended, a node
    /// was stopped on purpose, it was proven, its host went away or came back, maintenance was announced. The next judgement knows of it.
    async fn as_judged(
        &self,
        tx: &mut Tx,
        (before, settled): Judged<'_>,
    ) -> Result<Option<(ClusterRow, HostRow)>> {
        let Some(row) = tx.cluster(before.id).await? else {
            return Ok(None);
        };
        let Some(host) = tx.host(row.host_id).await? else {
            return Ok(None);
        };
        let same = row.gone_at.is_none()
            && row.state.0 == ClusterState::Ready
            && row.generation == before.generation
            && row.power_at == before.power_at
            && row.operation_id == before.operation_id
            && row.stopped_nodes == before.stopped_nodes
            && row.proof == before.proof;
        let same_host = host.state.0 == HostState::Active && self.inner.live.host_settled(host.id) == settled;
        Ok((same && same_host && !in_maintenance(&row, &host, Timestamp::now())).then_some((row, host)))
    }
}

fn in_maintenance(row: &ClusterRow, host: &HostRow, now: Timestamp) -> bool {
    [row.maintenance_until, host.maintenance_until]
        .iter()
        .flatten()
        .any(|until| until.0 > now)
}
