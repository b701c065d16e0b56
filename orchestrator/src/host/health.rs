//! Health assessment of hosts: reachability, identity, disk, memory, clock, and unknown objects with our
//! label.

use crate::{
    Error, Orchestrator, Result, admission::offers, agents::HostAgent, host::info, presenter::number,
};
use chainpool_agent::{ClusterId, Observation, Scope, WakeStream};
use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_health::millis;
use chainpool_store::{ClusterRow, EnumColumn, HostRow, Json};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use uuid::Uuid;

impl Orchestrator {
    /// Lists the hosts to watch.
    pub async fn hosts_to_watch(&self) -> Result<Vec<Uuid>> {
        Ok(self.fleet().await?.hosts().map(|host| host.row.id).collect())
    }

    /// Opens the platform's event stream of a host; `None` if the host does not exist.
    pub async fn host_watch(&self, host: Uuid) -> Result<Option<WakeStream>> {
        match self.store().read().host(host).await? {
            Some(row) => Ok(Some(self.inner.agents.of(&row)?.agent.watch())),
            None => Ok(None),
        }
    }

    /// Assesses a host whose event stream was interrupted: anything there may have restarted meanwhile.
    pub async fn host_events_interrupted(&self, host: Uuid) -> Result<()> {
        self.inner.runtime_cache.host_events_interrupted(host);
        self.host_assess(host).await
    }

    /// Assesses a host: probes it, lists our objects, removes objects of deleted clusters, and assesses its
    /// clusters if its reachability changed.
    pub async fn host_assess(&self, host: Uuid) -> Result<()> {
        let Some(row) = self.store().read().host(host).await? else {
            return Ok(());
        };
        let agent = self.inner.agents.of(&row)?;
        let before = row.state.0;
        let probed = agent.agent.probe().await;
        // A starting engine accepts the request at once and responds when it is up.
        let now = Timestamp::now();
        let (state, reason, probe) = match probed {
            Ok(probe) if probe.engine_id != row.engine_id => (
                HostState::Paused,
                format!(
                    "another engine responds at {} ({}): nothing is changed there; restore the right engine, then end the pause (chainpool host update {} --paused=false)",
                    row.address, probe.name, row.name
                ),
                None,
            ),
            Ok(probe) => match before {
                HostState::Paused => (HostState::Paused, row.reason.clone(), Some(probe)),
                _ => (HostState::Active, String::new(), Some(probe)),
            },
            // It responds and will report its state soon; its clusters continue.
            Err(chainpool_agent::Error::Busy(reason))
                if before == HostState::Active
                    && probed_recently(&row, self.inner.policy.host.busy_max, now) =>
            {
                tracing::debug!(host = %row.name, reason, "a host cannot report its state now");
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
        // Ignore a result that a newer assessment has overtaken.
        if self
            .host_store(&row, state, reason, probe.as_ref().map(|p| info(p, now)))
            .await?
        {
            match state {
                HostState::Active => self.inner.runtime_cache.host_reachable(row.id, now),
                HostState::Unreachable | HostState::Paused => {
                    self.inner.runtime_cache.host_unreachable(row.id);
                }
            }
        }
        if state != before {
            for cluster in self.store().read().clusters_of(host).await? {
                Box::pin(self.cluster_assess(cluster.id, true)).await?;
            }
        }
        if probe.is_none() || state != HostState::Active {
            return Ok(());
        }
        match self.host_inventory(&row, &agent).await {
            // It responded a moment ago. The next probe determines its state.
            Err(Error::Unavailable(why)) => {
                tracing::debug!(host = %row.name, why, "a host became unreachable during its inventory");
            }
            done => done?,
        }
        Ok(())
    }

    /// Stores an assessment unless the host was deleted or assessed differently meanwhile; returns `true` if
    /// it was stored.
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
        row.state = EnumColumn(state);
        row.reason = reason;
        row.info = info.map(Json).or(row.info);
        if changed {
            tx.clusters_schedulable(row.id, offers(&row)).await?;
        }
        tx.host_save(row).await?;
        tx.commit("host assessed").await?;
        Ok(true)
    }

    /// Lists our objects on a host, refreshes the state of each cluster, and removes objects of deleted
    /// clusters and previous generations. Unknown objects are counted and never touched.
    async fn host_inventory(&self, row: &HostRow, agent: &HostAgent) -> Result<()> {
        let listed_at = Timestamp::now();
        let observed = agent.agent.observe(Scope::Host).await?;
        self.inner.status.in_use_put(row.id, observed.resources_in_use);
        let read = self.store().read();
        if read.host(row.id).await?.is_none() {
            // The host was forgotten meanwhile: its objects are no longer ours to remove.
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
        let mut known = BTreeMap::new();
        for cluster in read.clusters_of(row.id).await? {
            let listed = by_cluster.get(&cluster.id).cloned().unwrap_or_default();
            self.inner
                .runtime_cache
                .update(cluster.id, number(cluster.generation), |runtime| {
                    runtime.observed = Some(listed);
                });
            known.insert(cluster.id, cluster);
        }
        let mut unclaimed = Vec::new();
        let paused = self.is_paused();
        for (id, listed) in by_cluster {
            let newest = listed.objects.iter().map(|o| o.generation).max().unwrap_or(0);
            let oldest = listed.objects.iter().map(|o| o.generation).min().unwrap_or(0);
            let cluster = match known.remove(&id) {
                Some(cluster) => Some(cluster),
                None => read.cluster(id).await?,
            };
            match cluster {
                Some(cluster) if newest > number(cluster.generation) || cluster.host_id != row.id => {
                    unclaimed.push(unclaimed_objects(row, id, &listed));
                }
                Some(cluster)
                    if paused || cluster.operation_id.is_some() || cluster.created_at.0 > listed_at => {}
                Some(cluster) if cluster.deleted_at.is_some() => {
                    agent
                        .agent
                        .drop_cluster(ClusterId(id), number(cluster.generation))
                        .await?;
                }
                Some(cluster) if oldest < number(cluster.generation) => {
                    agent
                        .agent
                        .drop_cluster(ClusterId(id), number(cluster.generation) - 1)
                        .await?;
                }
                Some(_) => {}
                // An adopt operation is removing it.
                None if read.operation_of_host(row.id).await?.is_some() => {}
                None => unclaimed.push(unclaimed_objects(row, id, &listed)),
            }
        }
        self.inner.status.unclaimed_put(row.id, unclaimed);
        Ok(())
    }

    /// Lists the unclaimed objects on a host now.
    pub(crate) async fn unclaimed_now(&self, row: &HostRow) -> Result<Vec<api::Unclaimed>> {
        let agent = self.inner.agents.of(row)?;
        if row.state.0 == HostState::Unreachable {
            return Err(Error::Unavailable(format!(
                "host {} is unreachable: {}",
                row.name, row.reason
            )));
        }
        self.host_inventory(row, &agent).await?;
        Ok(self.inner.status.unclaimed(row.id))
    }

    /// Stores the time of the latest evidence of all recently probed clusters, so that apply can distinguish
    /// fresh from stale.
    pub async fn note_checked(&self) -> Result<()> {
        let now = Timestamp::now();
        let since = Timestamp(now.0 - millis(self.inner.policy.assessment.record_interval));
        let ids: Vec<Uuid> = self.inner.runtime_cache.checked_since(since);
        if ids.is_empty() {
            return Ok(());
        }
        let known: HashSet<&Uuid> = ids.iter().collect();
        let leased = self
            .store()
            .read()
            .clusters_leased(ids.iter().copied())
            .await?
            .into_iter()
            .filter(|row| row.leased && known.contains(&row.id));
        let heights: Vec<(ClusterRow, i64)> = leased
            .filter_map(|row| {
                self.height_seen(&row)
                    .filter(|height| Some(*height) > row.height)
                    .map(|height| (row, height))
            })
            .collect();
        let mut tx = self.store().begin().await?;
        for part in ids.chunks(500) {
            tx.clusters_checked(part, now).await?;
        }
        // The height of a leased cluster is stored so that it is known after a restart.
        for (row, height) in heights {
            tx.cluster_height(row.id, row.generation, height).await?;
        }
        tx.commit("evidence recorded").await?;
        Ok(())
    }

    /// Lists the problems of a host.
    pub(crate) fn host_problems(row: &HostRow, now: Timestamp) -> Vec<String> {
        let mut problems = Vec::new();
        if row.state.0 != HostState::Active {
            problems.push(format!(
                "host {} has been {} since {}: {}",
                row.name, row.state.0, row.since.0, row.reason
            ));
        }
        if let Some(info) = row.info.as_ref().map(|i| &i.0) {
            if let Some(why) = crate::fill::no_room(row, &[], 0) {
                problems.push(format!("{why}; filling is suspended"));
            }
            if let Some(skew) = info.skew_ms.filter(|s| s.abs() > 5_000) {
                problems.push(format!(
                    "the clock of host {} differs from the server's by {} s; synchronise the clocks (NTP)",
                    row.name,
                    skew / 1000
                ));
            }
        }
        for entry in row
            .settings
            .0
            .fill
            .iter()
            .filter(|_| !row.fill_state.0.is_empty())
        {
            let pause = row.fill_state.0.get(&crate::fill::fill_key(entry));
            let Some(pause) = pause.filter(|pause| pause.failures >= crate::fill::FAILURES_TO_PAUSE) else {
                continue;
            };
            let wait = pause.next_at.millis_since(now).max(0) / 1000;
            problems.push(format!(
                "host {}: filling with {} failed {} times, next attempt in {wait} s: {}",
                row.name,
                crate::fill::entry_name(entry),
                pause.failures,
                pause.reason
            ));
        }
        problems
    }
}

/// Returns `true` if a host reported its state within the time that its managers may need to elect a leader.
fn probed_recently(row: &HostRow, busy_max: Duration, now: Timestamp) -> bool {
    row.info
        .as_ref()
        .is_some_and(|info| now.millis_since(info.0.checked_at) < millis(busy_max))
}

fn unclaimed_objects(row: &HostRow, id: Uuid, listed: &Observation) -> api::Unclaimed {
    api::Unclaimed {
        host: row.name.clone(),
        cluster_id: id,
        generation: listed.objects.iter().map(|o| o.generation).max().unwrap_or(0),
        objects: listed.objects.iter().map(|o| o.name.clone()).collect(),
    }
}
