//! Status of the installation.

use crate::{
    Caller, Orchestrator, Result,
    facade::presenter::counts,
    number::number,
    placement::{choose::shares, fill_policy::fill_problems},
    policy,
    runtime::findings::{Check, DatabaseCheck, Watched},
};
use chainpool_api::{self as api, ClusterState, HealthState, OperationFilter, OperationState, Timestamp};
use chainpool_health::millis;
use chainpool_store::{ClusterRow, HostRow};
use std::collections::BTreeMap;
use uuid::Uuid;

impl Orchestrator {
    /// Returns the status visible to the caller: everything for operators; for others the pool in numbers and
    /// the operations on their clusters.
    pub async fn overview(&self, caller: &Caller) -> Result<api::Status> {
        if policy::operates(caller) {
            return self.status(caller).await;
        }
        let fresh_since = self.store().fresh_since(Timestamp::now());
        let read = self.store().read();
        let (hosts, clusters) = (read.hosts().await?, read.clusters().await?);
        let mut running = Vec::new();
        for cluster in self
            .cluster_list(caller, &api::ClusterFilter::default())
            .await?
            .items
        {
            if let Some(operation) = cluster.operation_id {
                running.push(self.operation_show(caller, operation).await?);
            }
        }
        Ok(api::Status {
            ok: true,
            problems: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: String::new(),
            paused: self.is_paused(),
            started_at: self.inner.started_at,
            pool: pool(&hosts, &clusters, fresh_since),
            by_type: by_type(&hosts, &clusters, fresh_since),
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

    /// Returns the status of the installation.
    pub async fn status(&self, caller: &Caller) -> Result<api::Status> {
        policy::must_operate(caller)?;
        let now = Timestamp::now();
        let fresh_since = self.store().fresh_since(now);
        let read = self.store().read();
        let (hosts, clusters) = (read.hosts().await?, read.clusters().await?);
        let paused = self.is_paused();
        let mut problems = Vec::new();
        if paused {
            problems.push(
                "paused after a restore: check the unclaimed objects, then run chainpool resume".to_owned(),
            );
        }
        let mut host_views = Vec::new();
        for host in &hosts {
            let mut own = Self::host_problems(host, now);
            let unfilled = self.inner.findings.fill(host.id);
            own.extend(unfilled.map(|why| format!("host {} cannot be filled: {why}", host.name)));
            let of_host: Vec<ClusterRow> = clusters
                .iter()
                .filter(|c| c.host_id == host.id)
                .cloned()
                .collect();
            own.extend(fill_problems(&self.inner.registry, host, &of_host));
            problems.extend(own.iter().cloned());
            let mut counts = counts(clusters.iter().filter(|c| c.host_id == host.id), fresh_since);
            counts.capacity = number(host.capacity);
            let checked_at = host.info.as_ref().map(|i| i.0.checked_at);
            host_views.push(api::HostStatus {
                name: host.name.clone(),
                state: host.state.0,
                problems: own,
                counts,
                checked_at,
            });
        }
        let is_future = |until: Option<chainpool_store::Moment>| until.is_some_and(|until| until.0 > now);
        let in_maintenance: Vec<Uuid> = hosts
            .iter()
            .filter(|h| is_future(h.maintenance_until))
            .map(|h| h.id)
            .collect();
        let monitored = clusters
            .iter()
            .filter(|c| !is_future(c.maintenance_until) && !in_maintenance.contains(&c.host_id));
        problems.extend(monitored.filter_map(cluster_problem));
        let known: Vec<Uuid> = hosts.iter().map(|h| h.id).collect();
        let unclaimed: Vec<_> = known
            .iter()
            .flat_map(|id| self.inner.findings.unclaimed(*id))
            .collect();
        problems.extend(unclaimed.iter().map(|u| {
            format!(
                "host {}: {} objects of cluster {} are unclaimed; remove them with chainpool host adopt",
                u.host,
                u.objects.len(),
                u.cluster_id
            )
        }));
        problems.extend(crashes(&self.inner.findings.crashed(), &hosts, &clusters));
        let database = self.database_status();
        if !database.ok {
            problems.push(format!("database: {}", database.message));
        }
        let watchdog = self.inner.findings.watchdog();
        let late = now.millis_since(watchdog.last_pass_at.unwrap_or(self.inner.started_at));
        if late > millis(self.inner.policy.assessment.full_pass_late) {
            problems.push(format!(
                "the watchdog has not completed a full pass for {} s",
                late / 1000
            ));
        }
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
            paused,
            started_at: self.inner.started_at,
            pool: pool(&hosts, &clusters, fresh_since),
            by_type: by_type(&hosts, &clusters, fresh_since),
            hosts: host_views,
            database,
            watchdog,
            unclaimed,
            running: self.operation_list(caller, &running).await?.items,
        })
    }

    fn database_status(&self) -> api::DatabaseStatus {
        let findings = &self.inner.findings;
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

/// The pool in numbers.
fn pool(hosts: &[HostRow], clusters: &[ClusterRow], fresh_since: Timestamp) -> api::Counts {
    let capacity = hosts
        .iter()
        .map(|host| number(host.capacity))
        .fold(0, u32::saturating_add);
    api::Counts {
        capacity,
        ..counts(clusters.iter(), fresh_since)
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

/// The pool by network type; the capacity of a type is its share of each host's capacity.
fn by_type(
    hosts: &[HostRow],
    clusters: &[ClusterRow],
    fresh_since: Timestamp,
) -> BTreeMap<String, api::Counts> {
    let mut types: BTreeMap<String, Vec<&ClusterRow>> = BTreeMap::new();
    for cluster in clusters {
        types
            .entry(cluster.network_type.clone())
            .or_default()
            .push(cluster);
    }
    let mut capacity: BTreeMap<String, u32> = BTreeMap::new();
    for host in hosts {
        let fill = &host.settings.0.fill;
        let shares = shares(fill);
        for entry in fill.iter().filter(|f| f.share > 0) {
            types.entry(entry.network_type.clone()).or_default();
            let due = u64::from(number(host.capacity)) * u64::from(entry.share) / shares;
            let of_type = capacity.entry(entry.network_type.clone()).or_default();
            *of_type = of_type.saturating_add(u32::try_from(due).unwrap_or(u32::MAX));
        }
    }
    let counted = |(name, of): (String, Vec<&ClusterRow>)| {
        let capacity = capacity.get(&name).copied().unwrap_or(0);
        (
            name,
            api::Counts {
                capacity,
                ..counts(of.into_iter(), fresh_since)
            },
        )
    };
    types.into_iter().map(counted).collect()
}

/// Describes crashed parts, except those of deleted hosts and clusters.
fn crashes(crashed: &[(Watched, Timestamp)], hosts: &[HostRow], clusters: &[ClusterRow]) -> Vec<String> {
    let host = |id: Uuid| hosts.iter().find(|host| host.id == id).map(|host| &host.name);
    let cluster = |id: Uuid| {
        clusters
            .iter()
            .find(|cluster| cluster.id == id)
            .map(|cluster| &cluster.name)
    };
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

fn cluster_problem(row: &ClusterRow) -> Option<String> {
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
            crashes(
                &orchestrator.inner.findings.crashed(),
                std::slice::from_ref(&host),
                &[],
            )
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
        let capacity = by_type(&[host.clone()], &[], Timestamp::now())["cometbft"].capacity;
        assert!((9_999..=10_000).contains(&capacity), "{capacity}");
        host.settings.0.fill = vec![entry(0)];
        assert!(by_type(&[host], &[], Timestamp::now()).is_empty());
    }
}
