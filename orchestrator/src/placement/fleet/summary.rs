//! The summary: hosts with their clusters in brief, and their counts.

use crate::placement::{fill_policy::FillCounts, room::offers};
use chainpool_api::{self as api, ClusterState, HealthState, HostState, Timestamp};
use chainpool_store::{ClusterRow, HostRow};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use uuid::Uuid;

/// All hosts with their clusters in brief.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(super) hosts: BTreeMap<Uuid, HostSummary>,
    /// The host of each cluster.
    pub(super) host_of: HashMap<Uuid, Uuid>,
    /// Each name of a network type once.
    types: BTreeSet<Arc<str>>,
}

/// A host with its clusters in brief.
pub(crate) struct HostSummary {
    pub(crate) row: Arc<HostRow>,
    /// By id.
    clusters: Vec<ClusterSummary>,
    /// The clusters by network type.
    tallies: Vec<Tally>,
}

/// A cluster in brief.
pub(crate) struct ClusterSummary {
    pub(crate) id: Uuid,
    pub(crate) name: Box<str>,
    pub(crate) network_type: Arc<str>,
    pub(crate) generation: u32,
    pub(crate) state: ClusterState,
    pub(crate) health: HealthState,
    pub(crate) leased: bool,
    /// An apply may lease it as long as its evidence is fresh.
    offered_while_fresh: bool,
    checked_at: Timestamp,
    /// A fill entry that is no longer in the host's policy created it.
    outdated: bool,
    pub(crate) maintenance_until: Option<Timestamp>,
    /// The problem that its state or health is, if any.
    pub(crate) problem: Option<Box<str>>,
}

/// The counts of clusters of one network type on a host.
struct Tally {
    network_type: Arc<str>,
    /// All counts but `capacity` and `offered`.
    counts: api::Counts,
    /// The clusters that are offered while their evidence is fresh, and the time of their oldest evidence.
    offered_while_fresh: u32,
    oldest: Timestamp,
}

impl Fleet {
    /// All hosts, oldest first.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &HostSummary> {
        self.hosts.values()
    }

    /// A host.
    pub(crate) fn host(&self, id: Uuid) -> Option<&HostSummary> {
        self.hosts.get(&id)
    }

    /// The name of a cluster.
    pub(crate) fn cluster_name(&self, id: Uuid) -> Option<&str> {
        let host = self.hosts.get(self.host_of.get(&id)?)?;
        let place = host
            .clusters
            .binary_search_by_key(&id, |cluster| cluster.id)
            .ok()?;
        Some(&host.clusters[place].name)
    }

    /// The counts of all clusters, without capacity.
    pub(crate) fn counts(&self, fresh_since: Timestamp) -> api::Counts {
        let mut counts = api::Counts::default();
        for host in self.hosts.values() {
            add(&mut counts, &host.counts(fresh_since));
        }
        counts
    }

    /// The counts of clusters by network type, without capacity.
    pub(crate) fn counts_by_type(&self, fresh_since: Timestamp) -> BTreeMap<String, api::Counts> {
        let mut by_type: BTreeMap<Arc<str>, api::Counts> = BTreeMap::new();
        for host in self.hosts.values() {
            for tally in &host.tallies {
                let counts = by_type.entry(Arc::clone(&tally.network_type)).or_default();
                add(counts, &host.counts_of(tally, fresh_since));
            }
        }
        by_type
            .into_iter()
            .map(|(network_type, counts)| (network_type.to_string(), counts))
            .collect()
    }

    /// Lists the hosts whose clusters must all be read again after a change of these hosts: what is said of a cluster
    /// depends on its host.
    pub(super) fn with_outdated_clusters(&self, rows: &[HostRow]) -> BTreeSet<Uuid> {
        let is_outdated = |row: &&HostRow| {
            self.hosts.get(&row.id).is_none_or(|known| {
                offers(&known.row) != offers(row) || known.row.settings.0.fill != row.settings.0.fill
            })
        };
        rows.iter().filter(is_outdated).map(|row| row.id).collect()
    }

    /// Replaces hosts by their rows; those without a row were deleted.
    pub(super) fn put_hosts(&mut self, changed: &BTreeSet<Uuid>, rows: Vec<HostRow>) {
        let mut found: BTreeMap<Uuid, HostRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        for id in changed {
            match (found.remove(id), self.hosts.get_mut(id)) {
                (Some(row), Some(known)) => known.row = Arc::new(row),
                (Some(row), None) => {
                    let (clusters, tallies) = (Vec::new(), Vec::new());
                    self.hosts.insert(
                        *id,
                        HostSummary {
                            row: Arc::new(row),
                            clusters,
                            tallies,
                        },
                    );
                }
                (None, _) => {
                    for cluster in self.hosts.remove(id).into_iter().flat_map(|host| host.clusters) {
                        self.host_of.remove(&cluster.id);
                    }
                }
            }
        }
    }

    /// Forgets clusters before they are read again. Adds their hosts to those that must be counted again.
    pub(super) fn forget(&mut self, clusters: &BTreeSet<Uuid>, recount: &mut BTreeSet<Uuid>) {
        for id in clusters {
            let Some(host) = self.host_of.remove(id) else {
                continue;
            };
            if let Some(summary) = self.hosts.get_mut(&host) {
                summary.clusters.retain(|cluster| cluster.id != *id);
                recount.insert(host);
            }
        }
    }

    /// Adds clusters, or replaces them.
    pub(super) fn add(
        &mut self,
        rows: Vec<ClusterRow>,
        mut is_outdated: impl FnMut(&HostRow, &ClusterRow) -> bool,
        recount: &mut BTreeSet<Uuid>,
    ) {
        for row in rows {
            // A host that appears meanwhile is a change, and all its clusters are read then.
            let Some(host) = self.hosts.get_mut(&row.host_id) else {
                continue;
            };
            let network_type = self.types.get(row.network_type.as_str()).cloned();
            let network_type = network_type.unwrap_or_else(|| Arc::from(row.network_type.as_str()));
            self.types.insert(Arc::clone(&network_type));
            self.host_of.insert(row.id, row.host_id);
            recount.insert(row.host_id);
            let outdated = is_outdated(&host.row, &row);
            let cluster = ClusterSummary::of(&row, network_type, outdated);
            match host.clusters.binary_search_by_key(&row.id, |cluster| cluster.id) {
                Ok(place) => host.clusters[place] = cluster,
                Err(place) => host.clusters.insert(place, cluster),
            }
        }
    }

    /// Notes new times of evidence.
    pub(super) fn note_checked(&mut self, checked: &BTreeMap<Uuid, Timestamp>, recount: &mut BTreeSet<Uuid>) {
        for (id, at) in checked {
            let Some(host) = self.host_of.get(id).and_then(|host| self.hosts.get_mut(host)) else {
                continue;
            };
            if let Ok(place) = host.clusters.binary_search_by_key(id, |cluster| cluster.id) {
                let cluster = &mut host.clusters[place];
                cluster.checked_at = cluster.checked_at.max(*at);
                recount.insert(host.row.id);
            }
        }
    }

    pub(super) fn recount(&mut self, hosts: &BTreeSet<Uuid>) {
        for host in hosts {
            if let Some(host) = self.hosts.get_mut(host) {
                host.tallies = tallies(&host.clusters);
            }
        }
    }
}

impl HostSummary {
    /// Its clusters, oldest first.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &ClusterSummary> {
        self.clusters.iter()
    }

    /// The counts of its clusters, without capacity.
    pub(crate) fn counts(&self, fresh_since: Timestamp) -> api::Counts {
        let mut counts = api::Counts::default();
        for tally in &self.tallies {
            add(&mut counts, &self.counts_of(tally, fresh_since));
        }
        counts
    }

    fn counts_of(&self, tally: &Tally, fresh_since: Timestamp) -> api::Counts {
        let mut counts = tally.counts;
        counts.offered = if tally.oldest >= fresh_since {
            tally.offered_while_fresh
        } else {
            let of_type = self.clusters.iter().filter(|cluster| {
                cluster.network_type == tally.network_type && cluster.is_offered(fresh_since)
            });
            u32::try_from(of_type.count()).unwrap_or(u32::MAX)
        };
        counts
    }

    /// Its clusters in numbers, for its fill policy.
    pub(crate) fn fill_counts(&self) -> FillCounts {
        let remaining = || {
            self.clusters
                .iter()
                .filter(|cluster| cluster.state != ClusterState::Deleting)
        };
        FillCounts {
            all: remaining().count(),
            leased: remaining().filter(|cluster| cluster.leased).count(),
            outdated: remaining()
                .filter(|cluster| !cluster.leased && cluster.outdated)
                .count(),
        }
    }

    /// Returns `false` if neither its capacity nor its fill policy asks for a change of its clusters now.
    pub(crate) fn needs_fitting(&self, now: Timestamp) -> bool {
        let in_maintenance = self.row.maintenance_until.is_some_and(|until| until.0 > now);
        if self.row.state.0 != HostState::Active || in_maintenance {
            return false;
        }
        let capacity = usize::try_from(self.row.settings.0.capacity).unwrap_or(0);
        let FillCounts { all, outdated, .. } = self.fill_counts();
        let failed = || {
            self.clusters
                .iter()
                .any(|cluster| cluster.state == ClusterState::Failed)
        };
        all > capacity
            || self.row.settings.0.autofill
                && offers(&self.row)
                && (outdated > 0 || self.clusters.len() < capacity || failed())
    }
}

impl ClusterSummary {
    fn of(row: &ClusterRow, network_type: Arc<str>, outdated: bool) -> Self {
        Self {
            id: row.id,
            name: row.name.as_str().into(),
            network_type,
            generation: row.generation,
            state: row.state.0,
            health: row.health.0,
            leased: row.leased,
            offered_while_fresh: row.is_offered_while_fresh(),
            checked_at: row.checked_at.0,
            outdated,
            maintenance_until: row.maintenance_until.map(|until| until.0),
            problem: problem(row).map(String::into_boxed_str),
        }
    }

    /// The same as [`ClusterRow::is_offered`].
    fn is_offered(&self, fresh_since: Timestamp) -> bool {
        self.offered_while_fresh && self.checked_at >= fresh_since
    }
}

/// Describes a cluster that failed or is unhealthy.
fn problem(row: &ClusterRow) -> Option<String> {
    let bad = matches!(
        row.health.0,
        HealthState::Degraded | HealthState::Broken | HealthState::Unknown
    );
    match row.state.0 {
        ClusterState::Failed => Some(format!("cluster {} failed: {}", row.name, row.health_reason)),
        ClusterState::Ready if bad => Some(format!(
            "cluster {} is {}: {}",
            row.name, row.health.0, row.health_reason
        )),
        _ => None,
    }
}

fn tallies(clusters: &[ClusterSummary]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = Vec::new();
    for cluster in clusters {
        let known = tallies
            .iter()
            .position(|tally| tally.network_type == cluster.network_type);
        let place = known.unwrap_or_else(|| {
            tallies.push(Tally {
                network_type: Arc::clone(&cluster.network_type),
                counts: api::Counts::default(),
                offered_while_fresh: 0,
                oldest: Timestamp(i64::MAX),
            });
            tallies.len() - 1
        });
        let tally = &mut tallies[place];
        count_state(&mut tally.counts, cluster.state, cluster.health, cluster.leased);
        if cluster.offered_while_fresh {
            tally.offered_while_fresh += 1;
            tally.oldest = tally.oldest.min(cluster.checked_at);
        }
    }
    tallies
}

/// Counts a cluster by state and health. Whether it is offered depends on the time and is counted apart.
pub(super) fn count_state(counts: &mut api::Counts, state: ClusterState, health: HealthState, leased: bool) {
    counts.clusters += 1;
    counts.leased += u32::from(leased);
    match state {
        ClusterState::Creating | ClusterState::Resetting => counts.making += 1,
        ClusterState::Failed => counts.failed += 1,
        ClusterState::Stopped => counts.stopped += 1,
        ClusterState::Ready => match health {
            HealthState::Healthy => counts.healthy += 1,
            HealthState::Degraded => counts.degraded += 1,
            HealthState::Broken => counts.broken += 1,
            HealthState::Unknown => counts.unknown += 1,
            HealthState::Starting | HealthState::Stopped => {}
        },
        ClusterState::Deleting => {}
    }
}

/// Adds all counts.
pub(super) fn add(sum: &mut api::Counts, more: &api::Counts) {
    let api::Counts {
        capacity,
        clusters,
        offered,
        leased,
        making,
        healthy,
        degraded,
        broken,
        stopped,
        failed,
        unknown,
    } = more;
    for (sum, more) in [
        (&mut sum.capacity, capacity),
        (&mut sum.clusters, clusters),
        (&mut sum.offered, offered),
        (&mut sum.leased, leased),
        (&mut sum.making, making),
        (&mut sum.healthy, healthy),
        (&mut sum.degraded, degraded),
        (&mut sum.broken, broken),
        (&mut sum.stopped, stopped),
        (&mut sum.failed, failed),
        (&mut sum.unknown, unknown),
    ] {
        *sum = sum.saturating_add(*more);
    }
}
