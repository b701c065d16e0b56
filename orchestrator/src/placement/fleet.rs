//! A summary of all hosts and clusters in memory, for everything that would otherwise read every row: status, the
//! badge of each page, autofill, the order of probes.
//!
//! Each use first reads the rows that changed since the previous one, by the events of the store, so that it sees every
//! committed change. Rows are the truth; the summary holds nothing that they do not say.

pub(crate) mod summary;

use crate::{
    Result,
    placement::fill_policy::{Recipes, recipes},
};
use chainpool_api::{self as api, Event, Noun, Timestamp};
use chainpool_networks::Registry;
use chainpool_store::{ClusterRow, HostRow, Reader, SequencedEvent, Store};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};
use summary::Fleet;
use tokio::sync::{
    MutexGuard,
    broadcast::{Receiver, error::TryRecvError},
};
use uuid::Uuid;

/// Rows read at a time when everything is read.
const CHUNK: u64 = 200;

/// The summary, created at its first use.
pub(crate) struct FleetCache {
    current: tokio::sync::Mutex<Current>,
    /// The new times of evidence: they are written for many clusters at once and have no events.
    checked: Mutex<BTreeMap<Uuid, Timestamp>>,
}

/// The summary, and the changes that it does not contain yet.
struct Current {
    events: Receiver<SequencedEvent>,
    changes: Changes,
    fleet: Option<Fleet>,
}

/// The changes since the previous use. They are kept until the summary contains them.
#[derive(Default)]
struct Changes {
    hosts: BTreeSet<Uuid>,
    clusters: BTreeSet<Uuid>,
    /// The clusters whose evidence has a new time, with that time.
    checked: BTreeMap<Uuid, Timestamp>,
}

impl FleetCache {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            current: tokio::sync::Mutex::new(Current {
                events: store.events(),
                changes: Changes::default(),
                fleet: None,
            }),
            checked: Mutex::default(),
        }
    }

    /// Notes a committed time of evidence.
    pub(crate) fn note_checked(&self, clusters: Vec<Uuid>, at: Timestamp) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.extend(clusters.into_iter().map(|cluster| (cluster, at)));
    }

    /// Returns the summary with every committed change.
    pub(crate) async fn current(&self, store: &Store, registry: &Registry) -> Result<CurrentFleet<'_>> {
        let mut guard = self.current.lock().await;
        let current = &mut *guard;
        current.take_events();
        current.changes.checked.append(&mut self.take_checked());
        let read = store.read();
        match &mut current.fleet {
            Some(fleet) => fleet_update(fleet, &read, registry, &current.changes).await?,
            None => current.fleet = Some(fleet_read(&read, registry).await?),
        }
        current.changes = Changes::default();
        Ok(CurrentFleet(guard))
    }

    fn take_checked(&self) -> BTreeMap<Uuid, Timestamp> {
        mem::take(&mut self.checked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Current {
    /// Takes the events that arrived. After too many of them, everything is read again.
    fn take_events(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(SequencedEvent { event, .. }) => self.changes.note(event),
                Err(TryRecvError::Lagged(_)) => self.fleet = None,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

impl Changes {
    fn note(&mut self, Event { noun, id }: Event) {
        match noun {
            Noun::Host => drop(self.hosts.insert(id)),
            Noun::Cluster => drop(self.clusters.insert(id)),
            Noun::Lease | Noun::Operation => {}
        }
    }
}

/// The recipes of fill policies. Hosts with the same policy share them.
struct RecipesOf<'a> {
    registry: &'a Registry,
    by_host: HashMap<Uuid, Arc<Recipes>>,
    by_policy: HashMap<String, Arc<Recipes>>,
}

impl<'a> RecipesOf<'a> {
    fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            by_host: HashMap::new(),
            by_policy: HashMap::new(),
        }
    }

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
            .or_insert_with(|| Arc::new(recipes_or_unknown(self.registry, fill)));
        self.by_host.insert(host.id, Arc::clone(recipes));
        Arc::clone(recipes)
    }
}

/// Returns the recipes of a policy. A defect in a network type must not hide the hosts without it; it is reported where
/// the host is filled.
fn recipes_or_unknown(registry: &Registry, fill: &[api::Fill]) -> Recipes {
    catch_unwind(AssertUnwindSafe(|| recipes(registry, fill))).unwrap_or_else(|_| Recipes::unknown())
}

/// The summary with every committed change. Nothing else can use it meanwhile, so hold it briefly.
pub(crate) struct CurrentFleet<'a>(MutexGuard<'a, Current>);

impl std::ops::Deref for CurrentFleet<'_> {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        self.0.fleet.as_ref().expect("set before this is created")
    }
}

async fn fleet_read(read: &Reader, registry: &Registry) -> Result<Fleet> {
    let (mut fleet, mut recount) = (Fleet::default(), BTreeSet::new());
    let mut recipes = RecipesOf::new(registry);
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
async fn fleet_update(
    fleet: &mut Fleet,
    read: &Reader,
    registry: &Registry,
    changes: &Changes,
) -> Result<()> {
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
    let (mut recipes, mut recount) = (RecipesOf::new(registry), BTreeSet::new());
    fleet.put_hosts(hosts, host_rows);
    // The rows were read later than these times were noted.
    fleet.note_checked(checked, &mut recount);
    fleet.forget(clusters, &mut recount);
    fleet.add(rows, |host, row| recipes.is_outdated(host, row), &mut recount);
    fleet.recount(&recount);
    Ok(())
}

#[cfg(test)]
mod tests;
