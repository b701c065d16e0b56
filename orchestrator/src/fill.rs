//! Filling hosts: on request and by autofill.

use crate::{
    Error, Orchestrator, Result,
    admission::{Cause, NewCluster, offers},
    placement::{self, Free},
    plan::Arguments,
    presenter::number,
    status::Watched,
    text::counted,
};
use chainpool_api::{self as api, ClusterState, HostState, OperationKind, Timestamp};
use chainpool_store::{ClusterRow, HostRow, Json, OperationRow, Tx};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The number of consecutive failures that pauses a fill entry.
pub(crate) const FAILURES_TO_PAUSE: u32 = 3;

/// Identifies a fill entry; a changed entry has another key and no failures.
pub(crate) fn fill_key(entry: &api::Fill) -> String {
    serde_json::json!([entry.network_type, entry.preset, entry.parameters]).to_string()
}

/// The human-readable name of a fill entry.
pub(crate) fn entry_name(entry: &api::Fill) -> String {
    let parameters = entry
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(", ");
    let with = if parameters.is_empty() {
        String::new()
    } else {
        format!(" with {parameters}")
    };
    format!("{} {}{with}", entry.network_type, entry.preset)
}

/// The reason why a host has no memory or disk left; `None` if it has.
pub(crate) fn no_room(host: &HostRow, clusters: &[ClusterRow], more: u64) -> Option<String> {
    let info = &host.info.as_ref()?.0;
    let settings = &host.settings.0;
    let used: u64 = clusters
        .iter()
        .filter_map(|c| u64::try_from(c.memory_bytes).ok())
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "memory times a small factor; bytes need not be exact"
    )]
    let limit = (info.memory_bytes as f64 * settings.memory_factor) as u64;
    if used.saturating_add(more) > limit {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        return Some(format!(
            "host {} has {} MiB for clusters, {} MiB are allocated; {} MiB more do not fit (raise memory_factor or delete clusters)",
            host.name,
            mib(limit),
            mib(used),
            mib(more)
        ));
    }
    let (free, total) = (info.disk_free_bytes?, info.disk_total_bytes?);
    if u128::from(free) * 100 < u128::from(total) * u128::from(settings.disk_floor) {
        return Some(format!(
            "host {} has {} % free disk space, below its minimum of {} %",
            host.name,
            u128::from(free) * 100 / u128::from(total.max(1)),
            settings.disk_floor
        ));
    }
    None
}

impl Orchestrator {
    /// Validates a fill entry's type, preset and parameters.
    pub(crate) fn new_of_entry(&self, entry: &api::Fill, place: usize) -> Result<NewCluster> {
        let field = |name: &str| format!("fill[{place}].{name}");
        let network = self
            .inner
            .registry
            .get(&entry.network_type)
            .map_err(|e| Error::field(&field("type"), e.to_string()))?;
        let preset = network.preset(&entry.preset);
        let parameters = network
            .validate(&preset, &entry.parameters)
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

    /// Accepts a fillup: one transaction that creates all missing clusters up to the capacity. With
    /// `only_due`, failing entries wait for their next attempt; then the result is `None` if there is nothing
    /// to create, and an error with the reason if there is no space.
    pub(crate) async fn accept_fillup(
        &self,
        host: Uuid,
        cause: &Cause,
        only_due: bool,
        caller: Option<&crate::Caller>,
    ) -> Result<Option<OperationRow>> {
        let mut tx = self.store().begin().await?;
        let host = tx
            .host(host)
            .await?
            .ok_or_else(|| Error::not_found("host", host.to_string()))?;
        if !offers(&host) {
            return Err(Error::conflict(
                "host_not_active",
                format!(
                    "host {} is {} and {}schedulable; only an active, schedulable host accepts new clusters",
                    host.name,
                    host.state.0,
                    if host.schedulable { "" } else { "not " }
                ),
            ));
        }
        let clusters = tx.clusters_of(host.id).await?;
        let capacity = u32::try_from(host.capacity).map_err(Error::internal)?;
        let fill = host.settings.0.fill.clone();
        let recipes = self.recipes(&fill);
        let mut have = placement::have(clusters.iter().map(|cluster| recipes.place(cluster)));
        let now = Timestamp::now();
        let waits = |entry: &api::Fill| {
            host.fill_state
                .0
                .get(&fill_key(entry))
                .is_some_and(|p| p.next_at > now)
        };
        let paused: BTreeSet<usize> = if only_due {
            fill.iter()
                .enumerate()
                .filter(|(_, f)| waits(f))
                .map(|(place, _)| place)
                .collect()
        } else {
            BTreeSet::new()
        };
        let missing = usize::try_from(capacity)
            .map_err(Error::internal)?
            .saturating_sub(clusters.len());
        let mut chosen = Vec::new();
        let mut limited = None;
        for _ in 0..missing {
            let Some(place) = placement::fill_entry(&fill, &have, capacity, &paused) else {
                break;
            };
            // Try a failing entry with one cluster at a time.
            if only_due && host.fill_state.0.contains_key(&fill_key(&fill[place])) && chosen.contains(&place)
            {
                break;
            }
            let more = self.new_of_entry(&fill[place], place)?;
            limited = no_room(
                &host,
                &clusters,
                more.network
                    .requirements(&more.parameters)
                    .memory_bytes
                    .saturating_mul(1 + u64::try_from(chosen.len()).map_err(Error::internal)?),
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
        let mut operation = self
            .accept_host(
                &mut tx,
                &host,
                OperationKind::HostFillup,
                Arguments::default(),
                cause,
            )
            .await?;
        for place in chosen {
            let new = self.new_of_entry(&fill[place], place)?;
            self.accept_create(&mut tx, &host, new, &cause.part_of(operation.id))
                .await?;
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

    /// Keeps hosts filled according to their policies: replaces failed free clusters when they are due and
    /// creates missing ones. Takes no input and may run at any time.
    pub async fn autofill(&self) -> Result<()> {
        if self.is_paused() {
            return Ok(());
        }
        for host in self.hosts_to_fit().await? {
            // A failure is retried by the next run and does not delay the other hosts.
            let name = host.name.clone();
            let (part, fit) = (Watched::Fill(host.id), async {
                self.shrink_host(&host).await?;
                self.autofill_host(host).await
            });
            if let Some(Err(error)) = self.isolated(part, fit).await {
                tracing::error!(host = %name, %error, cause = ?error, "a host could not be filled; retrying");
            }
        }
        Ok(())
    }

    async fn autofill_host(&self, host: HostRow) -> Result<()> {
        let now = Timestamp::now();
        let waits = host.maintenance_until.is_some_and(|until| until.0 > now);
        if !host.autofill
            || waits
            || !offers(&host)
            || self.store().read().operation_of_host(host.id).await?.is_some()
        {
            return Ok(());
        }
        let clusters = self.store().read().clusters_of(host.id).await?;
        for cluster in clusters
            .iter()
            .filter(|c| c.state.0 == ClusterState::Failed && is_idle(c))
        {
            let due = cluster
                .fill_key
                .as_ref()
                .and_then(|key| host.fill_state.0.get(key))
                .is_none_or(|p| p.next_at <= now);
            if due {
                let is_required = |_: &HostRow, clusters: &[ClusterRow]| {
                    Ok(clusters
                        .iter()
                        .any(|row| row.id == cluster.id && row.state.0 == ClusterState::Failed))
                };
                self.delete_if_idle(cluster.id, is_required, "autofill replaces a failed cluster")
                    .await?;
            }
        }
        for id in self.outdated_now(&host, &clusters)? {
            let is_required = |host: &HostRow, clusters: &[ClusterRow]| {
                Ok(host.autofill && offers(host) && self.outdated_now(host, clusters)?.contains(&id))
            };
            self.delete_if_idle(id, is_required, "autofill replaces an outdated cluster")
                .await?;
        }
        if i64::try_from(clusters.len()).map_err(Error::internal)? < host.capacity {
            let why = match self
                .accept_fillup(host.id, &Cause::watchdog("autofill"), true, None)
                .await
            {
                Ok(_) => None,
                Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => Some(error.to_string()),
                Err(error) => return Err(error),
            };
            self.inner.status.fill_put(host.id, why);
        }
        Ok(())
    }

    /// Deletes free clusters above the host's capacity, a few at a time. Takes no input and may run at any
    /// time.
    async fn shrink_host(&self, host: &HostRow) -> Result<()> {
        let now = Timestamp::now();
        if host.state.0 != HostState::Active || host.maintenance_until.is_some_and(|until| until.0 > now) {
            return Ok(());
        }
        let clusters = self.store().read().clusters_of(host.id).await?;
        for id in self.surplus(host, &clusters) {
            let is_required =
                |host: &HostRow, clusters: &[ClusterRow]| Ok(self.surplus(host, clusters).contains(&id));
            self.delete_if_idle(id, is_required, "the host exceeds its capacity")
                .await?;
        }
        Ok(())
    }

    /// The free clusters to delete because the host exceeds its capacity, a few at a time.
    fn surplus(&self, host: &HostRow, clusters: &[ClusterRow]) -> Vec<Uuid> {
        let recipes = self.recipes(&host.settings.0.fill);
        let deleting = clusters
            .iter()
            .filter(|c| c.state.0 == ClusterState::Deleting)
            .count();
        let over = clusters
            .len()
            .saturating_sub(deleting)
            .saturating_sub(usize::try_from(host.capacity).unwrap_or(0));
        let free = clusters.iter().filter(|c| is_idle(c)).map(|cluster| Free {
            id: cluster.id,
            failed: cluster.state.0 == ClusterState::Failed,
            outdated: recipes.is_outdated(cluster),
            entry: recipes.place(cluster),
            on_request: cluster.fill_key.is_none(),
        });
        let have = placement::have(
            clusters
                .iter()
                .filter(|c| c.state.0 != ClusterState::Deleting)
                .map(|c| recipes.place(c)),
        );
        let capacity = number(host.capacity);
        placement::surplus(
            free.collect(),
            &host.settings.0.fill,
            have,
            capacity,
            over.min(AT_ONCE.saturating_sub(deleting)),
        )
    }

    /// The outdated free clusters to replace now: a few at a time, and only if a cluster of a current recipe
    /// would take their place.
    fn outdated_now(&self, host: &HostRow, clusters: &[ClusterRow]) -> Result<Vec<Uuid>> {
        let fill = &host.settings.0.fill;
        let recipes = self.recipes(fill);
        let outdated: Vec<&ClusterRow> = clusters
            .iter()
            .filter(|c| is_idle(c) && recipes.is_outdated(c))
            .collect();
        let changing = clusters
            .iter()
            .filter(|c| matches!(c.state.0, ClusterState::Deleting | ClusterState::Creating))
            .count();
        // A failing entry is no replacement, nor is one without space.
        let Some(first) = outdated
            .first()
            .filter(|_| changing < AT_ONCE && !is_failing(host))
        else {
            return Ok(vec![]);
        };
        let present = placement::have(clusters.iter().map(|c| recipes.place(c)));
        let Some(place) = placement::fill_entry(fill, &present, number(host.capacity), &BTreeSet::new())
        else {
            return Ok(vec![]);
        };
        let new = self.new_of_entry(&fill[place], place)?;
        let others: Vec<ClusterRow> = clusters.iter().filter(|c| c.id != first.id).cloned().collect();
        if no_room(
            host,
            &others,
            new.network.requirements(&new.parameters).memory_bytes,
        )
        .is_some()
        {
            return Ok(vec![]);
        }
        Ok(outdated
            .iter()
            .take(AT_ONCE - changing)
            .map(|cluster| cluster.id)
            .collect())
    }

    /// Returns `true` if a cluster is deleted when its lease ends: its recipe is outdated and autofill
    /// creates another, or the host exceeds its capacity.
    pub(crate) async fn deleted_on_release(
        &self,
        tx: &Tx,
        host: &HostRow,
        cluster: &ClusterRow,
    ) -> Result<bool> {
        let fills = host.autofill
            && offers(host)
            && host
                .maintenance_until
                .is_none_or(|until| until.0 <= Timestamp::now());
        let outdated = fills && !is_failing(host) && self.recipes(&host.settings.0.fill).is_outdated(cluster);
        let others = tx
            .clusters_of(host.id)
            .await?
            .iter()
            .filter(|c| c.state.0 != ClusterState::Deleting)
            .count();
        Ok(outdated || others > usize::try_from(host.capacity).map_err(Error::internal)?)
    }

    /// Lists the deviations of a host's clusters from its policy.
    pub(crate) fn fill_problems(host: &HostRow, counts: FillCounts) -> Vec<String> {
        let FillCounts {
            all,
            leased,
            outdated: free,
        } = counts;
        let mut problems = Vec::new();
        if free > 0 {
            let effect = match (host.autofill, is_failing(host)) {
                (false, _) => "autofill is off, so they are not replaced",
                (true, true) => "they are kept until every entry of the fill policy succeeds",
                (true, false) => "being replaced",
            };
            problems.push(format!(
                "host {}: {} outdated; {effect}",
                host.name,
                clusters_are(free, "free ")
            ));
        }
        let capacity = usize::try_from(host.capacity).unwrap_or(0);
        if all > capacity {
            problems.push(format!(
                "host {} has {} but a capacity of {capacity}: free clusters are being deleted; leased ones ({leased}) are deleted when released",
                host.name,
                counted(all, "cluster")
            ));
        }
        problems
    }

    /// The recipes of a fill policy. An entry that the network type no longer accepts has none.
    pub(crate) fn recipes(&self, fill: &[api::Fill]) -> Recipes {
        let recipe = |(place, entry): (usize, &api::Fill)| {
            let new = self.new_of_entry(entry, place).ok()?;
            let known = new.network.describe().parameters;
            Some(Recipe {
                network_type: new.network_type,
                preset: new.preset,
                known,
                wanted: new.parameters,
            })
        };
        Recipes(fill.iter().enumerate().map(recipe).collect())
    }

    /// Deletes an idle free cluster if the current state still requires it.
    async fn delete_if_idle(
        &self,
        cluster: Uuid,
        is_required: impl Fn(&HostRow, &[ClusterRow]) -> Result<bool>,
        why: &str,
    ) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let Some(row) = tx.cluster(cluster).await?.filter(is_idle) else {
            return Ok(());
        };
        let Some(host) = tx.host(row.host_id).await? else {
            return Ok(());
        };
        if !is_required(&host, &tx.clusters_of(host.id).await?)? {
            return Ok(());
        }
        let (_, superseded) = self.accept_delete(&mut tx, row, &Cause::watchdog(why)).await?;
        self.accepted(tx, superseded.as_slice()).await
    }
}

/// The clusters of a host in numbers, except those that are being deleted. Its fill policy is compared with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FillCounts {
    /// All clusters.
    pub(crate) all: usize,
    /// Leased clusters.
    pub(crate) leased: usize,
    /// Free clusters that no entry of the policy would create.
    pub(crate) outdated: usize,
}

/// The number of clusters of a host that autofill replaces or deletes at a time.
const AT_ONCE: usize = 2;

/// Returns `true` for a free cluster without an operation that nobody keeps in its state: no maintenance, not
/// stopped.
fn is_idle(cluster: &ClusterRow) -> bool {
    let kept = cluster.state.0 == ClusterState::Stopped
        || cluster
            .maintenance_until
            .is_some_and(|until| until.0 > Timestamp::now());
    let is_deleted = cluster.deleted_at.is_some() || cluster.state.0 == ClusterState::Deleting;
    !cluster.leased && cluster.operation_id.is_none() && !is_deleted && !kept
}

/// Returns `true` if the latest cluster of any entry of the policy failed.
fn is_failing(host: &HostRow) -> bool {
    host.settings
        .0
        .fill
        .iter()
        .any(|entry| host.fill_state.0.contains_key(&fill_key(entry)))
}

fn clusters_are(count: usize, kind: &str) -> String {
    if count == 1 {
        format!("1 {kind}cluster is")
    } else {
        format!("{count} {kind}clusters are")
    }
}

/// The clusters that an entry of a fill policy creates.
struct Recipe {
    network_type: String,
    preset: String,
    /// The parameters of the type.
    known: Vec<api::Parameter>,
    /// The values of all parameters.
    wanted: serde_json::Value,
}

impl Recipe {
    /// Returns `true` if a cluster matches the recipe. A parameter missing in the row, because the row
    /// predates it, counts as its default.
    fn matches(&self, cluster: &ClusterRow) -> bool {
        // Ignore amendments: the next generation has the original parameters.
        let present = &cluster.created_with.as_ref().unwrap_or(&cluster.parameters).0;
        let value =
            |parameter: &api::Parameter| present.get(&parameter.name).unwrap_or(&parameter.default).clone();
        let same = || {
            self.known.iter().all(|parameter| {
                self.wanted.get(&parameter.name).unwrap_or(&parameter.default) == &value(parameter)
            })
        };
        self.network_type == cluster.network_type && self.preset == cluster.preset && same()
    }
}

/// The recipe of each entry of a fill policy.
pub(crate) struct Recipes(Vec<Option<Recipe>>);

impl Recipes {
    /// The recipes of a policy that cannot be read: by them no cluster is outdated.
    pub(crate) fn unknown() -> Self {
        Self(vec![None])
    }

    /// The entry that a cluster belongs to.
    fn place(&self, cluster: &ClusterRow) -> Option<usize> {
        self.0
            .iter()
            .position(|recipe| recipe.as_ref().is_some_and(|recipe| recipe.matches(cluster)))
    }

    /// Returns `true` if a cluster was created by an entry that is no longer in the policy. Clusters created
    /// on request are never outdated.
    pub(crate) fn is_outdated(&self, cluster: &ClusterRow) -> bool {
        cluster.fill_key.is_some() && self.place(cluster).is_none() && self.0.iter().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests;
