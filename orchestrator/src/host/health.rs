//! Judging hosts: reach, identity, disk, memory, clock; and what there carries our label without being known.

use crate::{Error, Orchestrator, Result, accept::offers, agents::HostAgent, host::info, view::number};
use chainpool_agent::{ClusterId, Observation, Scope, WakeStream};
use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_store::{ClusterRow, HostRow, Json, Word};
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// How long a host may answer without telling its state before it counts as unreachable, in milliseconds.
const BUSY_MS: i64 = 90_000;

impl Orchestrator {
    /// The hosts to watch.
    pub async fn hosts_to_watch(&self) -> Result<Vec<Uuid>> {
        Ok(self
            .store()
            .read()
            .hosts()
            .await?
            .into_iter()
            .map(|h| h.id)
            .collect())
    }

    /// The platform's stream of changes on a host; `None` when the host is gone.
    pub async fn host_watch(&self, host: Uuid) -> Result<Option<WakeStream>> {
        match self.store().read().host(host).await? {
            Some(row) => Ok(Some(self.inner.agents.of(&row)?.agent.watch())),
            None => Ok(None),
        }
    }

    /// Looks at a host that was not heard for a while: whatever runs there may have been started anew meanwhile.
    pub async fn host_unheard(&self, host: Uuid) -> Result<()> {
        self.inner.live.host_unheard(host);
        self.host_judge(host).await
    }

    /// Looks at a host: probes it, lists what is ours there, drops what is known to be gone, judges its clusters when
    /// its reach changed.
    pub async fn host_judge(&self, host: Uuid) -> Result<()> {
        let Some(row) = self.store().read().host(host).await? else {
            return Ok(());
        };
        let agent = self.inner.agents.of(&row)?;
        let before = row.state.0;
        let answer = agent.agent.probe().await;
        // An engine that is coming up takes the question at once and answers when it is up.
        let now = Timestamp::now();
        let (state, reason, probe) = match answer {
            Ok(probe) if probe.engine_id != row.engine_id => (
                HostState::Paused,
                format!(
                    "another engine answers at {} ({}): nothing is done there until it is the right one again and the pause is ended (chainpool host update {} --paused=false)",
                    row.address, probe.name, row.name
                ),
                None,
            ),
            Ok(probe) => match before {
                HostState::Paused => (HostState::Paused, row.reason.clone(), Some(probe)),
                _ => (HostState::Active, String::new(), Some(probe)),
            },
            // It answers, and will tell soon: what runs there goes on.
            Err(chainpool_agent::Error::Busy(reason))
                if before == HostState::Active && told_lately(&row, now) =>
            {
                tracing::debug!(host = %row.name, reason, "a host cannot tell its state now");
                return Ok(());
            }
            Err(error) => (
                if before == HostState::Paused {
                    before
                } else {
                    HostState::Unreachable
                },
                error.to_string(),
                None,
            ),
        };
        // What came of a question that was overtaken by a newer one is old.
        if self
            .host_store(&row, state, reason, probe.as_ref().map(|p| info(p, now)))
            .await?
        {
            match state {
                HostState::Active => self.inner.live.host_answers(row.id, now),
                HostState::Unreachable | HostState::Paused => self.inner.live.host_away(row.id),
            }
        }
        if state != before {
            for cluster in self.store().read().clusters_of(host).await? {
                Box::pin(self.cluster_judge(cluster.id, true)).await?;
            }
        }
        if probe.is_none() || state != HostState::Active {
            return Ok(());
        }
        match self.host_sweep(&row, &agent).await {
            // It answered a moment ago. The next probe tells what became of it.
            Err(Error::Unavailable(why)) => {
                tracing::debug!(host = %row.name, why, "a host went away while it was looked through")
            }
            done => done?,
        }
        Ok(())
    }

    /// Stores a judgement, unless the host is gone or was judged otherwise meanwhile; tells whether it stands.
    async fn host_store(
        &self,
        before: &HostRow,
        state: HostState,
        reason: String,
        info: Option<api::HostPlatform>,
    ) -> Result<bool> {
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let Some(mut row) = tx.host(before.id).await? else {
            return Ok(false);
        };
        if row.state != before.state {
            return Ok(false);
        }
        if row.state.0 != state {
            row.since = now.into();
            tracing::warn!(host = %row.name, from = %row.state.0, to = %state, %reason, "a host's state changed");
        }
        let changed = row.state.0 != state;
        row.state = Word(state);
        row.reason = reason;
        row.info = info.map(Json).or(row.info);
        if changed {
            tx.clusters_schedulable(row.id, offers(&row)).await?;
        }
        tx.host_save(row).await?;
        tx.commit("host judged").await?;
        Ok(true)
    }

    /// Lists what is ours on a host, refreshes what is known of each cluster, and drops what is known to be gone:
    /// objects of a tombstone or of an older generation. What is unknown is counted and never touched.
    async fn host_sweep(&self, row: &HostRow, agent: &HostAgent) -> Result<()> {
        let listed_at = Timestamp::now();
        let observed = agent.agent.observe(Scope::Host).await?;
        self.inner.status.taken_put(row.id, observed.taken);
        let read = self.store().read();
        if read.host(row.id).await?.is_none() {
            // Forgotten while it was asked: what stands there is no longer ours to drop.
            return Ok(());
        }
        let mut by_cluster: BTreeMap<Uuid, Observation> = BTreeMap::new();
        for object in observed.objects {
            by_cluster
                .entry(object.cluster.0)
                .or_default()
                .objects
                .push(object);
        }
        for cluster in read.clusters_of(row.id).await? {
            let listed = by_cluster.get(&cluster.id).cloned().unwrap_or_default();
            self.inner
                .live
                .note(cluster.id, number(cluster.generation), |seen| {
                    seen.observed = Some(listed)
                });
        }
        let mut unclaimed = Vec::new();
        let paused = self.is_paused();
        for (id, listed) in by_cluster {
            let newest = listed.objects.iter().map(|o| o.generation).max().unwrap_or(0);
            let oldest = listed.objects.iter().map(|o| o.generation).min().unwrap_or(0);
            match read.cluster(id).await? {
                Some(cluster) if newest > number(cluster.generation) || cluster.host_id != row.id => {
                    unclaimed.push(claim(row, id, &listed));
                }
                Some(cluster)
                    if paused || cluster.operation_id.is_some() || cluster.created_at.0 > listed_at => {}
                Some(cluster) if cluster.gone_at.is_some() => {
                    agent
                        .agent
                        .drop_cluster(ClusterId(id), number(cluster.generation))
                        .await?
                }
                Some(cluster) if oldest < number(cluster.generation) => {
                    agent
                        .agent
                        .drop_cluster(ClusterId(id), number(cluster.generation) - 1)
                        .await?;
                }
                Some(_) => {}
                // An adopt under way is removing it.
                None if read.operation_of_host(row.id).await?.is_some() => {}
                None => unclaimed.push(claim(row, id, &listed)),
            }
        }
        self.inner.status.unclaimed_put(row.id, unclaimed);
        Ok(())
    }

    /// What is unclaimed on a host right now.
    pub(crate) async fn unclaimed_now(&self, row: &HostRow) -> Result<Vec<api::Unclaimed>> {
        let agent = self.inner.agents.of(row)?;
        if row.state.0 == HostState::Unreachable {
            return Err(Error::Unavailable(format!(
                "host {} does not answer: {}",
                row.name, row.reason
            )));
        }
        self.host_sweep(row, &agent).await?;
        Ok(self.inner.status.unclaimed(row.id))
    }

    /// Writes down for all clusters that were probed lately when that was, so that apply can tell fresh from stale.
    pub async fn note_checked(&self) -> Result<()> {
        let now = Timestamp::now();
        let ids: Vec<Uuid> = self.inner.live.checked_since(now.plus_seconds(-10));
        if ids.is_empty() {
            return Ok(());
        }
        let known: HashSet<&Uuid> = ids.iter().collect();
        let held = self
            .store()
            .read()
            .clusters()
            .await?
            .into_iter()
            .filter(|row| row.leased && known.contains(&row.id));
        let grown: Vec<(ClusterRow, i64)> = held
            .filter_map(|row| {
                self.height_seen(&row)
                    .filter(|seen| Some(*seen) > row.height)
                    .map(|seen| (row, seen))
            })
            .collect();
        let mut tx = self.store().begin().await?;
        for part in ids.chunks(500) {
            tx.clusters_checked(part, now).await?;
        }
        // Of what somebody holds, how far it was is known after a restart of this process, too.
        for (row, height) in grown {
            tx.cluster_height(row.id, row.generation, height).await?;
        }
        tx.commit("evidence noted").await?;
        Ok(())
    }

    /// What is wrong with a host, in words.
    pub(crate) fn host_problems(row: &HostRow, now: Timestamp) -> Vec<String> {
        let mut problems = Vec::new();
        if row.state.0 != HostState::Active {
            problems.push(format!(
                "host {} is {} since {}: {}",
                row.name, row.state.0, row.since.0, row.reason
            ));
        }
        if let Some(info) = row.info.as_ref().map(|i| &i.0) {
            if let Some(why) = crate::fill::no_room(row, &[], 0) {
                problems.push(format!("{why}: filling waits"));
            }
            if let Some(skew) = info.skew_ms.filter(|s| s.abs() > 5_000) {
                problems.push(format!(
                    "the clock of host {} differs from ours by {} s; set it right (NTP)",
                    row.name,
                    skew / 1000
                ));
            }
        }
        for entry in &row.settings.0.fill {
            let pause = row.fill_state.0.get(&crate::fill::fill_key(entry));
            let Some(pause) = pause.filter(|pause| pause.failures >= crate::fill::FAILURES_TO_PAUSE) else {
                continue;
            };
            let wait = pause.next_at.millis_since(now).max(0) / 1000;
            problems.push(format!(
                "host {}: filling with {} failed {} times, next try in {wait} s: {}",
                row.name,
                crate::fill::entry_name(entry),
                pause.failures,
                pause.reason
            ));
        }
        problems
    }
}

/// Whether a host could tell its state within the time that its managers may need to agree on a leader.
fn told_lately(row: &HostRow, now: Timestamp) -> bool {
    row.info
        .as_ref()
        .is_some_and(|info| now.millis_since(info.0.checked_at) < BUSY_MS)
}

fn claim(row: &HostRow, id: Uuid, listed: &Observation) -> api::Unclaimed {
    api::Unclaimed {
        host: row.name.clone(),
        cluster_id: id,
        generation: listed.objects.iter().map(|o| o.generation).max().unwrap_or(0),
        objects: listed.objects.iter().map(|o| o.name.clone()).collect(),
    }
}
