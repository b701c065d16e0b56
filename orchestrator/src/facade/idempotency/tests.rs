use super::*;
use crate::{Config, Orchestrator, runtime::idle_platform::IdlePlatform};
use chainpool_agent::PlatformKind;
use chainpool_api::{Apply, ClusterUpdate, Role};
use chainpool_store::{ClusterRow, Priority, testing};
use futures::future::join_all;
use std::{collections::BTreeSet, sync::Arc};
use tempfile::TempDir;

/// An orchestrator with free clusters.
struct Bed {
    orchestrator: Orchestrator,
    admin: Caller,
    _folder: TempDir,
}

impl Bed {
    async fn start(free: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_operations: false,
            leases_per_account: 1,
            ..Config::new(
                folder.path().to_owned(),
                vec![Arc::new(IdlePlatform::of(PlatformKind::new("docker")))],
            )
        };
        let orchestrator = Orchestrator::start(config).await.unwrap();
        let admin = orchestrator.local_admin().await.unwrap().0;
        let now = Timestamp::now();
        let host = testing::host(now);
        let network = orchestrator.runtime.registry.get("cometbft").unwrap();
        let preset = network.preset("single");
        let parameters = network.validate(&preset, &serde_json::Map::new()).unwrap();
        let mut tx = orchestrator.store().begin().await.unwrap();
        let mut ids = Vec::new();
        for n in 0..free {
            let single = ClusterRow {
                preset: "single".into(),
                size: 1,
                parameters: Json(parameters.clone()),
                ..testing::free(&host, &format!("c{n}"), now)
            };
            ids.push(single.id);
            tx.cluster_insert(single, Vec::new()).await.unwrap();
        }
        tx.host_insert(host).await.unwrap();
        tx.commit("test").await.unwrap();
        for id in ids {
            orchestrator
                .operations
                .render_accepted(id, 1, Priority::Request)
                .await
                .unwrap();
        }
        Self {
            orchestrator,
            admin,
            _folder: folder,
        }
    }

    /// The administrator with an idempotency key on a route.
    fn keyed(&self, route: &str, key: &str) -> Caller {
        let key = RequestKey {
            route: route.into(),
            key: key.into(),
            body: [0; 32],
        };
        Caller {
            key: Some(key),
            ..self.admin.clone()
        }
    }
}

/// Asserts that all responses have the same id and returns it.
fn same(ids: Vec<Result<Uuid>>) -> Uuid {
    let ids: BTreeSet<Uuid> = ids.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.into_iter().next().unwrap()
}

fn apply() -> Apply {
    Apply {
        allow_multiple: true,
        ..Apply::default()
    }
}

#[tokio::test]
async fn concurrent_duplicates_get_one_response() {
    let bed = Bed::start(1).await;
    let orchestrator = &bed.orchestrator;
    let caller = bed.keyed("POST /leases", "k1");
    let applies = (0..12).map(|_| async {
        orchestrator
            .lease_apply(&caller, apply())
            .await
            .map(|applied| applied.lease.id)
    });
    let lease = same(join_all(applies).await);

    let caller = bed.keyed("POST /prove", "k1");
    let proves = (0..8).map(|_| async {
        orchestrator
            .cluster_prove(&caller, "c0")
            .await
            .map(|operation| operation.id)
    });
    same(join_all(proves).await);

    let caller = bed.keyed("DELETE /lease", "k1");
    let releases = (0..6).map(|_| async {
        orchestrator
            .lease_release(&caller, lease)
            .await
            .map(|lease| lease.id)
    });
    assert_eq!(same(join_all(releases).await), lease);
    assert_eq!(
        orchestrator.idempotency.in_flight.len(),
        0,
        "no state remains of completed requests"
    );
}

#[tokio::test]
async fn every_change_of_a_pool_is_idempotent() {
    let bed = Bed::start(2).await;
    let orchestrator = &bed.orchestrator;
    let caller = bed.keyed("POST /clusters", "k1");
    let new = || api::ClusterCreate {
        name: Some("c9".into()),
        preset: Some("single".into()),
        ..api::ClusterCreate::default()
    };
    same(
        join_all((0..4).map(|_| async { orchestrator.cluster_create(&caller, new()).await.map(|o| o.id) }))
            .await,
    );
    let caller = bed.keyed("POST /stop", "k1");
    same(
        join_all(
            (0..4).map(|_| async { orchestrator.cluster_stop(&caller, "c0", None).await.map(|o| o.id) }),
        )
        .await,
    );
    let caller = bed.keyed("POST /reset", "k1");
    same(
        join_all((0..4).map(|_| async {
            orchestrator
                .cluster_reset(&caller, "c1", false)
                .await
                .map(|o| o.id)
        }))
        .await,
    );
    let caller = bed.keyed("POST /clean", "k1");
    same(
        join_all((0..4).map(|_| async { orchestrator.host_clean(&caller, "h1").await.map(|o| o.id) })).await,
    );
}

#[tokio::test]
async fn a_duplicate_takes_over_from_a_cancelled_or_refused_request() {
    let bed = Bed::start(0).await;
    let caller = bed.keyed("POST /leases", "k1");
    let mut first = Box::pin(bed.orchestrator.idempotency.remembered(&caller));
    let held = first.as_mut().await.unwrap();
    let mut waits = Box::pin(bed.orchestrator.idempotency.remembered(&caller));
    let mut gives_up = Box::pin(bed.orchestrator.idempotency.remembered(&caller));
    assert!(futures::poll!(waits.as_mut()).is_pending() && futures::poll!(gives_up.as_mut()).is_pending());
    drop(gives_up);
    drop((held, first));
    assert!(matches!(waits.await.unwrap(), (Some(_), None)));
    assert_eq!(bed.orchestrator.idempotency.in_flight.len(), 0);
    let refusals = join_all((0..3).map(|_| bed.orchestrator.lease_apply(&caller, apply()))).await;
    assert!(
        refusals
            .iter()
            .all(|refused| matches!(refused, Err(Error::Conflict(_))))
    );
    assert_eq!(bed.orchestrator.idempotency.in_flight.len(), 0);
}

#[tokio::test]
async fn a_different_request_under_a_key_in_progress_is_refused() {
    let bed = Bed::start(2).await;
    let first = bed.keyed("POST /leases", "k1");
    let mut other = first.clone();
    other.key.as_mut().unwrap().body = [1; 32];
    let (one, two) = tokio::join!(
        bed.orchestrator.lease_apply(&first, apply()),
        bed.orchestrator.lease_apply(&other, apply())
    );
    assert!(one.is_ok());
    assert_eq!(two.unwrap_err().status(), 422);
    let mut long = bed.keyed("POST /leases", &"k".repeat(129));
    assert_eq!(
        bed.orchestrator
            .lease_apply(&long, apply())
            .await
            .unwrap_err()
            .status(),
        400
    );
    long.key.as_mut().unwrap().key.pop();
    assert!(bed.orchestrator.lease_apply(&long, apply()).await.is_ok());
}

#[tokio::test]
async fn the_response_to_an_apply_that_created_nothing_is_stored_too() {
    let bed = Bed::start(2).await;
    let lease = bed
        .orchestrator
        .lease_apply(&bed.admin, Apply::default())
        .await
        .unwrap()
        .lease
        .id;
    let caller = bed.keyed("POST /leases", "k1");
    assert_eq!(
        bed.orchestrator
            .lease_apply(&caller, Apply::default())
            .await
            .unwrap()
            .lease
            .id,
        lease
    );
    bed.orchestrator.lease_release(&bed.admin, lease).await.unwrap();
    let again = bed
        .orchestrator
        .lease_apply(&caller, Apply::default())
        .await
        .unwrap();
    assert_eq!(
        (again.lease.id, again.lease.state),
        (lease, api::LeaseState::Released)
    );
}

#[tokio::test]
async fn a_key_can_be_reused_after_a_day() {
    let bed = Bed::start(1).await;
    let caller = bed.keyed("POST /prove", "k1");
    let mut tx = bed.orchestrator.store().begin().await.unwrap();
    let row = IdempotencyRow {
        account_id: caller.account_id,
        route: "POST /prove".into(),
        name: "k1".into(),
        body: vec![7; 32],
        answer: Json(serde_json::json!({ "id": Uuid::nil() })),
        created_at: Timestamp::now().plus_seconds(-RETENTION_SECONDS - 1).into(),
    };
    tx.answer_insert(row).await.unwrap();
    tx.commit("test").await.unwrap();
    let first = bed.orchestrator.cluster_prove(&caller, "c0").await.unwrap();
    assert_eq!(
        bed.orchestrator.cluster_prove(&caller, "c0").await.unwrap().id,
        first.id
    );
}

#[tokio::test]
async fn maintenance_of_a_cluster_is_audited() {
    let bed = Bed::start(1).await;
    let change = ClusterUpdate {
        maintenance_seconds: Some(600),
    };
    let cluster = bed
        .orchestrator
        .cluster_update(&bed.admin, "c0", change)
        .await
        .unwrap();
    assert!(cluster.maintenance_until.is_some());
    let rows = bed.orchestrator.store().read().audit(1000).await.unwrap();
    let updates: Vec<_> = rows
        .into_iter()
        .filter(|row| row.verb == "cluster_update")
        .collect();
    assert_eq!(updates.len(), 1, "{updates:?}");
    assert_eq!(updates[0].author, "admin");
    assert_eq!(updates[0].subject, cluster.id.to_string());
    assert!(updates[0].detail.contains("600 s"), "{updates:?}");
}

#[tokio::test]
async fn reading_a_bundle_is_audited_and_reading_its_outline_is_not() {
    let bed = Bed::start(1).await;
    let lease = bed
        .orchestrator
        .lease_apply(&bed.admin, apply())
        .await
        .unwrap()
        .lease;
    let reads = async || {
        let rows = bed.orchestrator.store().read().audit(1000).await.unwrap();
        rows.into_iter()
            .filter(|row| row.verb == "lease_bundle")
            .collect::<Vec<_>>()
    };
    let outline = bed
        .orchestrator
        .lease_bundle_outline(&bed.admin, lease.id)
        .await
        .unwrap();
    assert!(!outline.files.is_empty() && outline.files.values().all(String::is_empty));
    assert!(reads().await.is_empty());
    for _ in 0..50 {
        let bundle = bed.orchestrator.lease_bundle(&bed.admin, lease.id).await.unwrap();
        assert!(bundle.files.values().any(|text| !text.is_empty()));
    }
    let rows = reads().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].author.as_str(), rows[0].subject.clone()),
        ("admin", lease.id.to_string())
    );
    let nobody = Caller {
        role: Role::User,
        lease_any: false,
        account: "bob".into(),
        ..bed.admin.clone()
    };
    assert!(bed.orchestrator.lease_bundle(&nobody, lease.id).await.is_err());
}

#[tokio::test]
async fn an_account_at_its_lease_limit_gets_the_reason() {
    let bed = Bed::start(2).await;
    let ann = Caller {
        role: Role::User,
        lease_any: false,
        account: "ann".into(),
        ..bed.admin.clone()
    };
    bed.orchestrator.lease_apply(&ann, apply()).await.unwrap();
    let Error::Conflict(problem) = bed.orchestrator.lease_apply(&ann, apply()).await.unwrap_err() else {
        panic!("no conflict")
    };
    assert_eq!(problem.code, "too_many_leases");
    assert!(
        problem.message.contains("ann already has 1 active lease,")
            && problem.message.contains("--leases-per-account"),
        "{problem:?}"
    );
    // Operators have no limit.
    bed.orchestrator.lease_apply(&bed.admin, apply()).await.unwrap();
}
