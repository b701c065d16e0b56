//! A summary of all hosts and clusters in memory, for everything that would otherwise read every row: status, the
//! badge of each page, autofill, the order of probes.
//!
//! Each use first reads the rows that changed since the previous one, so that it sees every committed change. Rows are
//! the truth; the summary holds nothing that they do not say.

mod summary;

use crate::{Orchestrator, Result, fill::Recipes};
use chainpool_api::{self as api, ClusterState, HealthState, Timestamp};
use chainpool_store::{Changes, ClusterRow, HostRow, Store};
use std::{
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use summary::{ClusterSummary, Fleet, HostSummary};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Rows read at a time when everything is read.
const CHUNK: u64 = 200;

/// The summary, created at its first use.
#[derive(Default)]
pub(crate) struct FleetCache(Mutex<Option<Fleet>>);

/// The recipes of fill policies. Hosts with the same policy share them.
struct RecipesOf<'a> {
    orchestrator: &'a Orchestrator,
    by_host: HashMap<Uuid, Arc<Recipes>>,
    by_policy: HashMap<String, Arc<Recipes>>,
}

impl RecipesOf<'_> {
    fn is_outdated(&mut self, host: &HostRow, row: &ClusterRow) -> bool {
        self.of(host).is_outdated(row)
    }

    fn of(&mut self, host: &HostRow) -> Arc<Recipes> {
        if let Some(known) = self.by_host.get(&host.id) {
            return Arc::clone(known);
        }
        let fill = &host.settings.0.fill;
        let policy = serde_json::json!(fill).to_string();
        let recipes = self
            .by_policy
            .entry(policy)
            .or_insert_with(|| Arc::new(self.orchestrator.recipes_or_unknown(fill)));
        self.by_host.insert(host.id, Arc::clone(recipes));
        Arc::clone(recipes)
    }
}

/// The summary with every committed change. Nothing else can use it meanwhile, so hold it briefly.
pub(crate) struct CurrentFleet<'a>(MutexGuard<'a, Option<Fleet>>);

impl std::ops::Deref for CurrentFleet<'_> {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        self.0.as_ref().expect("set before this is created")
    }
}

/// Changes that were taken from the store. If they are dropped before the summary contains them, the store gets them
/// back.
struct Taken<'a> {
    store: &'a Store,
    changes: Changes,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.store.put_changes_back(std::mem::take(&mut self.changes));
    }
}

impl Orchestrator {
    /// Returns the summary with every committed change.
    pub(crate) async fn fleet(&self) -> Result<CurrentFleet<'_>> {
        let mut cache = self.inner.fleet.0.lock().await;
        let mut taken = Taken {
            store: self.store(),
            changes: self.store().take_changes(),
        };
        if let Some(fleet) = cache.as_mut() {
            self.fleet_update(fleet, &taken.changes).await?;
        } else {
            *cache = Some(self.fleet_read().await?);
        }
        taken.changes = Changes::default();
        Ok(CurrentFleet(cache))
    }

    async fn fleet_read(&self) -> Result<Fleet> {
        let (mut fleet, mut recount) = (Fleet::default(), BTreeSet::new());
        let mut recipes = self.recipes_of();
        let read = self.store().read();
        let hosts = read.hosts().await?;
        fleet.put_hosts(&hosts.iter().map(|host| host.id).collect(), hosts);
        let mut after = Uuid::nil();
        loop {
            let rows = read.clusters_after(after, CHUNK).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            fleet.add(rows, |host, row| recipes.is_outdated(host, row), &mut recount);
        }
        fleet.recount(&recount);
        Ok(fleet)
    }

    /// Reads the changed rows, then changes the summary at once: it is never seen in between.
    async fn fleet_update(&self, fleet: &mut Fleet, changes: &Changes) -> Result<()> {
        let read = self.store().read();
        let Changes {
            hosts,
            clusters,
            checked,
        } = changes;
        let host_rows = if hosts.is_empty() {
            Vec::new()
        } else {
            read.hosts_by_id(hosts.iter().copied()).await?
        };
        let whole = fleet.with_outdated_clusters(&host_rows);
        let mut rows = if clusters.is_empty() {
            Vec::new()
        } else {
            read.clusters_by_id(clusters.iter().copied()).await?
        };
        if !whole.is_empty() {
            rows.extend(read.clusters_of_hosts(whole.iter().copied()).await?);
        }
        let (mut recipes, mut recount) = (self.recipes_of(), BTreeSet::new());
        fleet.put_hosts(hosts, host_rows);
        fleet.forget(clusters, &mut recount);
        fleet.add(rows, |host, row| recipes.is_outdated(host, row), &mut recount);
        fleet.note_checked(checked, &mut recount);
        fleet.recount(&recount);
        Ok(())
    }

    /// Returns the recipes of a policy. A defect in a network type must not hide the hosts without it; it is reported
    /// where the host is filled.
    fn recipes_or_unknown(&self, fill: &[api::Fill]) -> Recipes {
        catch_unwind(AssertUnwindSafe(|| self.recipes(fill))).unwrap_or_else(|_| Recipes::unknown())
    }

    fn recipes_of(&self) -> RecipesOf<'_> {
        RecipesOf {
            orchestrator: self,
            by_host: HashMap::new(),
            by_policy: HashMap::new(),
        }
    }

    /// Lists the hosts whose clusters may have to be created, replaced or deleted, and those whose last attempt
    /// crashed.
    pub(crate) async fn hosts_to_fit(&self) -> Result<Vec<HostRow>> {
        let crashed = self.inner.status.crashed_fills();
        let (fleet, now) = (self.fleet().await?, Timestamp::now());
        let hosts = fleet
            .hosts()
            .filter(|host| host.needs_fitting(now) || crashed.contains(&host.row.id));
        Ok(hosts.map(|host| host.row.clone()).collect())
    }

    /// Lists the ready clusters: unhealthy ones first, then the least recently probed.
    pub(crate) async fn assessment_order(&self) -> Result<Vec<Uuid>> {
        let fleet = self.fleet().await?;
        let checked_at = |cluster: &ClusterSummary| {
            let runtime = &self.inner.runtime_cache;
            runtime
                .read(cluster.id, cluster.generation, |runtime| runtime.checked_at)
                .flatten()
        };
        let ready = fleet
            .hosts()
            .flat_map(HostSummary::clusters)
            .filter(|cluster| cluster.state == ClusterState::Ready);
        let mut order: Vec<_> = ready
            .map(|cluster| {
                let is_healthy = cluster.health == HealthState::Healthy;
                (is_healthy, checked_at(cluster), cluster.id)
            })
            .collect();
        order.sort_unstable();
        Ok(order.into_iter().map(|(.., id)| id).collect())
    }
}

#[cfg(test)]
mod tests;
