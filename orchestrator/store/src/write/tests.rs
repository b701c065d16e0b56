use super::*;
use crate::{ApplyRequest, Audit, Store, testing};
use chainpool_api::Timestamp;
use chainpool_health::Assessment;
use std::{
    future::Future,
    path::Path,
    pin::pin,
    task::{Context, Poll, Wake},
};
use tempfile::TempDir;
use uuid::Uuid;

/// A store whose database file cannot grow beyond a few pages: the same `SQLITE_FULL` as on a full disk.
async fn small(folder: &Path) -> Store {
    let options = crate::store::options(&folder.join(crate::DATABASE))
        .unwrap()
        .pragma("max_page_count", "120");
    Store::open_by(folder, None, &Assessment::default(), options)
        .await
        .unwrap()
}

/// Writes one audit row and returns its subject once it is confirmed.
async fn write_row(store: &Store, size: usize) -> Result<String> {
    let subject = Uuid::now_v7().to_string();
    let mut tx = store.begin().await?;
    tx.audit_insert(
        Audit {
            author: "ann",
            verb: "test",
            subject: &subject,
            detail: "x".repeat(size),
        },
        Timestamp::now(),
    )
    .await?;
    tx.commit("test").await?;
    Ok(subject)
}

async fn subjects(store: &Store) -> Vec<String> {
    store
        .read()
        .audit(u64::from(u32::MAX))
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.subject)
        .collect()
}

/// Fills the file until not even one small row fits; returns the confirmed rows.
async fn fill(store: &Store) -> Vec<String> {
    let mut confirmed = Vec::new();
    for size in [40_000, 1_000, 10] {
        loop {
            match write_row(store, size).await {
                Ok(subject) => confirmed.push(subject),
                Err(Error::StorageFull) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    confirmed
}

/// Frees space from outside, like an administrator who deletes files.
async fn make_room(folder: &Path) {
    let mut outside = crate::store::options(&folder.join(crate::DATABASE))
        .unwrap()
        .connect()
        .await
        .unwrap();
    sqlx::query("DELETE FROM audit WHERE length(detail) > 100")
        .execute(&mut outside)
        .await
        .unwrap();
    outside.close().await.unwrap();
}

#[tokio::test]
async fn a_write_is_confirmed_only_when_it_is_durable() {
    let folder = TempDir::new().unwrap();
    let store = small(folder.path()).await;
    testing::free_clusters(&store, &["c1", "c2"]).await;
    let filled = fill(&store).await;
    let order = ApplyRequest {
        holder: "ann".into(),
        author: "ann".into(),
        ..ApplyRequest::default()
    };
    let mut confirmed = Vec::new();
    for _ in 0..5 {
        confirmed.extend(write_row(&store, 10).await);
        assert!(
            matches!(store.apply(order.clone()).await, Err(Error::StorageFull)),
            "nothing is granted without room"
        );
        // Several at once share one transaction.
        let several = futures::future::join_all((0..8).map(|_| store.apply(order.clone()))).await;
        assert!(
            several
                .iter()
                .all(|outcome| matches!(outcome, Err(Error::StorageFull))),
            "{several:?}"
        );
    }
    assert!(
        store
            .write_failure()
            .is_some_and(|why| why.contains("disk is full")),
        "{:?}",
        store.write_failure()
    );
    assert!(store.read().leases_active().await.unwrap().is_empty());

    make_room(folder.path()).await;
    for _ in 0..3 {
        confirmed.push(write_row(&store, 10).await.unwrap());
    }
    let lease = store.apply(order.clone()).await.unwrap().unwrap().lease;
    store.check_write().await.unwrap();
    assert_eq!(store.write_failure(), None);
    let visible = subjects(&store).await;
    assert!(
        confirmed.iter().all(|subject| visible.contains(subject)),
        "a reader must see what was confirmed"
    );
    assert!(store.read().lease(lease.id).await.unwrap().is_some());
    store.close().await.unwrap();

    let store = small(folder.path()).await;
    let visible = subjects(&store).await;
    assert!(
        confirmed.iter().all(|subject| visible.contains(subject)),
        "a confirmed write was lost by a restart"
    );
    assert!(
        store.read().lease(lease.id).await.unwrap().is_some(),
        "a granted lease was lost by a restart"
    );
    assert!(!filled.is_empty() && store.apply(order.clone()).await.unwrap().is_some());
    assert!(
        store.apply(order).await.unwrap().is_none(),
        "two clusters cannot be three leases"
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_transaction_with_a_failed_statement_refuses_statements_and_commit() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.setting_put("before", "1").await.unwrap();
    assert!(
        tx.0.execute_unprepared("INSERT INTO setting VALUES ('before', '2')")
            .await
            .is_err()
    );
    assert!(
        tx.setting_put("after", "1").await.is_err(),
        "SQLite may have ended the transaction, so that each statement would commit alone"
    );
    tx.changed(chainpool_api::Noun::Host, Uuid::now_v7());
    assert!(tx.commit("test").await.is_err());
    assert_eq!(
        (
            store.read().setting("before").await.unwrap(),
            store.read().setting("after").await.unwrap()
        ),
        (None, None)
    );
    store.check_write().await.unwrap();
    store.close().await.unwrap();
}

/// The state that the library left after a failed rollback: a connection inside a transaction.
#[tokio::test]
async fn a_connection_inside_a_transaction_is_replaced_before_use() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    store.check_write().await.unwrap();
    let writer = store.writer();
    {
        let mut slot = writer.queue.turn(Priority::Request, BEGIN_TIMEOUT).await.unwrap();
        let Slot::Idle(Some(idle)) = &mut *slot else {
            panic!("no idle connection after a commit")
        };
        command("BEGIN IMMEDIATE").execute(idle).await.unwrap();
    }
    let subject = write_row(&store, 10).await.unwrap();
    assert!(subjects(&store).await.contains(&subject));
    store.check_write().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_commit_confirms_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    store.check_write().await.unwrap();
    let writer = store.writer();
    {
        let mut slot = writer.queue.turn(Priority::Request, BEGIN_TIMEOUT).await.unwrap();
        let Slot::Idle(Some(idle)) = &mut *slot else {
            panic!("no idle connection after a commit")
        };
        idle.lock_handle().await.unwrap().set_commit_hook(|| false);
    }
    let before = subjects(&store).await;
    assert!(write_row(&store, 10).await.is_err());
    assert_eq!(subjects(&store).await, before);
    let subject = write_row(&store, 10)
        .await
        .expect("a new connection has no such hook");
    assert!(subjects(&store).await.contains(&subject));
    store.close().await.unwrap();
}

/// More polls than a transaction needs.
const ROUNDS: u32 = 60;

/// A cancelled request can be dropped at any await.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_transaction_is_atomic_and_the_next_one_succeeds() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let mut ended = 0;
    for polls in 0..ROUNDS {
        let name = format!("cancelled-{polls}");
        let work = async {
            let tx = store.begin().await?;
            tx.setting_put(&name, "1").await?;
            tx.setting_put(&format!("{name}-too"), "1").await?;
            tx.commit("test").await
        };
        let confirmed = polled(polls, work).await.map(Result::unwrap);
        ended += u32::from(confirmed.is_some());
        let after = write_row(&store, 10).await.unwrap();
        assert!(
            subjects(&store).await.contains(&after),
            "after {polls} polls a confirmed write is not visible"
        );
        let read = store.read();
        let stored = (
            read.setting(&name).await.unwrap(),
            read.setting(&format!("{name}-too")).await.unwrap(),
        );
        assert_eq!(
            stored.0, stored.1,
            "after {polls} polls a transaction is half written"
        );
        assert!(
            confirmed.is_none() || stored.0.is_some(),
            "after {polls} polls a confirmed write is lost"
        );
    }
    assert!(
        ended > 0 && ended < ROUNDS,
        "some must be cancelled and some must complete: {ended}"
    );
    store.close().await.unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    assert_eq!(
        u32::try_from(subjects(&store).await.len()),
        Ok(ROUNDS),
        "a confirmed write was lost by a restart"
    );
    store.close().await.unwrap();
}

/// Polls at most this many times, each time after a wake-up, then drops the future.
async fn polled<T>(polls: u32, work: impl Future<Output = T>) -> Option<T> {
    let woken = Arc::new(Woken::default());
    let mut work = pin!(work);
    for _ in 0..polls {
        if let Poll::Ready(done) = work
            .as_mut()
            .poll(&mut Context::from_waker(&Arc::clone(&woken).into()))
        {
            return Some(done);
        }
        while !woken.0.swap(false, Ordering::AcqRel) {
            tokio::task::yield_now().await;
        }
    }
    None
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[tokio::test]
async fn a_dropped_transaction_releases_the_writer_immediately() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    for _ in 0..20 {
        let tx = store.begin().await.unwrap();
        tx.setting_put("dropped", "1").await.unwrap();
        drop(tx);
        write_row(&store, 10).await.unwrap();
    }
    assert_eq!(store.read().setting("dropped").await.unwrap(), None);
    store.close().await.unwrap();
    assert!(store.begin().await.is_err(), "a closed store rejects writes");
}

#[tokio::test]
async fn a_full_database_can_still_be_opened_and_read() {
    let folder = TempDir::new().unwrap();
    let store = small(folder.path()).await;
    let filled = fill(&store).await;
    store.close().await.unwrap();
    let store = Store::open(folder.path(), None).await.unwrap();
    let visible = subjects(&store).await;
    assert!(filled.iter().all(|subject| visible.contains(subject)));
    store.close().await.unwrap();
}

/// Writes into a file until the disk is full.
fn fill_disk(file: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(file).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk_loses_no_confirmed_write_and_recovers_when_space_is_freed() {
    let name = "write::tests::a_full_disk_loses_no_confirmed_write_and_recovers_when_space_is_freed";
    let Some(disk) = testing::small_disk(name, 4) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (folder, filler) = (disk.join("data"), disk.join("filler"));
        let store = Store::open(&folder, None).await.unwrap();
        testing::free_clusters(&store, &["c1", "c2", "c3"]).await;
        let order = ApplyRequest {
            holder: "ann".into(),
            author: "ann".into(),
            ..ApplyRequest::default()
        };
        let mut confirmed = vec![write_row(&store, 10).await.unwrap()];
        let mut leases = Vec::new();
        fill_disk(&filler);
        let mut refused = 0;
        for _ in 0..200 {
            match write_row(&store, 10_000).await {
                Ok(subject) => confirmed.push(subject),
                Err(Error::StorageFull) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            match store.apply(order.clone()).await {
                Ok(Some(outcome)) => leases.push(outcome.lease.id),
                Ok(None) | Err(Error::StorageFull) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(refused > 150, "{refused}");
        // Blocks allocated by a failed write may suffice for a few small writes.
        assert!(
            check_fails(&store).await,
            "the check never detected the full disk"
        );
        assert!(
            store
                .write_failure()
                .is_some_and(|why| why.contains("disk is full")),
            "{:?}",
            store.write_failure()
        );
        assert_eq!(
            store.read().leases_active().await.unwrap().len(),
            leases.len(),
            "granted and stored leases"
        );
        let backup = folder.join("copy.db");
        assert!(matches!(store.copy_to(&backup).await, Err(Error::StorageFull)));
        assert!(!backup.exists(), "a partial backup remains");

        std::fs::remove_file(&filler).unwrap();
        store.check_write().await.expect("space was freed");
        assert_eq!(store.write_failure(), None);
        confirmed.push(write_row(&store, 10).await.unwrap());
        leases.extend(
            store
                .apply(order.clone())
                .await
                .unwrap()
                .map(|outcome| outcome.lease.id),
        );
        let visible = subjects(&store).await;
        assert!(
            confirmed.iter().all(|subject| visible.contains(subject)),
            "a reader must see what was confirmed"
        );
        store.close().await.unwrap();

        let store = Store::open(&folder, None).await.unwrap();
        let visible = subjects(&store).await;
        assert!(
            confirmed.iter().all(|subject| visible.contains(subject)),
            "a confirmed write was lost by a restart"
        );
        let active: Vec<Uuid> = store
            .read()
            .leases_active()
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.id)
            .collect();
        assert!(
            !leases.is_empty() && leases.iter().all(|id| active.contains(id)),
            "a granted lease was lost by a restart"
        );
        assert_eq!(store.check().await.unwrap(), "ok");
        store.close().await.unwrap();
    });
}

/// Returns `true` if the check fails within a few attempts.
async fn check_fails(store: &Store) -> bool {
    for _ in 0..50 {
        match store.check_write().await {
            Ok(()) => {}
            Err(Error::StorageFull) => return true,
            Err(error) => panic!("{error:?}"),
        }
    }
    false
}
