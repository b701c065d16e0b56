//! Status of the installation.

use crate::{Caller, Error, Orchestrator, Result, admission::Cause, placement, policy, presenter::number};
use chainpool_agent::{Place, ResourcesInUse};
use chainpool_api::{self as api, ClusterState, HostState, OperationFilter, OperationState, Timestamp};
use chainpool_health::millis;
use chainpool_store::{Audit, HostRow};
use futures::FutureExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError, atomic::Ordering},
};
use uuid::Uuid;

/// The latest findings of the watchdog, in memory.
#[derive(Default)]
pub(crate) struct StatusCache(Mutex<Findings>);

/// The time and the problem of a check.
type Check = (Timestamp, Option<String>);

#[derive(Default)]
struct Findings {
    unclaimed: BTreeMap<Uuid, Vec<api::Unclaimed>>,
    /// The write check of the database.
    written: Option<Check>,
    /// The integrity check of the database.
    intact: Option<Check>,
    pass: Option<(Timestamp, u64)>,
    lag_ms: u64,
    fill: BTreeMap<Uuid, String>,
    in_use: BTreeMap<Uuid, ResourcesInUse>,
    crashed: BTreeMap<Watched, Timestamp>,
}

/// A part of the watchdog's work. A defect in one part must neither stop nor hide the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// A job by its name.
    Job(&'static str),
    /// The check of a host.
    Host(Uuid),
    /// Watching the events of a host's platform.
    Events(Uuid),
    /// Filling a host.
    Fill(Uuid),
    /// The check of a cluster.
    Cluster(Uuid),
}

/// The status in a few numbers.
#[derive(Debug, Clone, Default)]
pub struct StatusBrief {
    /// The pool.
    pub pool: api::Counts,
    /// The number of unreachable hosts.
    pub unreachable_hosts: usize,
    /// The number of problems.
    pub problems: usize,
}

/// The assessment of all hosts and clusters.
struct FleetStatus {
    /// Empty unless requested.
    hosts: Vec<api::HostStatus>,
    unreachable_hosts: usize,
    pool: api::Counts,
    by_type: BTreeMap<String, api::Counts>,
    unclaimed: Vec<api::Unclaimed>,
    problems: Vec<String>,
}

impl StatusCache {
    fn with<T>(&self, change: impl FnOnce(&mut Findings) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn unclaimed_put(&self, host: Uuid, unclaimed: Vec<api::Unclaimed>) {
        self.with(|found| found.unclaimed.insert(host, unclaimed));
    }

    /// Lists the unclaimed objects of these hosts, by host.
    fn unclaimed_of(&self, is_known: impl Fn(Uuid) -> bool) -> Vec<api::Unclaimed> {
        self.with(|found| {
            let known = found.unclaimed.iter().filter(|(host, _)| is_known(**host));
            known.flat_map(|(_, unclaimed)| unclaimed).cloned().collect()
        })
    }

    pub(crate) fn unclaimed(&self, host: Uuid) -> Vec<api::Unclaimed> {
        self.with(|found| found.unclaimed.get(&host).cloned().unwrap_or_default())
    }

    /// Stores the resources of a host in use by others.
    pub(crate) fn in_use_put(&self, host: Uuid, in_use: ResourcesInUse) {
        self.with(|found| found.in_use.insert(host, in_use));
    }

    /// Adds a resource of a host that turned out to be in use by others, until the next inventory.
    pub(crate) fn in_use_add(&self, host: Uuid, place: Place) {
        self.with(|found| {
            let in_use = found.in_use.entry(host).or_default();
            match place {
                Place::Subnet(subnet) => in_use.networks.push(subnet),
                Place::Port(port) => drop(in_use.ports.insert(port)),
            }
        });
    }

    pub(crate) fn in_use(&self, host: Uuid) -> ResourcesInUse {
        self.with(|found| found.in_use.get(&host).cloned().unwrap_or_default())
    }

    /// Records whether a part of the watchdog's work crashed, until it succeeds.
    fn crash_put(&self, part: Watched, crashed: bool) {
        self.with(|found| {
            if crashed {
                found.crashed.insert(part, Timestamp::now());
            } else {
                found.crashed.remove(&part);
            }
        });
    }

    /// Lists the parts that crashed in their last run.
    fn crashed(&self) -> Vec<(Watched, Timestamp)> {
        self.with(|found| found.crashed.iter().map(|(part, at)| (*part, *at)).collect())
    }

    /// Lists the hosts whose last autofill crashed.
    pub(crate) fn crashed_fills(&self) -> BTreeSet<Uuid> {
        self.with(|found| {
            let fills = found.crashed.keys().filter_map(|part| match part {
                Watched::Fill(host) => Some(*host),
                _ => None,
            });
            fills.collect()
        })
    }

    /// Records why the last autofill of a host failed; `None` if it succeeded. Logs a changed reason.
    pub(crate) fn fill_put(&self, host: Uuid, why: Option<String>) {
        let before = self.with(|found| match why.clone() {
            Some(why) => found.fill.insert(host, why),
            None => found.fill.remove(&host),
        });
        if let Some(why) = why.filter(|why| before.as_ref() != Some(why)) {
            tracing::warn!(%host, why, "a host cannot be filled");
        }
    }
}

impl Orchestrator {
    /// This installation's identity.
    pub fn instance(&self) -> String {
        self.store().instance().to_string()
    }

    /// Returns the status visible to the caller: everything for operators; for others the pool in numbers and
    /// the operations on their clusters.
    pub async fn overview(&self, caller: &Caller) -> Result<api::Status> {
        if policy::operates(caller) {
            return self.status(caller).await;
        }
        let running = self.running_on_own(caller).await?;
        let FleetStatus { pool, by_type, .. } = self.fleet_status(Timestamp::now(), false).await?;
        Ok(api::Status {
            ok: true,
            problems: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: String::new(),
            paused: self.is_paused(),
            started_at: self.inner.started_at,
            pool,
            by_type,
            hosts: Vec::new(),
            database: api::DatabaseStatus {
                ok: true,
                message: String::new(),
                size_bytes: 0,
                disk_free_bytes: None,
                checked_at: None,
            },
            watchdog: api::WatchdogStatus {
                last_pass_at: None,
                last_pass_ms: 0,
                lag_ms: 0,
            },
            unclaimed: Vec::new(),
            running,
        })
    }

    /// Lists the operations in progress on the clusters that the caller may use.
    async fn running_on_own(&self, caller: &Caller) -> Result<Vec<api::Operation>> {
        let clusters = self.cluster_list(caller, &api::ClusterFilter::default()).await?;
        let running = clusters.items.iter().filter_map(|cluster| cluster.operation_id);
        let read = self.store().read();
        let leases = read
            .leases_of(clusters.items.iter().map(|cluster| cluster.id))
            .await?;
        let mut rows = read.operations_by_id(running).await?;
        rows.retain(|row| {
            let lease = row.cluster_id.and_then(|cluster| leases.get(&cluster));
            policy::may_read_operation(caller, row, lease)
        });
        // In the order of the clusters, newest first.
        rows.sort_by_key(|row| std::cmp::Reverse(row.cluster_id));
        self.present_operations_with_steps(rows).await
    }

    /// Returns the status of the installation.
    pub async fn status(&self, caller: &Caller) -> Result<api::Status> {
        policy::must_operate(caller)?;
        let FleetStatus {
            hosts,
            pool,
            by_type,
            unclaimed,
            problems,
            unreachable_hosts: _,
        } = self.fleet_status(Timestamp::now(), true).await?;
        let (database, watchdog) = (self.database_status(), self.watchdog_status());
        let running = OperationFilter {
            state: Some(OperationState::Running),
            limit: Some(50),
            ..OperationFilter::default()
        };
        Ok(api::Status {
            ok: problems.is_empty(),
            problems,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance(),
            paused: self.is_paused(),
            started_at: self.inner.started_at,
            pool,
            by_type,
            hosts,
            database,
            watchdog,
            unclaimed,
            running: self.operation_list(caller, &running).await?.items,
        })
    }

    /// Returns the status in a few numbers, without reading all rows.
    pub async fn status_brief(&self, caller: &Caller) -> Result<StatusBrief> {
        policy::must_operate(caller)?;
        let status = self.fleet_status(Timestamp::now(), false).await?;
        Ok(StatusBrief {
            pool: status.pool,
            unreachable_hosts: status.unreachable_hosts,
            problems: status.problems.len(),
        })
    }

    /// Assesses all hosts and clusters, and what else may be wrong.
    async fn fleet_status(&self, now: Timestamp, with_hosts: bool) -> Result<FleetStatus> {
        let fresh_since = self.store().fresh_since(now);
        let mut problems = Vec::new();
        if self.is_paused() {
            problems.push(
                "paused after a restore: check the unclaimed objects, then run chainpool resume".to_owned(),
            );
        }
        let unfilled = self.inner.status.with(|found| found.fill.clone());
        let crashed = self.inner.status.crashed();
        let fleet = self.fleet().await?;
        let is_future = |until: Option<Timestamp>| until.is_some_and(|until| until > now);
        let mut host_views = Vec::new();
        let mut cluster_problems = BTreeMap::new();
        let (mut capacity, mut unreachable_hosts) = (0_u32, 0);
        for summary in fleet.hosts() {
            let host = &summary.row;
            capacity = capacity.saturating_add(number(host.capacity));
            unreachable_hosts += usize::from(host.state.0 == HostState::Unreachable);
            let mut own = Self::host_problems(host, now);
            let unfilled = unfilled.get(&host.id);
            own.extend(unfilled.map(|why| format!("host {} cannot be filled: {why}", host.name)));
            own.extend(Self::fill_problems(host, summary.fill_counts()));
            problems.extend(own.iter().cloned());
            if !is_future(host.maintenance_until.map(|until| until.0)) {
                let monitored = summary.clusters().filter(|c| !is_future(c.maintenance_until));
                cluster_problems
                    .extend(monitored.filter_map(|c| Some((c.id, c.problem.as_deref()?.to_owned()))));
            }
            if with_hosts {
                let mut counts = summary.counts(fresh_since);
                counts.capacity = number(host.capacity);
                host_views.push(api::HostStatus {
                    name: host.name.clone(),
                    state: host.state.0,
                    problems: own,
                    counts,
                    checked_at: host.info.as_ref().map(|i| i.0.checked_at),
                });
            }
        }
        problems.extend(cluster_problems.into_values());
        let unclaimed = self.inner.status.unclaimed_of(|host| fleet.host(host).is_some());
        problems.extend(unclaimed.iter().map(|u| {
            format!(
                "host {}: {} objects of cluster {} are unclaimed; remove them with chainpool host adopt",
                u.host,
                u.objects.len(),
                u.cluster_id
            )
        }));
        let host_name = |id: Uuid| fleet.host(id).map(|host| host.row.name.as_str());
        problems.extend(crashes(&crashed, host_name, |id| fleet.cluster_name(id)));
        problems.extend(self.own_problems(now));
        let mut by_type = fleet.counts_by_type(fresh_since);
        add_capacities(&mut by_type, fleet.hosts().map(|host| &host.row));
        Ok(FleetStatus {
            hosts: host_views,
            unreachable_hosts,
            pool: api::Counts {
                capacity,
                ..fleet.counts(fresh_since)
            },
            by_type,
            unclaimed,
            problems,
        })
    }

    /// Lists the problems of the database and of the watchdog.
    fn own_problems(&self, now: Timestamp) -> Vec<String> {
        let mut problems = Vec::new();
        let database = self.database_status();
        if !database.ok {
            problems.push(format!("database: {}", database.message));
        }
        let last_pass_at = self.watchdog_status().last_pass_at;
        let late = now.millis_since(last_pass_at.unwrap_or(self.inner.started_at));
        if late > millis(self.inner.policy.assessment.full_pass_late) {
            problems.push(format!(
                "the watchdog has not completed a full pass for {} s",
                late / 1000
            ));
        }
        problems
    }

    fn database_status(&self) -> api::DatabaseStatus {
        let (written, intact) = self
            .inner
            .status
            .with(|found| (found.written.clone(), found.intact.clone()));
        let disk_free_bytes = self.disk_free_bytes();
        let wrong = |check: &Option<Check>| check.as_ref().and_then(|(_, wrong)| wrong.clone());
        // A write may have failed after the latest check.
        let wrong = self
            .store()
            .write_failure()
            .or_else(|| wrong(&written))
            .or_else(|| wrong(&intact));
        let wrong = wrong.or_else(|| disk_free_bytes.and_then(low_disk));
        let checked_at = written.iter().chain(&intact).map(|(at, _)| *at).max();
        api::DatabaseStatus {
            ok: wrong.is_none(),
            message: wrong
                .unwrap_or_else(|| if intact.is_some() { "ok" } else { "not checked yet" }.to_owned()),
            size_bytes: self.store().size_bytes(),
            disk_free_bytes,
            checked_at,
        }
    }

    /// The free disk space at the database; `None` if unknown.
    fn disk_free_bytes(&self) -> Option<u64> {
        rustix::fs::statvfs(self.store().folder())
            .ok()
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn watchdog_status(&self) -> api::WatchdogStatus {
        self.inner.status.with(|found| api::WatchdogStatus {
            last_pass_at: found.pass.map(|(at, _)| at),
            last_pass_ms: found.pass.map_or(0, |(_, took)| took),
            lag_ms: found.lag_ms,
        })
    }

    /// Checks that writes to the database are visible on another connection, and checks its integrity.
    pub async fn database_check(&self) {
        self.database_write_check().await;
        let wrong = match self.store().check().await {
            Ok(found) if found == "ok" => None,
            Ok(found) => Some(format!("damaged: {found}; restore a backup")),
            Err(error) => Some(reason(&error)),
        };
        self.database_found(wrong, |found| &mut found.intact);
    }

    /// Checks that writes to the database are visible on another connection.
    pub async fn database_write_check(&self) {
        let failed = self.store().check_write().await.err().map(|error| reason(&error));
        // The store itself reports a failed write until one succeeds.
        let wrong = failed.filter(|_| self.store().write_failure().is_none());
        self.database_found(wrong, |found| &mut found.written);
    }

    /// Records the result of a database check. Logs a changed problem.
    fn database_found(&self, wrong: Option<String>, place: fn(&mut Findings) -> &mut Option<Check>) {
        let before = self
            .inner
            .status
            .with(|found| place(found).replace((Timestamp::now(), wrong.clone())))
            .and_then(|(_, wrong)| wrong);
        if let Some(wrong) = wrong.filter(|wrong| before.as_ref() != Some(wrong)) {
            tracing::error!(wrong, "the database check failed");
        }
    }

    /// Runs a part of the watchdog's work. A panic is logged and shown in the status until the part succeeds,
    /// and does not affect other parts; the result is then `None`.
    pub fn isolated<T>(
        &self,
        part: Watched,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Option<T>> {
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        async move { self.noted(part, work.await) }
    }

    fn noted<T>(&self, part: Watched, outcome: std::thread::Result<T>) -> Option<T> {
        if let Err(panic) = &outcome {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(
                ?part,
                panic = text.unwrap_or("without a message"),
                "a part of the watchdog's work crashed; the others continue"
            );
        }
        self.inner.status.crash_put(part, outcome.is_err());
        outcome.ok()
    }

    /// Records the end and the duration of a full pass.
    pub fn note_pass(&self, took: std::time::Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.inner
            .status
            .with(|found| found.pass = Some((Timestamp::now(), took)));
    }

    /// Records how far the probes lag behind their period.
    pub fn note_lag(&self, lag: std::time::Duration) {
        self.inner
            .status
            .with(|found| found.lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    }

    /// Deletes history past its retention period.
    pub async fn prune_history(&self) -> Result<()> {
        let mut tx = self.store().begin().await?;
        let deleted = tx.prune_history(Timestamp::now()).await?;
        tx.commit("history pruned").await?;
        if deleted > 0 {
            tracing::info!(rows = deleted, "deleted old history");
        }
        Ok(())
    }

    /// Lists the network types with their parameters. The same for all signed-in callers.
    pub fn network_types(&self, _caller: &Caller) -> Vec<api::NetworkType> {
        self.inner.registry.describe()
    }

    /// Returns `true` if the installation is paused after a restore: nothing is deleted or filled.
    pub(crate) fn is_paused(&self) -> bool {
        self.inner.paused.load(Ordering::Relaxed)
    }

    /// Previews the end of the pause after a restore. Changes nothing.
    pub async fn resume_preview(&self, caller: &Caller) -> Result<api::Status> {
        policy::must_administer(caller)?;
        self.status(caller).await
    }

    /// Ends the pause after a restore. Resets the free clusters: they may have been leased since the backup,
    /// and a cluster must not pass to another holder unreset.
    pub async fn resume(&self, caller: &Caller) -> Result<()> {
        policy::must_administer(caller)?;
        if !self.is_paused() {
            return Ok(());
        }
        let cause = Cause::of(caller, "it may have been used since the restored backup");
        let mut tx = self.store().begin().await?;
        for row in tx.clusters().await? {
            if row.leased
                || row.operation_id.is_some()
                || !matches!(row.state.0, ClusterState::Ready | ClusterState::Stopped)
            {
                continue;
            }
            if let Some(host) = tx.host(row.host_id).await? {
                self.accept_reset(&mut tx, &host, row, &cause).await?;
            }
        }
        tx.setting_put("paused", "false").await?;
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "resume",
                subject: "installation",
                detail: String::new(),
            },
            Timestamp::now(),
        )
        .await?;
        self.accepted(tx, &[]).await?;
        self.inner.paused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Returns a consistent copy of the database, without the master key, as a file that is deleted on close.
    pub async fn backup(&self, caller: &Caller) -> Result<File> {
        policy::must_administer(caller)?;
        let path = self
            .store()
            .folder()
            .join(format!("backup-{}.tmp", Uuid::now_v7()));
        self.store().copy_to(&path).await?;
        let file = File::open(&path).map_err(Error::internal)?;
        std::fs::remove_file(&path).map_err(Error::internal)?;
        let mut tx = self.store().begin().await?;
        tx.audit_insert(
            Audit {
                author: &caller.account,
                verb: "backup",
                subject: "installation",
                detail: String::new(),
            },
            Timestamp::now(),
        )
        .await?;
        tx.commit("backup recorded").await?;
        Ok(file)
    }
}

/// The free disk space below which the database is at risk.
const DISK_FLOOR: u64 = 100 * 1024 * 1024;

fn low_disk(free: u64) -> Option<String> {
    (free < DISK_FLOOR).then(|| {
        format!(
            "only {} MiB of disk space is free, but at least 100 MiB is required; free some space",
            free / (1024 * 1024)
        )
    })
}

/// An error with its causes.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Adds the capacity of each network type: its share of each host's capacity.
fn add_capacities<'a>(by_type: &mut BTreeMap<String, api::Counts>, hosts: impl Iterator<Item = &'a HostRow>) {
    for host in hosts {
        let fill = &host.settings.0.fill;
        let shares = placement::shares(fill);
        for entry in fill.iter().filter(|f| f.share > 0) {
            let due = u64::from(number(host.capacity)) * u64::from(entry.share) / shares;
            let capacity = match by_type.get_mut(&entry.network_type) {
                Some(counts) => &mut counts.capacity,
                None => &mut by_type.entry(entry.network_type.clone()).or_default().capacity,
            };
            *capacity = capacity.saturating_add(u32::try_from(due).unwrap_or(u32::MAX));
        }
    }
}

/// Describes crashed parts, except those of deleted hosts and clusters.
fn crashes<'a>(
    crashed: &[(Watched, Timestamp)],
    host: impl Fn(Uuid) -> Option<&'a str>,
    cluster: impl Fn(Uuid) -> Option<&'a str>,
) -> Vec<String> {
    let part = |part: Watched| {
        Some(match part {
            Watched::Job(name) => format!("the job {name} of the watchdog"),
            Watched::Host(id) => format!("the check of host {}", host(id)?),
            Watched::Events(id) => format!("watching the events of host {}", host(id)?),
            Watched::Fill(id) => format!("filling host {}", host(id)?),
            Watched::Cluster(id) => format!("the check of cluster {}", cluster(id)?),
        })
    };
    let shown = |(of, at): &(Watched, Timestamp)| {
        Some(format!(
            "{} crashed at {at}: this is a defect in Chainpool, see the server's log; it is retried",
            part(*of)?
        ))
    };
    crashed.iter().filter_map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, host::fixture::row};

    #[tokio::test]
    async fn a_panicking_part_is_shown_until_it_succeeds_and_affects_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_operations: false,
            ..Config::new(folder.path().to_owned(), vec![])
        };
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let host = row();
        let shown = || {
            let name = |id| (id == host.id).then_some(host.name.as_str());
            crashes(&orchestrator.inner.status.crashed(), name, |_| None)
        };
        let parts = [
            Watched::Job("autofill"),
            Watched::Host(host.id),
            Watched::Host(Uuid::now_v7()),
        ];
        for part in parts {
            let outcome = orchestrator
                .isolated(part, async { assert!(host.id.is_nil(), "a defect") })
                .await;
            assert_eq!(outcome, None);
        }
        assert_eq!(
            orchestrator.isolated(Watched::Fill(host.id), async { 7 }).await,
            Some(7)
        );
        let problems = shown();
        assert!(
            problems.len() == 2
                && problems[0].contains("the job autofill")
                && problems[1].contains("the check of host h1 crashed"),
            "{problems:?}"
        );
        for part in parts {
            assert_eq!(orchestrator.isolated(part, async {}).await, Some(()));
        }
        assert!(shown().is_empty());
        orchestrator.stop().await;
    }

    #[test]
    fn invalid_shares_stored_by_a_previous_version_are_counted() {
        let mut host = row();
        let entry = |share| api::Fill {
            network_type: "cometbft".into(),
            preset: "single".into(),
            share,
            parameters: serde_json::Map::new(),
        };
        host.settings.0.fill = vec![entry(u32::MAX), entry(1)];
        host.capacity = 10_000;
        let mut by_type = BTreeMap::new();
        add_capacities(&mut by_type, std::iter::once(&host));
        let capacity = by_type["cometbft"].capacity;
        assert!((9_999..=10_000).contains(&capacity), "{capacity}");
        host.settings.0.fill = vec![entry(0)];
        by_type.clear();
        add_capacities(&mut by_type, std::iter::once(&host));
        assert!(by_type.is_empty());
    }
}
