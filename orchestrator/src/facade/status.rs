//! Status of the installation.

use crate::{
    Caller, Orchestrator, Result,
    health::Health,
    permissions,
    placement::{choose::shares, fill_policy::fill_problems},
    runtime::findings::{Check, DatabaseCheck, Watched},
    text::counted,
};
use chainpool_api::{self as api, HostState, OperationFilter, OperationState, Timestamp};
use chainpool_health::millis;
use chainpool_store::HostRow;
use std::collections::BTreeMap;
use uuid::Uuid;

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

impl Orchestrator {
    /// Returns the status visible to the caller: everything for operators; for others the pool in numbers and
    /// the operations on their clusters.
    pub async fn overview(&self, caller: &Caller) -> Result<api::Status> {
        if permissions::operates(caller) {
            return self.status(caller).await;
        }
        let running = self.running_on_own(caller).await?;
        let FleetStatus { pool, by_type, .. } = self.fleet_status(Timestamp::now(), false).await?;
        Ok(api::Status {
            ok: true,
            problems: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: String::new(),
            paused: self.runtime.is_paused(),
            started_at: self.runtime.started_at,
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
            permissions::may_read_operation(caller, row, lease)
        });
        // In the order of the clusters, newest first.
        rows.sort_by_key(|row| std::cmp::Reverse(row.cluster_id));
        self.present_operations_with_steps(rows).await
    }

    /// Returns the status of the installation.
    pub async fn status(&self, caller: &Caller) -> Result<api::Status> {
        permissions::must_operate(caller)?;
        let FleetStatus {
            hosts,
            pool,
            by_type,
            unclaimed,
            problems,
            unreachable_hosts: _,
        } = self.fleet_status(Timestamp::now(), true).await?;
        let (database, watchdog) = (self.database_status(), self.runtime.findings.watchdog());
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
            paused: self.runtime.is_paused(),
            started_at: self.runtime.started_at,
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
        permissions::must_operate(caller)?;
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
        if self.runtime.is_paused() {
            problems.push(
                "paused after a restore: check the unclaimed objects, then run chainpool resume".to_owned(),
            );
        }
        let unfilled = self.runtime.findings.fills();
        let crashed = self.runtime.findings.crashed();
        let fleet = self.placement.fleet().await?;
        let is_future = |until: Option<Timestamp>| until.is_some_and(|until| until > now);
        let mut host_views = Vec::new();
        let mut cluster_problems = BTreeMap::new();
        let (mut capacity, mut unreachable_hosts) = (0_u32, 0);
        for summary in fleet.hosts() {
            let host = &summary.row;
            capacity = capacity.saturating_add(host.settings.0.capacity);
            unreachable_hosts += usize::from(host.state.0 == HostState::Unreachable);
            let mut own = Health::host_problems(host, now);
            let unfilled = unfilled.get(&host.id);
            own.extend(unfilled.map(|why| format!("host {} cannot be filled: {why}", host.name)));
            own.extend(fill_problems(host, summary.fill_counts()));
            problems.extend(own.iter().cloned());
            if !is_future(host.maintenance_until.map(|until| until.0)) {
                let monitored = summary.clusters().filter(|c| !is_future(c.maintenance_until));
                cluster_problems
                    .extend(monitored.filter_map(|c| Some((c.id, c.problem.as_deref()?.to_owned()))));
            }
            if with_hosts {
                let mut counts = summary.counts(fresh_since);
                counts.capacity = host.settings.0.capacity;
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
        let unclaimed = self
            .runtime
            .findings
            .unclaimed_of(|host| fleet.host(host).is_some());
        problems.extend(unclaimed.iter().map(|u| {
            format!(
                "host {}: {} of cluster {} unclaimed; delete with chainpool host adopt",
                u.host,
                counted(u.objects.len(), "object"),
                u.cluster_id
            )
        }));
        let host_name = |id: Uuid| fleet.host(id).map(|host| host.row.name.as_str());
        problems.extend(crashes(&crashed, host_name, |id| fleet.cluster_name(id)));
        problems.extend(self.own_problems(now));
        let mut by_type = fleet.counts_by_type(fresh_since);
        add_capacities(&mut by_type, fleet.hosts().map(|host| &*host.row));
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
        let last_pass_at = self.runtime.findings.watchdog().last_pass_at;
        let late = now.millis_since(last_pass_at.unwrap_or(self.runtime.started_at));
        if late > millis(self.runtime.policy.assessment.full_pass_late) {
            problems.push(format!(
                "the watchdog has not completed a full pass for {} s",
                late / 1000
            ));
        }
        problems
    }

    fn database_status(&self) -> api::DatabaseStatus {
        let findings = &self.runtime.findings;
        let (written, intact) = (
            findings.database(DatabaseCheck::Write),
            findings.database(DatabaseCheck::Integrity),
        );
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

/// Adds the capacity of each network type: its share of each host's capacity.
fn add_capacities<'a>(by_type: &mut BTreeMap<String, api::Counts>, hosts: impl Iterator<Item = &'a HostRow>) {
    for host in hosts {
        let fill = &host.settings.0.fill;
        let shares = shares(fill);
        for entry in fill.iter().filter(|f| f.share > 0) {
            let due = u64::from(host.settings.0.capacity) * u64::from(entry.share) / shares;
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
            "{} crashed at {at}: this is a bug in Chainpool, see the server's log; it is retried automatically",
            part(*of)?
        ))
    };
    crashed.iter().filter_map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, facade::host::fixture::row};

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
            crashes(&orchestrator.runtime.findings.crashed(), name, |_| None)
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
        host.settings.0.capacity = 10_000;
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
