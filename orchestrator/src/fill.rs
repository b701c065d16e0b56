//! Filling a host: by hand, and by autofill.

use crate::{
    Error, Orchestrator, Result,
    accept::{Cause, NewCluster, offers},
    placement,
    plan::Arguments,
};
use chainpool_api::{self as api, ClusterState, OperationKind, Timestamp};
use chainpool_store::{ClusterRow, HostRow, Json, OperationRow};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How many failures in a row pause a fill entry.
pub(crate) const FAILURES_TO_PAUSE: u32 = 3;

/// Names a fill entry so that a changed entry begins anew.
pub(crate) fn fill_key(entry: &api::Fill) -> String {
    serde_json::json!([entry.network_type, entry.preset, entry.parameters]).to_string()
}

/// Why a host can take no more memory or disk; `None` when it can.
pub(crate) fn no_room(host: &HostRow, clusters: &[ClusterRow], more: u64) -> Option<String> {
    let info = &host.info.as_ref()?.0;
    let settings = &host.settings.0;
    let used: u64 = clusters.iter().filter_map(|c| u64::try_from(c.memory_bytes).ok()).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "memory times a small factor; bytes need not be exact"
    )]
    let limit = (info.memory_bytes as f64 * settings.memory_factor) as u64;
    if used + more > limit {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        return Some(format!(
            "host {} has {} MiB for clusters and {} MiB are promised; {} more do not fit (raise memory_factor, or delete clusters)",
            host.name,
            mib(limit),
            mib(used),
            mib(more)
        ));
    }
    let (free, total) = (info.disk_free_bytes?, info.disk_total_bytes?);
    if u128::from(free) * 100 < u128::from(total) * u128::from(settings.disk_floor) {
        return Some(format!(
            "host {} has {} % of its disk free, below its floor of {} %",
            host.name,
            u128::from(free) * 100 / u128::from(total.max(1)),
            settings.disk_floor
        ));
    }
    None
}

impl Orchestrator {
    /// Checks a fill entry's type, preset and parameters.
    pub(crate) fn new_of_entry(&self, entry: &api::Fill, place: usize) -> Result<NewCluster> {
        let field = |name: &str| format!("fill[{place}].{name}");
        let network = self.inner.registry.get(&entry.network_type).map_err(|e| Error::field(&field("type"), e.to_string()))?;
        let preset = network.preset(&entry.preset);
        let parameters = network
            .settle(&preset, &entry.parameters)
            .map_err(|e| Error::fields(e.0.into_iter().map(|(name, why)| (field(&name), why)).collect()))?;
        Ok(NewCluster {
            name: None,
            network,
            network_type: entry.network_type.clone(),
            preset,
            parameters,
            labels: BTreeMap::new(),
            fill_key: Some(fill_key(entry)),
        })
    }

    /// Accepts a fillup: one transaction that makes what is missing up to the capacity. With `only_due`, entries that
    /// keep failing wait for their time; `None` when there is nothing to make then, and a
    /// refusal with the reason when there is no room for it.
    pub(crate) async fn accept_fillup(
        &self,
        host: Uuid,
        cause: &Cause,
        only_due: bool,
        caller: Option<&crate::Caller>,
    ) -> Result<Option<OperationRow>> {
        let mut tx = self.store().begin().await?;
        let host = tx.host(host).await?.ok_or_else(|| Error::not_found("host", host.to_string()))?;
        if !offers(&host) {
            return Err(Error::conflict(
                "host_not_active",
                format!(
                    "host {} is {} and {}schedulable; nothing is placed there",
                    host.name,
                    host.state.0,
                    if host.schedulable { "" } else { "not " }
                ),
            ));
        }
        let clusters = tx.clusters_of(host.id).await?;
        let capacity = u32::try_from(host.capacity).map_err(Error::internal)?;
        let mut have: BTreeMap<usize, u32> = BTreeMap::new();
        let fill = host.settings.0.fill.clone();
        for cluster in &clusters {
            let is_of = |f: &api::Fill| {
                f.network_type == cluster.network_type && self.inner.registry.preset(&f.network_type, &f.preset) == cluster.preset
            };
            if let Some(place) = fill.iter().position(is_of) {
                *have.entry(place).or_insert(0) += 1;
            }
        }
        let now = Timestamp::now();
        let waits = |entry: &api::Fill| host.fill_state.0.get(&fill_key(entry)).is_some_and(|p| p.next_at > now);
        let paused: BTreeSet<usize> =
            if only_due { fill.iter().enumerate().filter(|(_, f)| waits(f)).map(|(place, _)| place).collect() } else { BTreeSet::new() };
        let missing = usize::try_from(capacity).map_err(Error::internal)?.saturating_sub(clusters.len());
        let mut chosen = Vec::new();
        let mut limited = None;
        for _ in 0..missing {
            let Some(place) = placement::fill_entry(&fill, &have, capacity, &paused) else { break };
            // An entry that keeps failing is tried with one cluster at a time.
            if only_due && host.fill_state.0.contains_key(&fill_key(&fill[place])) && chosen.contains(&place) {
                break;
            }
            let more = self.new_of_entry(&fill[place], place)?;
            limited = no_room(
                &host,
                &clusters,
                more.network.layout(&more.parameters).memory_bytes * (1 + u64::try_from(chosen.len()).map_err(Error::internal)?),
            );
            if limited.is_some() {
                break;
            }
            chosen.push(place);
            *have.entry(place).or_insert(0) += 1;
        }
        if only_due && chosen.is_empty() {
            return limited.map_or(Ok(None), |limited| Err(Error::conflict("no_room", limited)));
        }
        let mut operation = self.accept_host(&mut tx, &host, OperationKind::HostFillup, Arguments::default(), cause).await?;
        for place in chosen {
            let new = self.new_of_entry(&fill[place], place)?;
            self.accept_create(&mut tx, &host, new, &cause.part_of(operation.id)).await?;
        }
        if let Some(limited) = limited {
            operation.result = Some(Json(serde_json::json!({ "limited_by": limited })));
            tx.operation_save(operation.clone()).await?;
        }
        if let Some(caller) = caller {
            self.remember(&mut tx, caller, operation.id).await?;
        }
        self.accepted(tx, &[]).await?;
        Ok(Some(operation))
    }

    /// Keeps the pool at the hosts' policies: replaces failed free clusters when their time has come and makes what is
    /// missing. Takes no input and may run at any time.
    pub async fn autofill(&self) -> Result<()> {
        if self.is_paused() {
            return Ok(());
        }
        let now = Timestamp::now();
        for host in self.store().read().hosts().await? {
            let waits = host.maintenance_until.is_some_and(|until| until.0 > now);
            if !host.autofill || waits || !offers(&host) || self.store().read().operation_of_host(host.id).await?.is_some() {
                continue;
            }
            let clusters = self.store().read().clusters_of(host.id).await?;
            for cluster in clusters.iter().filter(|c| c.state.0 == ClusterState::Failed && !c.leased && c.operation_id.is_none()) {
                let due = cluster.fill_key.as_ref().and_then(|key| host.fill_state.0.get(key)).is_none_or(|p| p.next_at <= now);
                if due {
                    self.replace_failed(cluster.id).await?;
                }
            }
            if i64::try_from(clusters.len()).map_err(Error::internal)? < host.capacity {
                let why = match self.accept_fillup(host.id, &Cause::watchdog("autofill"), true, None).await {
                    Ok(_) => None,
                    Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => Some(error.to_string()),
                    Err(error) => return Err(error),
                };
                self.inner.status.fill_put(host.id, why);
            }
        }
        Ok(())
    }

    async fn replace_failed(&self, cluster: Uuid) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let Some(row) = tx.cluster(cluster).await? else { return Ok(()) };
        if row.state.0 != ClusterState::Failed || row.leased || row.operation_id.is_some() {
            return Ok(());
        }
        let (_, superseded) = self.accept_delete(&mut tx, row, &Cause::watchdog("autofill replaces a failed cluster")).await?;
        self.accepted(tx, superseded.as_slice()).await
    }
}
