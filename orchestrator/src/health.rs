//! Judging ledgers: evidence in, verdict out, history kept, repair asked for.
//!
//! Evidence is gathered every two seconds from the ledger itself and at once when the platform tells of a change. The
//! platform's listing is read again only when something does not fit, so that steady state costs no listing. Nothing
//! is judged twice at once.

use crate::{
    Error, Orchestrator, Result,
    accept::Cause,
    agents::HostAgent,
    finish::keep_history,
    live::{Death, Seen},
    plan::Arguments,
    reconcile::{Decision, Situation, decide},
    view::number,
};
use chainpool_agent::{ClusterId, ClusterKey, LogQuery, NodeName, NodeState, Object, ObjectKind, Observation, Scope};
use chainpool_api::{self as api, ClusterState, HealthState, HostState, OperationKind, Timestamp};
use chainpool_networks::{Nodes, Past, Verdict};
use chainpool_store::{ClusterRow, HostRow, Word};
use futures::StreamExt;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use uuid::Uuid;

/// How long a bad verdict is withheld after a start, in milliseconds.
const GRACE_MS: i64 = 30_000;
/// How long an engine's listing may lag behind its events (measured on Docker 20.10: 66 to 103 ms), in milliseconds.
const SETTLE_MS: i64 = 150;
/// How many exits in which time are a crash loop.
const LOOP_EXITS: usize = 5;
const LOOP_MS: i64 = 120_000;

/// How long the platform's listing is waited for: while a swarm elects a leader, or an engine hangs, the ledger's own word must do.
const LISTING: Duration = Duration::from_millis(1_500);

/// What a look at a ledger gave.
struct Judged {
    evidence: api::Evidence,
    verdict: Verdict,
    /// The platform could not say what runs: nothing is mended now.
    withheld: bool,
}

/// The platform's listing in a judgement.
#[derive(PartialEq, Eq)]
enum Listing {
    /// What was seen before was good enough.
    Earlier,
    Now,
    /// It did not come in time; what was seen before must do.
    Slow,
    /// The platform answered that it cannot tell now, and why.
    Withheld(String),
}

impl Orchestrator {
    /// The clusters whose ledgers are to be probed, those with a bad verdict first, then the longest unseen.
    pub async fn clusters_to_judge(&self) -> Result<Vec<Uuid>> {
        let mut rows = self.store().read().clusters().await?;
        rows.retain(|row| row.state.0 == ClusterState::Ready);
        rows.sort_by_key(|row| (row.health.0 == HealthState::Healthy, self.inner.live.seen(row.id, number(row.generation)).checked_at));
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Notes that a node's process ended, by the platform's own word, and judges its cluster: at once, so that nobody
    /// gets it, and again when the platform's listing has caught up, to mend it.
    pub async fn node_died(&self, cluster: ClusterId, node: &NodeName, code: i64) -> Result<()> {
        let at = Timestamp::now();
        self.inner.live.note_known(cluster.0, |seen| {
            seen.deaths.push_back(Death { node: node.clone(), code, at });
            while seen.deaths.front().is_some_and(|death| at.millis_since(death.at) > LOOP_MS) {
                seen.deaths.pop_front();
            }
        });
        self.cluster_judge(cluster.0, false).await?;
        tokio::time::sleep(Duration::from_millis(SETTLE_MS.unsigned_abs())).await;
        self.cluster_judge(cluster.0, true).await
    }

    /// Gathers evidence on a cluster and acts on the verdict. With `look`, the platform's listing is read first.
    pub async fn cluster_judge(&self, cluster: Uuid, look: bool) -> Result<()> {
        let one_at_a_time = self.inner.live.judging(cluster);
        let guard = one_at_a_time.lock().await;
        let read = self.store().read();
        let Some(row) = read.cluster(cluster).await?.filter(|row| row.gone_at.is_none() && row.state.0 == ClusterState::Ready) else {
            return Ok(());
        };
        let Some(host) = read.host(row.host_id).await? else { return Ok(()) };
        let unknown = match host.state.0 {
            HostState::Active => None,
            HostState::Unreachable => Some(format!("host {} does not answer since {}", host.name, host.since.0)),
            // Another engine may answer there: what it says is nothing about this ledger.
            HostState::Paused => Some(format!("host {} is paused: {}", host.name, host.reason)),
        };
        if let Some(reason) = unknown {
            // What was wrong before is judged anew when the host is back.
            self.inner.live.note_known(row.id, Seen::forget_faults);
            return self.verdict_store(&row, &Verdict { state: HealthState::Unknown, reason }, None).await;
        }
        let agent = self.inner.agents.of(&host)?;
        match self.evidence(&row, &agent, look).await {
            Ok(judged) => self.verdict_act(&row, &host, judged).await,
            // The host's own judgement follows; it decides what is known, and judges this cluster too.
            Err(Error::Unavailable(_)) => {
                drop(guard);
                self.host_judge(host.id).await
            }
            Err(error) => Err(error),
        }
    }

    async fn evidence(&self, row: &ClusterRow, agent: &HostAgent, look: bool) -> Result<Judged> {
        let generation = number(row.generation);
        let key = ClusterKey { cluster: ClusterId(row.id), generation };
        let spec = self.spec(row.id, generation).await?.ok_or_else(|| Error::internal(format!("cluster {} has no spec", row.name)))?;
        let network = self.inner.registry.get(&row.network_type).map_err(Error::internal)?;
        let nodes = Nodes { agent: Arc::clone(&agent.agent), key, spec: Arc::clone(&spec) };
        let mut seen = self.inner.live.seen(row.id, generation);
        let mut listing = Listing::Earlier;
        if look || seen.observed.is_none() {
            listing = list(agent, key.cluster, &mut seen).await?;
        }
        trust_deaths(&mut seen);
        let mut evidence = network.probe(&nodes, seen.observed.as_ref().unwrap_or(&Observation::default())).await;
        let fits = evidence.nodes.values().all(|node| node.answers);
        if !fits && listing == Listing::Earlier {
            // Something does not fit what was last seen: a paused, removed or started node. Look again, then ask again.
            let before = seen.observed.clone();
            listing = list(agent, key.cluster, &mut seen).await?;
            trust_deaths(&mut seen);
            if seen.observed != before {
                evidence = network.probe(&nodes, seen.observed.as_ref().unwrap_or(&Observation::default())).await;
            }
        }
        let missing = match &listing {
            Listing::Earlier | Listing::Now => None,
            Listing::Slow => Some(format!("no listing within {} ms", LISTING.as_millis())),
            Listing::Withheld(why) => Some(why.clone()),
        };
        let ledger_speaks = seen.observed.is_some() && evidence.nodes.values().any(|node| node.answers);
        if let Some(why) = missing.filter(|_| !ledger_speaks) {
            return Err(Error::Unavailable(format!("neither the platform nor a node of cluster {} answers: {why}", row.name)));
        }
        let now = Timestamp::now();
        let past = Past {
            height: seen.height.map(|(height, _)| height).or(row.height.and_then(|h| u64::try_from(h).ok())),
            height_since: seen.height.map(|(_, since)| since),
            recovering: matches!(row.health.0, HealthState::Degraded | HealthState::Broken | HealthState::Unknown),
            started_at: Some(row.power_at.0),
            returned_at: seen.returned_at,
        };
        let mut verdict = network.verdict(&row.parameters.0, &evidence, &past, now);
        let listed = seen.observed.clone().unwrap_or_default();
        self.note_evidence(row, generation, &listed, &evidence, now);
        if let Some((node, exits)) = crash_loop(&self.inner.live.seen(row.id, generation)) {
            let said = last_lines(agent, &key, &node).await;
            let reason = format!("{node} ended {exits} times within two minutes (crash loop); its last lines: {said}");
            verdict = Verdict { state: HealthState::Broken, reason };
        }
        let stopped: Vec<&str> = row.stopped_nodes.0.iter().map(String::as_str).collect();
        if !stopped.is_empty() && verdict.state != HealthState::Healthy {
            verdict.reason = format!("{} (stopped on purpose: {})", verdict.reason, stopped.join(", "));
        }
        Ok(Judged { evidence, verdict, withheld: matches!(listing, Listing::Withheld(_)) })
    }

    /// Keeps what was seen.
    pub(crate) fn note_evidence(&self, row: &ClusterRow, generation: u32, listed: &Observation, evidence: &api::Evidence, now: Timestamp) {
        self.inner.live.note(row.id, generation, |seen| {
            seen.observed = Some(listed.clone());
            let before = seen.evidence.as_ref().map(|e| &e.nodes);
            let was_silent = |name: &String| before.is_some_and(|nodes| nodes.get(name).is_some_and(|n| !n.answers));
            if evidence.nodes.iter().any(|(name, node)| node.answers && was_silent(name)) {
                seen.returned_at = Some(now);
            }
            seen.checked_at = Some(now);
            if let Some(height) = evidence.height {
                seen.height = seen.height.filter(|(known, _)| *known >= height).or(Some((height, now)));
            }
            let silent: BTreeSet<&String> =
                evidence.nodes.iter().filter(|(_, n)| n.process == "running" && !n.answers).map(|(name, _)| name).collect();
            seen.silent.retain(|name, _| silent.contains(name));
            for name in silent {
                seen.silent.entry(name.clone()).or_insert(now);
            }
            seen.evidence = Some(evidence.clone());
        });
    }

    async fn verdict_act(&self, row: &ClusterRow, host: &HostRow, judged: Judged) -> Result<()> {
        let Judged { evidence, verdict, withheld } = judged;
        let now = Timestamp::now();
        let bad = matches!(verdict.state, HealthState::Degraded | HealthState::Broken);
        let broken = verdict.state == HealthState::Broken;
        let seen = self.inner.live.note(row.id, number(row.generation), |seen| {
            seen.bad_since = if bad { seen.bad_since.or(Some(now)) } else { None };
            seen.was_broken_at = seen.was_broken_at.filter(|_| bad).or(broken.then_some(now));
            seen.broken_since = seen.broken_since.filter(|_| broken).or(broken.then_some(now));
            seen.clone()
        });
        let maintenance = [row.maintenance_until, host.maintenance_until].iter().flatten().any(|until| until.0 > now);
        let in_grace = row.health.0 == HealthState::Starting && now.millis_since(row.power_at.0) < GRACE_MS;
        let power_op = match row.operation_id {
            Some(id) => self
                .store()
                .read()
                .operation(id)
                .await?
                .is_some_and(|o| o.kind.0 != OperationKind::ClusterRepair && o.kind.0 != OperationKind::ClusterProve),
            None => false,
        };
        if power_op {
            return Ok(());
        }
        let recovering = matches!(row.health.0, HealthState::Degraded | HealthState::Broken | HealthState::Unknown);
        // A free cluster is healthy again only when a transaction of ours went through; the repair below sees to that.
        let needs_proof = recovering && !row.leased && !maintenance && verdict.state == HealthState::Healthy;
        if !(needs_proof || in_grace && bad) {
            self.verdict_store(row, &verdict, Some(&evidence)).await?;
        }
        let situation = Situation {
            verdict: verdict.state,
            leased: row.leased,
            live: row.operation_id.is_some(),
            settling: seen.deaths.back().is_some_and(|death| now.millis_since(death.at) < SETTLE_MS),
            held_back: withheld || maintenance || in_grace || host.state.0 != HostState::Active || self.is_paused(),
            needs_proof,
            host_back: self.inner.live.host_back(host.id),
            evidence: &evidence,
            seen: &seen,
            stopped: &row.stopped_nodes.0,
            now,
        };
        match decide(&situation) {
            Decision::Nothing => Ok(()),
            Decision::Reset(why) => self.ask_reset(row, &why).await,
            Decision::Repair { start, restart } => self.ask_repair(row, &verdict, start, restart).await,
        }
    }

    /// Stores a verdict when it differs from the stored one, and keeps it in the history.
    async fn verdict_store(&self, before: &ClusterRow, verdict: &Verdict, evidence: Option<&api::Evidence>) -> Result<()> {
        if before.health.0 == verdict.state && (before.health_reason == verdict.reason || verdict.state == HealthState::Healthy) {
            return Ok(());
        }
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let Some(mut row) = tx.cluster(before.id).await? else { return Ok(()) };
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
        row.height = evidence.and_then(|e| e.height).and_then(|h| i64::try_from(h).ok()).or(row.height);
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
        } else {
            keep_history(&mut tx, &row, now).await?;
        }
        tx.cluster_save(row).await?;
        tx.commit("verdict").await?;
        Ok(())
    }

    async fn ask_reset(&self, before: &ClusterRow, why: &str) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let Some(row) = tx.cluster(before.id).await? else { return Ok(()) };
        let (Some(host), false) =
            (tx.host(row.host_id).await?, row.leased || row.state.0 != ClusterState::Ready || row.generation != before.generation)
        else {
            return Ok(());
        };
        tracing::info!(cluster = %row.name, why, "a free cluster is made again");
        match self.accept_reset(&mut tx, &host, row, &Cause::watchdog(why)).await {
            Ok((_, superseded)) => self.accepted(tx, superseded.as_slice()).await,
            // Somebody else's operation is under way: the next judgement sees what came of it.
            Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask_repair(&self, before: &ClusterRow, verdict: &Verdict, start: Vec<String>, restart: Vec<String>) -> Result<()> {
        let parse = |names: Vec<String>| names.iter().filter_map(|n| NodeName::parse(n).ok()).collect();
        let mut tx = self.store().begin().await?;
        let Some(row) = tx.cluster(before.id).await? else { return Ok(()) };
        if row.state.0 != ClusterState::Ready || row.generation != before.generation || row.operation_id.is_some() {
            return Ok(());
        }
        let arguments = Arguments { start: parse(start), restart: parse(restart), prove: !row.leased, ..Arguments::default() };
        tracing::info!(cluster = %row.name, reason = %verdict.reason, ?arguments, "a cluster is mended in place");
        let reason = format!("{}: {}", verdict.state, verdict.reason);
        self.inner.live.note_known(row.id, |seen| seen.repaired_at = Some(Timestamp::now()));
        self.accept_on(&mut tx, row, OperationKind::ClusterRepair, arguments, &Cause::watchdog(reason)).await?;
        self.accepted(tx, &[]).await
    }
}

/// Reads the platform's listing of a cluster, if it comes in time.
async fn list(agent: &HostAgent, cluster: ClusterId, seen: &mut Seen) -> Result<Listing> {
    match tokio::time::timeout(LISTING, agent.agent.observe(Scope::Cluster(cluster))).await {
        Ok(Ok(observed)) => {
            seen.observed = Some(observed);
            Ok(Listing::Now)
        }
        Ok(Err(chainpool_agent::Error::Busy(why))) => Ok(Listing::Withheld(why)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(Listing::Slow),
    }
}

/// Puts the newest process ends into the listing: the platform's events are ahead of its listing for a moment.
fn trust_deaths(seen: &mut Seen) {
    let now = Timestamp::now();
    let Seen { deaths, observed: Some(observed), generation, .. } = seen else { return };
    for death in deaths.iter().filter(|death| now.millis_since(death.at) < SETTLE_MS) {
        let same = |object: &&mut Object| object.generation == *generation && object.node.as_ref() == Some(&death.node);
        for object in observed.objects.iter_mut().filter(|o| o.kind == ObjectKind::Node).filter(same) {
            object.state = Some(NodeState::Exited(death.code));
        }
    }
}

/// The node that ends again and again, and how often it did.
fn crash_loop(seen: &Seen) -> Option<(NodeName, usize)> {
    let now = Timestamp::now();
    let recent = |node: &NodeName| seen.deaths.iter().filter(|death| death.node == *node && now.millis_since(death.at) <= LOOP_MS).count();
    let node = &seen.deaths.iter().find(|death| recent(&death.node) > LOOP_EXITS)?.node;
    Some((node.clone(), recent(node)))
}

/// The last 20 lines of a node's log, as one text for a reason.
async fn last_lines(agent: &HostAgent, key: &ClusterKey, node: &NodeName) -> String {
    let query = LogQuery { tail: Some(20), ..LogQuery::default() };
    match agent.agent.logs(key, node, query).await {
        Ok(lines) => {
            let lines: Vec<String> =
                lines.filter_map(async |line| Some(String::from_utf8_lossy(&line.ok()?.bytes).trim_end().to_owned())).collect().await;
            lines.join(" | ")
        }
        Err(error) => format!("(its log cannot be read: {error})"),
    }
}
