//! Filling a host: by hand, and by autofill.

use crate::{
    Error, Orchestrator, Result,
    accept::{Cause, NewCluster, offers},
    placement::{self, Free},
    plan::Arguments,
    status::Watched,
    view::number,
    words::counted,
};
use chainpool_api::{self as api, ClusterState, HostState, OperationKind, Timestamp};
use chainpool_store::{ClusterRow, HostRow, Json, OperationRow, Tx};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How many failures in a row pause a fill entry.
pub(crate) const FAILURES_TO_PAUSE: u32 = 3;

/// Names a fill entry so that a changed entry begins anew.
pub(crate) fn fill_key(entry: &api::Fill) -> String {
    serde_json::json!([entry.network_type, entry.preset, entry.parameters]).to_string()
}

/// A fill entry, as people read it.
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

/// Why a host can take no more memory or disk; `None` when it can.
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
        let network = self
            .inner
            .registry
            .get(&entry.network_type)
            .map_err(|e| Error::field(&field("type"), e.to_string()))?;
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
        let host = tx
            .host(host)
            .await?
            .ok_or_else(|| Error::not_found("host", host.to_string()))?;
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
            // An entry that keeps failing is tried with one cluster at a time.
            if only_due && host.fill_state.0.contains_key(&fill_key(&fill[place])) && chosen.contains(&place)
            {
                break;
            }
            let more = self.new_of_entry(&fill[place], place)?;
            limited = no_room(
                &host,
                &clusters,
                more.network
                    .layout(&more.parameters)
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

    /// Keeps the pool at the hosts' policies: replaces failed free clusters when their time has come and makes what is
    /// missing. Takes no input and may run at any time.
    pub async fn autofill(&self) -> Result<()> {
        if self.is_paused() {
            return Ok(());
        }
        for host in self.store().read().hosts().await? {
            // One that cannot be filled now is tried again; the others do not wait for it.
            let name = host.name.clone();
            let (part, fit) = (Watched::Fill(host.id), async {
                self.shrink_host(&host).await?;
                self.autofill_host(host).await
            });
            if let Some(Err(error)) = self.isolated(part, fit).await {
                tracing::error!(host = %name, %error, cause = ?error, "a host could not be filled");
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
                let still = |_: &HostRow, clusters: &[ClusterRow]| {
                    Ok(clusters
                        .iter()
                        .any(|row| row.id == cluster.id && row.state.0 == ClusterState::Failed))
                };
                self.delete_idle(cluster.id, still, "autofill replaces a failed cluster")
                    .await?;
            }
        }
        for id in self.outdated_now(&host, &clusters)? {
            let still = |host: &HostRow, clusters: &[ClusterRow]| {
                Ok(host.autofill && offers(host) && self.outdated_now(host, clusters)?.contains(&id))
            };
            self.delete_idle(id, still, "autofill replaces a cluster of an outdated recipe")
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

    /// Deletes free clusters of hosts that have more than their capacity, a few at a time. Takes no input and may run at any time.
    async fn shrink_host(&self, host: &HostRow) -> Result<()> {
        let now = Timestamp::now();
        if host.state.0 != HostState::Active || host.maintenance_until.is_some_and(|until| until.0 > now) {
            return Ok(());
        }
        let clusters = self.store().read().clusters_of(host.id).await?;
        for id in self.surplus(host, &clusters) {
            let still =
                |host: &HostRow, clusters: &[ClusterRow]| Ok(self.surplus(host, clusters).contains(&id));
            self.delete_idle(id, still, "the host has more clusters than its capacity")
                .await?;
        }
        Ok(())
    }

    /// The free clusters that go because the host has more than its capacity, a few at a time.
    fn surplus(&self, host: &HostRow, clusters: &[ClusterRow]) -> Vec<Uuid> {
        let recipes = self.recipes(&host.settings.0.fill);
        let leaving = clusters
            .iter()
            .filter(|c| c.state.0 == ClusterState::Deleting)
            .count();
        let over = clusters
            .len()
            .saturating_sub(leaving)
            .saturating_sub(usize::try_from(host.capacity).unwrap_or(0));
        let free = clusters.iter().filter(|c| is_idle(c)).map(|cluster| Free {
            id: cluster.id,
            failed: cluster.state.0 == ClusterState::Failed,
            outdated: recipes.is_outdated(cluster),
            entry: recipes.place(cluster),
            by_hand: cluster.fill_key.is_none(),
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
            over.min(AT_ONCE.saturating_sub(leaving)),
        )
    }

    /// The free clusters of an outdated recipe whose turn it is to be replaced: a few at a time, and only when one of a present recipe
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
        // One that fails is no replacement, nor is one for which there is no room.
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
        if no_room(host, &others, new.network.layout(&new.parameters).memory_bytes).is_some() {
            return Ok(vec![]);
        }
        Ok(outdated
            .iter()
            .take(AT_ONCE - changing)
            .map(|cluster| cluster.id)
            .collect())
    }

    /// Whether a cluster whose lease ends goes for good: its recipe is outdated and autofill makes another, or the host has too many.
    pub(crate) async fn goes_at_release(
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

    /// What of a host's clusters does not fit its policy.
    pub(crate) fn fill_problems(&self, host: &HostRow, clusters: &[ClusterRow]) -> Vec<String> {
        let recipes = self.recipes(&host.settings.0.fill);
        let mut problems = Vec::new();
        let count = |test: &dyn Fn(&ClusterRow) -> bool| {
            clusters
                .iter()
                .filter(|c| c.state.0 != ClusterState::Deleting && test(c))
                .count()
        };
        let free = count(&|c| !c.leased && recipes.is_outdated(c));
        if free > 0 {
            let what = match (host.autofill, is_failing(host)) {
                (false, _) => "autofill is off, so nothing takes their place",
                (true, true) => "they stay until every entry of the fill policy succeeds",
                (true, false) => "being replaced",
            };
            problems.push(format!(
                "host {}: {} of an outdated recipe; {what}",
                host.name,
                clusters_are(free, "free ")
            ));
        }
        let (all, capacity) = (count(&|_| true), usize::try_from(host.capacity).unwrap_or(0));
        if all > capacity {
            let leased = count(&|c| c.leased);
            problems.push(format!(
                "host {} has {} and a capacity of {capacity}: free ones are being deleted; leased ones ({leased}) go when they are released",
                host.name,
                counted(all, "cluster")
            ));
        }
        problems
    }

    /// The recipes of a fill policy, as clusters have them. An entry that the network type does not accept any more has none.
    fn recipes(&self, fill: &[api::Fill]) -> Recipes {
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

    /// Deletes a cluster that is free and at rest, if its host and all clusters there still call for it.
    async fn delete_idle(
        &self,
        cluster: Uuid,
        still: impl Fn(&HostRow, &[ClusterRow]) -> Result<bool>,
        why: &str,
    ) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let Some(row) = tx.cluster(cluster).await?.filter(is_idle) else {
            return Ok(());
        };
        let Some(host) = tx.host(row.host_id).await? else {
            return Ok(());
        };
        if !still(&host, &tx.clusters_of(host.id).await?)? {
            return Ok(());
        }
        let (_, superseded) = self.accept_delete(&mut tx, row, &Cause::watchdog(why)).await?;
        self.accepted(tx, superseded.as_slice()).await
    }
}

/// How many clusters of a host autofill replaces at once, or deletes because the capacity is smaller.
const AT_ONCE: usize = 2;

/// A free cluster on which nothing works, and that nobody keeps as it is: by maintenance, or stopped.
fn is_idle(cluster: &ClusterRow) -> bool {
    let kept = cluster.state.0 == ClusterState::Stopped
        || cluster
            .maintenance_until
            .is_some_and(|until| until.0 > Timestamp::now());
    let leaves = cluster.gone_at.is_some() || cluster.state.0 == ClusterState::Deleting;
    !cluster.leased && cluster.operation_id.is_none() && !leaves && !kept
}

/// Whether the newest cluster of an entry of the policy failed.
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

/// What an entry of a fill policy makes.
struct Recipe {
    network_type: String,
    preset: String,
    /// The parameters that the type has.
    known: Vec<api::Parameter>,
    /// Their values, all of them.
    wanted: serde_json::Value,
}

impl Recipe {
    /// Whether a cluster was made by this. One that lacks a parameter, because it was made before there was such a one, has its default.
    fn made(&self, cluster: &ClusterRow) -> bool {
        // What an amendment changed is not the recipe: the next generation is made as the first was.
        let present = &cluster.made_with.as_ref().unwrap_or(&cluster.parameters).0;
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
struct Recipes(Vec<Option<Recipe>>);

impl Recipes {
    /// The entry that a cluster is of.
    fn place(&self, cluster: &ClusterRow) -> Option<usize> {
        self.0
            .iter()
            .position(|recipe| recipe.as_ref().is_some_and(|recipe| recipe.made(cluster)))
    }

    /// Whether a cluster was made by an entry that is not in the policy any more. What people made by hand is as they wanted it.
    fn is_outdated(&self, cluster: &ClusterRow) -> bool {
        cluster.fill_key.is_some() && self.place(cluster).is_none() && self.0.iter().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests;
