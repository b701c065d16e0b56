//! Health assessment of hosts: reachability, identity, disk, memory, clock, and unknown objects with our
//! label.

use crate::{
    Error, Result,
    health::Health,
    placement::{
        fill_key::{entry_name, fill_key},
        fill_policy::FAILURES_TO_PAUSE,
        room::{no_room, offers},
    },
    runtime::{agents::HostAgent, probe::info},
};
use chainpool_agent::{ClusterId, Observation, Probe, Scope, WakeStream};
use chainpool_api::{self as api, HostState, Timestamp};
use chainpool_health::{HostEffect, HostInput, Input, Inventory, Probed, millis};
use chainpool_store::{ClusterRow, EnumColumn, HostRow, Json, Priority};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use uuid::Uuid;

impl Health {
    /// Lists the hosts to watch.
    pub(crate) async fn hosts_to_watch(&self) -> Result<Vec<Uuid>> {
        let led = self.store().hosts_led().await?;
        let fleet = self.placement.fleet().await?;
        let hosts = fleet.hosts().map(|host| host.row.id);
        Ok(hosts.filter(|host| led.contains(host)).collect())
    }

    /// Opens the platform's event stream of a host; `None` if the host does not exist.
    pub(crate) async fn host_watch(&self, host: Uuid) -> Result<Option<WakeStream>> {
        match self.store().read().host(host).await? {
            Some(row) => Ok(Some(self.runtime.agents.of(&row)?.agent.watch())),
            None => Ok(None),
        }
    }

    /// Assesses a host whose event stream was interrupted: anything there may have restarted meanwhile.
    pub(crate) fn host_events_interrupted(self: &Arc<Self>, host: Uuid) {
        self.runtime
            .cache
            .advance_host(host, HostInput::EventsInterrupted);
        self.post_host(host, None);
    }

    /// Assesses a host that changed.
    pub(crate) fn host_changed(self: &Arc<Self>, host: Uuid) {
        self.post_host(host, None);
    }

    /// Assesses a host: probes it, lists our objects, removes objects of deleted clusters, and has its clusters
    /// assessed if its availability changed.
    pub(super) async fn assess_host(self: &Arc<Self>, host: Uuid) -> Result<()> {
        let Some(row) = self.store().read().host(host).await? else {
            self.forget_host(host);
            return Ok(());
        };
        let agent = self.runtime.agents.of(&row)?;
        let recorded = HostInput::Recorded {
            state: row.state.0,
            reason: row.reason.clone(),
            since: row.since.0,
            reported_at: row.info.as_ref().map(|info| info.0.checked_at),
        };
        self.runtime.cache.advance_host(host, recorded);
        let (probed, probe) = probed(&row, agent.agent.probe().await);
        // A starting engine accepts the request at once and responds when it is up.
        let now = Timestamp::now();
        let effects = self.runtime.cache.advance_host(host, HostInput::Probed(probed));
        let mut active = false;
        for effect in effects {
            match effect {
                HostEffect::Record { state, reason } => {
                    active = state == HostState::Active;
                    let info = probe.as_ref().map(|probe| info(probe, now));
                    Box::pin(self.host_store(&row, state, reason, info)).await?;
                }
                HostEffect::AssessClusters => {
                    for cluster in self.store().read().clusters_of(host).await? {
                        self.cluster_changed(cluster.id);
                    }
                }
            }
        }
        if probe.is_none() || !active {
            return Ok(());
        }
        match Box::pin(self.host_inventory(&row, &agent)).await {
            // It responded a moment ago. The next probe determines its state.
            Err(Error::Unavailable(why)) => {
                tracing::debug!(host = %row.name, why, "a host became unreachable during its inventory");
            }
            done => done?,
        }
        Ok(())
    }

    /// Stores an assessment, unless another process leads the host, or it was deleted or changed meanwhile: a changed
    /// one is assessed again.
    async fn host_store(
        self: &Arc<Self>,
        before: &HostRow,
        state: HostState,
        reason: String,
        info: Option<api::HostPlatform>,
    ) -> Result<()> {
        let now = Timestamp::now();
        let mut tx = self.store().begin_background().await?;
        let Some(mut row) = tx.host(before.id).await? else {
            return Ok(());
        };
        if !tx.leads(row.id).await? {
            return Ok(());
        }
        if row.row_version != before.row_version {
            self.host_changed(row.id);
            return Ok(());
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
        Ok(())
    }

    /// Lists our objects on a host, refreshes the state of each cluster, and, as the leader of the host, removes
    /// objects of deleted clusters and previous generations. Unknown objects are counted and never touched.
    async fn host_inventory(&self, row: &HostRow, agent: &HostAgent) -> Result<()> {
        let listed_at = Timestamp::now();
        let observed = agent.agent.observe(Scope::Host).await?;
        self.placement.reservations.put(row.id, observed.resources_in_use);
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
            let generation = cluster.generation;
            self.runtime
                .cache
                .update(cluster.id, generation, |runtime| runtime.observe(listed));
            let listed = Input::Inventory(Inventory::Listed);
            self.runtime.cache.advance(cluster.id, generation, listed);
            known.insert(cluster.id, cluster);
        }
        let mut unclaimed = Vec::new();
        let may_drop = !self.runtime.is_paused() && self.store().leads(row.id).await?;
        for (id, listed) in by_cluster {
            let newest = listed.objects.iter().map(|o| o.generation).max().unwrap_or(0);
            let oldest = listed.objects.iter().map(|o| o.generation).min().unwrap_or(0);
            let cluster = match known.remove(&id) {
                Some(cluster) => Some(cluster),
                None => read.cluster(id).await?,
            };
            match cluster {
                Some(cluster) if newest > cluster.generation || cluster.host_id != row.id => {
                    unclaimed.push(unclaimed_objects(row, id, &listed));
                }
                Some(cluster)
                    if !may_drop || cluster.operation_id.is_some() || cluster.created_at.0 > listed_at => {}
                Some(cluster) if cluster.deleted_at.is_some() => {
                    agent
                        .agent
                        .drop_cluster(ClusterId(id), cluster.generation)
                        .await?;
                }
                Some(cluster) if oldest < cluster.generation => {
                    agent
                        .agent
                        .drop_cluster(ClusterId(id), cluster.generation - 1)
                        .await?;
                }
                Some(_) => {}
                // An adopt operation is removing it.
                None if read.operation_of_host(row.id).await?.is_some() => {}
                None => unclaimed.push(unclaimed_objects(row, id, &listed)),
            }
        }
        self.runtime.findings.unclaimed_put(row.id, unclaimed);
        Ok(())
    }

    /// Lists the unclaimed objects on a host now.
    pub(crate) async fn unclaimed_now(&self, row: &HostRow) -> Result<Vec<api::Unclaimed>> {
        let agent = self.runtime.agents.of(row)?;
        if row.state.0 == HostState::Unreachable {
            return Err(Error::Unavailable(format!(
                "host {} is unreachable: {}",
                row.name, row.reason
            )));
        }
        self.host_inventory(row, &agent).await?;
        Ok(self.runtime.findings.unclaimed(row.id))
    }

    /// Stores the time of the latest evidence of all recently probed clusters, so that apply can distinguish
    /// fresh from stale.
    pub(crate) async fn note_checked(&self) -> Result<()> {
        let now = Timestamp::now();
        let since = Timestamp(now.0 - millis(self.runtime.policy.assessment.record_interval));
        let ids: Vec<Uuid> = self.runtime.cache.checked_since(since);
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
                self.runtime
                    .height_seen(&row)
                    .filter(|height| Some(*height) > row.height)
                    .map(|height| (row, height))
            })
            .collect();
        // Behind many verdicts, the evidence would become stale, and nothing would be on offer.
        let mut tx = self.store().begin_as(Priority::Request).await?;
        for part in ids.chunks(500) {
            tx.clusters_checked(part, now).await?;
        }
        // The height of a leased cluster is stored so that it is known after a restart.
        for (row, height) in heights {
            tx.cluster_height(row.id, row.generation, height).await?;
        }
        tx.commit("evidence recorded").await?;
        self.placement.fleet_cache.note_checked(ids, now);
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
            if let Some(why) = no_room(row, 0, 0) {
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
        // A key is a document; most policies have no failing entry.
        let failing = if row.fill_state.0.is_empty() {
            &[]
        } else {
            row.settings.0.fill.as_slice()
        };
        for entry in failing {
            let pause = row.fill_state.0.get(&fill_key(entry));
            let Some(pause) = pause.filter(|pause| pause.failures >= FAILURES_TO_PAUSE) else {
                continue;
            };
            let wait = pause.next_at.millis_since(now).max(0) / 1000;
            problems.push(format!(
                "host {}: filling with {} failed {} times, next attempt in {wait} s: {}",
                row.name,
                entry_name(entry),
                pause.failures,
                pause.reason
            ));
        }
        problems
    }
}

/// The outcome of a probe of a host, and its report if the host is the registered one.
fn probed(row: &HostRow, probe: chainpool_agent::Result<Probe>) -> (Probed, Option<Probe>) {
    match probe {
        Ok(probe) if probe.engine_id != row.engine_id => {
            let reason = format!(
                "another engine responds at {} ({}): nothing is changed there; restore the right engine, then end the pause (chainpool host update {} --paused=false)",
                row.address, probe.name, row.name
            );
            (Probed::Other { reason }, None)
        }
        Ok(probe) => (Probed::Reported, Some(probe)),
        Err(chainpool_agent::Error::Busy(reason)) => {
            tracing::debug!(host = %row.name, reason, "a host cannot report its state now");
            (Probed::Busy { reason }, None)
        }
        Err(error) => (
            Probed::Failed {
                error: error.to_string(),
            },
            None,
        ),
    }
}

fn unclaimed_objects(row: &HostRow, id: Uuid, listed: &Observation) -> api::Unclaimed {
    api::Unclaimed {
        host: row.name.clone(),
        cluster_id: id,
        generation: listed.objects.iter().map(|o| o.generation).max().unwrap_or(0),
        objects: listed.objects.iter().map(|o| o.name.clone()).collect(),
    }
}
