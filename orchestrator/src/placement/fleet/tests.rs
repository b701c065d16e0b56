use super::{
    summary::{add, count_state},
    *,
};
use crate::{Config, Orchestrator};
use chainpool_api::{ClusterState, HealthState};
use chainpool_store::{ApplyRequest, EnumColumn, testing};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A cluster that is offered no more after this time without new evidence.
const HOUR_SECONDS: i64 = 3600;

struct Bed {
    orchestrator: Orchestrator,
    _folder: TempDir,
}

impl Bed {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_operations: false,
            ..Config::new(folder.path().join("data"), vec![])
        };
        Self {
            orchestrator: Orchestrator::start(config).await.unwrap(),
            _folder: folder,
        }
    }

    fn store(&self) -> &Store {
        self.orchestrator.store()
    }

    /// Compares the summary with the rows, for evidence that is and that is not fresh.
    async fn agrees(&self, after: &str) {
        let rows = self.store().read().clusters().await.unwrap();
        let now = Timestamp::now();
        for time in [now, now.plus_seconds(HOUR_SECONDS)] {
            let fresh_since = self.store().fresh_since(time);
            let mut expected: BTreeMap<String, api::Counts> = BTreeMap::new();
            for row in &rows {
                let counts = expected.entry(row.network_type.clone()).or_default();
                count_state(counts, row.state.0, row.health.0, row.leased);
                counts.offered += u32::from(row.is_offered(fresh_since));
            }
            let fleet = self.orchestrator.placement.fleet().await.unwrap();
            assert_eq!(fleet.counts_by_type(fresh_since), expected, "after {after}");
            let mut sum = api::Counts::default();
            expected.values().for_each(|counts| add(&mut sum, counts));
            assert_eq!(fleet.counts(fresh_since), sum, "after {after}");
            let names: Vec<_> = rows.iter().map(|row| fleet.cluster_name(row.id)).collect();
            assert!(names.iter().all(Option::is_some), "after {after}");
        }
    }

    async fn offered(&self) -> u32 {
        let fresh_since = self.store().fresh_since(Timestamp::now());
        self.orchestrator
            .placement
            .fleet()
            .await
            .unwrap()
            .counts(fresh_since)
            .offered
    }
}

#[tokio::test]
async fn the_summary_agrees_with_the_rows_after_every_change() {
    let bed = Bed::start().await;
    bed.agrees("the start").await;
    let rows = testing::free_clusters(bed.store(), &["a", "b", "c", "d"]).await;
    bed.agrees("the creation of a host with clusters").await;
    assert_eq!(bed.offered().await, 4);

    bed.store().apply(ApplyRequest::default()).await.unwrap().unwrap();
    bed.agrees("an apply").await;
    assert_eq!(bed.offered().await, 3);

    let mut tx = bed.store().begin().await.unwrap();
    let mut broken = tx.cluster(rows[1].id).await.unwrap().unwrap();
    (broken.health, broken.network_type) = (EnumColumn(HealthState::Broken), "fabric".into());
    tx.cluster_save(broken).await.unwrap();
    tx.commit("test").await.unwrap();
    bed.agrees("a change of health").await;

    let mut tx = bed.store().begin().await.unwrap();
    let mut stale = tx.cluster(rows[2].id).await.unwrap().unwrap();
    stale.checked_at = Timestamp::now().plus_seconds(-HOUR_SECONDS).into();
    tx.cluster_save(stale).await.unwrap();
    tx.commit("test").await.unwrap();
    bed.agrees("evidence that became old").await;
    assert_eq!(bed.offered().await, 1);

    bed.orchestrator.runtime.cache.update(rows[2].id, 1, |runtime| {
        runtime.checked_at = Some(Timestamp::now());
    });
    bed.orchestrator.note_checked().await.unwrap();
    bed.agrees("new evidence").await;
    assert_eq!(bed.offered().await, 2);

    let mut tx = bed.store().begin().await.unwrap();
    let mut host = tx.host(rows[0].host_id).await.unwrap().unwrap();
    host.settings.0.schedulable = false;
    tx.clusters_schedulable(host.id, false).await.unwrap();
    tx.host_save(host).await.unwrap();
    tx.commit("test").await.unwrap();
    bed.agrees("a change of the host").await;
    assert_eq!(bed.offered().await, 0);

    let mut tx = bed.store().begin().await.unwrap();
    for row in &rows[1..] {
        let row = tx.cluster(row.id).await.unwrap().unwrap();
        tx.cluster_mark_deleted(row, Timestamp::now()).await.unwrap();
    }
    tx.commit("test").await.unwrap();
    bed.agrees("deletions").await;
    let mut tx = bed.store().begin().await.unwrap();
    let last = tx.cluster(rows[0].id).await.unwrap().unwrap();
    tx.cluster_mark_deleted(last, Timestamp::now()).await.unwrap();
    tx.host_delete(rows[0].host_id).await.unwrap();
    tx.commit("test").await.unwrap();
    bed.agrees("the deletion of the host").await;
    let fleet = bed.orchestrator.placement.fleet().await.unwrap();
    assert!(fleet.hosts.is_empty() && fleet.host_of.is_empty());
    drop(fleet);
    bed.orchestrator.stop().await;
}

#[tokio::test]
async fn after_more_events_than_are_kept_everything_is_read_again() {
    let bed = Bed::start().await;
    bed.agrees("the start").await;
    let names: Vec<String> = (0..4_200).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    testing::free_clusters(bed.store(), &names).await;
    bed.agrees("one commit with many changes").await;
    bed.orchestrator.stop().await;
}

#[tokio::test]
async fn a_cancelled_read_loses_no_change() {
    let bed = Bed::start().await;
    drop(bed.orchestrator.placement.fleet().await.unwrap());
    let rows = testing::free_clusters(bed.store(), &["a"]).await;
    // Usually the first poll only asks the database. On a busy machine it may have the answer.
    drop(futures::poll!(std::pin::pin!(bed.orchestrator.placement.fleet())));
    assert_eq!(bed.offered().await, 1);
    let mut tx = bed.store().begin().await.unwrap();
    let mut row = tx.cluster(rows[0].id).await.unwrap().unwrap();
    row.leased = true;
    tx.cluster_save(row).await.unwrap();
    tx.commit("test").await.unwrap();
    assert_eq!(bed.offered().await, 0);
    bed.orchestrator.stop().await;
}

#[tokio::test]
async fn only_hosts_that_need_it_are_fitted() {
    let bed = Bed::start().await;
    let rows = testing::free_clusters(bed.store(), &["a", "b"]).await;
    let fitted = async || bed.orchestrator.placement.hosts_to_fit().await.unwrap().len();
    let change = async |change: fn(&mut HostRow)| {
        let mut tx = bed.store().begin().await.unwrap();
        let mut host = tx.host(rows[0].host_id).await.unwrap().unwrap();
        change(&mut host);
        tx.host_save(host).await.unwrap();
        tx.commit("test").await.unwrap();
    };
    assert_eq!(fitted().await, 0, "autofill is off");
    change(|host| host.settings.0.autofill = true).await;
    assert_eq!(fitted().await, 1, "it has room for eight more");
    change(|host| host.settings.0.capacity = 2).await;
    assert_eq!(fitted().await, 0, "it is full");
    change(|host| (host.settings.0.autofill, host.settings.0.capacity) = (false, 1)).await;
    assert_eq!(fitted().await, 1, "it has one too many");
    change(|host| host.maintenance_until = Some(Timestamp::now().plus_seconds(HOUR_SECONDS).into())).await;
    assert_eq!(fitted().await, 0, "it is in maintenance");
    change(|host| {
        (
            host.maintenance_until,
            host.settings.0.autofill,
            host.settings.0.capacity,
        ) = (None, true, 2);
    })
    .await;
    let mut tx = bed.store().begin().await.unwrap();
    let mut failed = tx.cluster(rows[0].id).await.unwrap().unwrap();
    failed.state = EnumColumn(ClusterState::Failed);
    tx.cluster_save(failed).await.unwrap();
    tx.commit("test").await.unwrap();
    assert_eq!(fitted().await, 1, "a cluster failed");
    bed.orchestrator.stop().await;
}
