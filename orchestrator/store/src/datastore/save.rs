//! Saving a row that was read and changed: compare the version, then write the whole row.

use crate::{
    AccountRow, ClusterRow, Error, HostRow, LeaseRow, OperationRow, Result, RowVersion,
    entity::{account, cluster, host, lease, operation},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, Iterable, ModelTrait,
    PrimaryKeyToColumn, QueryFilter,
    sea_query::{Expr, ExprTrait, SimpleExpr},
};

type ColumnOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::Column;
type ActiveOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::ActiveModel;
type PrimaryKeyOf<M> = <<M as ModelTrait>::Entity as EntityTrait>::PrimaryKey;

/// A row with a version.
pub(crate) trait Versioned: ModelTrait + IntoActiveModel<ActiveOf<Self>> {
    /// The noun in error messages.
    const NOUN: &'static str;
    /// The column of the version.
    const COLUMN: ColumnOf<Self>;

    fn version(&mut self) -> &mut RowVersion;
}

macro_rules! versioned {
    ($($row:ty, $entity:ident, $noun:literal;)*) => {
        $(impl Versioned for $row {
            const NOUN: &'static str = $noun;
            const COLUMN: $entity::Column = $entity::Column::RowVersion;

            fn version(&mut self) -> &mut RowVersion {
                &mut self.row_version
            }
        })*
    };
}

versioned! {
    AccountRow, account, "account";
    ClusterRow, cluster, "cluster";
    HostRow, host, "host";
    LeaseRow, lease, "lease";
    OperationRow, operation, "operation";
}

/// Saves a row under its next version. [`Error::Overtaken`]: the stored row has another version than this one,
/// or no longer exists; nothing was written.
pub(crate) async fn save<M: Versioned>(connection: &impl ConnectionTrait, mut row: M) -> Result<M>
where
    M::Entity: EntityTrait<Model = M>,
    ActiveOf<M>: Send,
{
    let read = *row.version();
    *row.version() = read.next();
    let mut change = row.clone().into_active_model().reset_all();
    let mut update = M::Entity::update_many().filter(M::COLUMN.eq(read));
    for key in PrimaryKeyOf::<M>::iter() {
        let column = key.into_column();
        update = update.filter(column.eq(row.get(column)));
        change.not_set(column);
    }
    let done = update.set(change).exec(connection).await?;
    if done.rows_affected == 0 {
        return Err(Error::Overtaken(M::NOUN));
    }
    Ok(row)
}

/// The next version, for an UPDATE that changes what a decision depends on.
pub(crate) fn next<M: Versioned>() -> SimpleExpr {
    Expr::col(M::COLUMN).add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApplyRequest, EnumColumn, Json, NewOperation, Restored, StepRow, Store, Tx, testing};
    use chainpool_api::{OperationKind, Role, StepState, Timestamp};
    use tempfile::TempDir;
    use uuid::Uuid;

    /// A store with one row of each versioned noun.
    struct Fixture {
        folder: TempDir,
        store: Store,
        cluster: Uuid,
        host: Uuid,
        operation: Uuid,
        lease: Uuid,
        account: Uuid,
    }

    impl Fixture {
        async fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let store = Store::open(folder.path(), None).await.unwrap();
            let free = testing::free_clusters(&store, &["c1"]).await.remove(0);
            let now = Timestamp::now();
            let request = ApplyRequest {
                holder: "ann".into(),
                author: "ann".into(),
                ..ApplyRequest::default()
            };
            let lease = store.apply(request).await.unwrap().unwrap().lease.id;
            let mut tx = store.begin().await.unwrap();
            let account = AccountRow {
                id: Uuid::now_v7(),
                name: "ann".into(),
                role: EnumColumn(Role::User),
                password: None,
                link: None,
                link_expires_at: None,
                created_at: now.into(),
                row_version: RowVersion::default(),
            };
            tx.account_insert(account.clone()).await.unwrap();
            let operation = tx.operation_insert(prove(&free), now).await.unwrap();
            tx.commit("test").await.unwrap();
            Self {
                folder,
                store,
                cluster: free.id,
                host: free.host_id,
                operation: operation.id,
                lease,
                account: account.id,
            }
        }

        async fn cluster(&self) -> ClusterRow {
            self.store.read().cluster(self.cluster).await.unwrap().unwrap()
        }
    }

    fn prove(cluster: &ClusterRow) -> NewOperation {
        NewOperation {
            kind: OperationKind::ClusterProve,
            host_id: cluster.host_id,
            cluster_id: Some(cluster.id),
            generation: 1,
            parent_id: None,
            author: "ann".into(),
            reason: String::new(),
            arguments: serde_json::Value::Null,
            deadline_at: None,
        }
    }

    /// Reads a row, saves it twice as two readers would, and expects the second save to be refused.
    macro_rules! refuses_the_second_save {
        ($fixture:ident, $read:ident, $save:ident, $change:expr) => {{
            let store = &$fixture.store;
            let row = store.read().$read($fixture.$read).await.unwrap().unwrap();
            let (mut first, second) = (row.clone(), row);
            let change: fn(&mut _) = $change;
            change(&mut first);
            let mut tx = store.begin().await.unwrap();
            let saved = tx.$save(first).await.unwrap();
            tx.commit("test").await.unwrap();
            let mut tx = store.begin().await.unwrap();
            let refused = tx.$save(second).await;
            assert!(
                matches!(refused, Err(Error::Overtaken(stringify!($read)))),
                "{refused:?}"
            );
            drop(tx);
            let stored = store.read().$read($fixture.$read).await.unwrap().unwrap();
            assert_eq!(stored, saved, "the refused save wrote something");
            let mut tx = store.begin().await.unwrap();
            tx.$save(stored).await.expect("the current row can be saved");
            tx.commit("test").await.unwrap();
        }};
    }

    #[tokio::test]
    async fn a_save_of_a_row_that_changed_meanwhile_is_refused() {
        let fixture = Fixture::new().await;
        refuses_the_second_save!(fixture, cluster, cluster_save, |row: &mut ClusterRow| row.size =
            7);
        refuses_the_second_save!(fixture, host, host_save, |row: &mut HostRow| row
            .settings
            .0
            .capacity = 7);
        refuses_the_second_save!(fixture, lease, lease_save, |row: &mut LeaseRow| row.single = true);
        refuses_the_second_save!(fixture, operation, operation_save, |row: &mut OperationRow| {
            row.error = Some("x".into());
        });
        refuses_the_second_save!(fixture, account, account_save, |row: &mut AccountRow| {
            row.link = Some(vec![1]);
        });
        fixture.store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_save_of_a_deleted_row_is_refused() {
        let fixture = Fixture::new().await;
        let host = fixture.store.read().host(fixture.host).await.unwrap().unwrap();
        let mut tx = fixture.store.begin().await.unwrap();
        tx.host_delete(host.id).await.unwrap();
        assert!(matches!(tx.host_save(host).await, Err(Error::Overtaken("host"))));
        drop(tx);
        fixture.store.close().await.unwrap();
    }

    #[tokio::test]
    async fn every_change_of_a_cluster_that_decides_increments_its_version() {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let leased = fixture.cluster().await;
        assert!(leased.leased);
        assert_eq!(
            leased.row_version,
            RowVersion::default().next(),
            "an apply took it"
        );

        let mut tx = store.begin().await.unwrap();
        tx.clusters_schedulable(fixture.host, true).await.unwrap();
        assert_eq!(
            tx.cluster(leased.id).await.unwrap().unwrap(),
            leased,
            "it is schedulable already"
        );
        tx.clusters_schedulable(fixture.host, false).await.unwrap();
        let withdrawn = tx.cluster(leased.id).await.unwrap().unwrap();
        assert_eq!(withdrawn.row_version, leased.row_version.next());

        let checked_at = leased.checked_at.0.plus_seconds(5);
        for at in [checked_at, Timestamp(5)] {
            tx.clusters_checked(&[leased.id], at).await.unwrap();
        }
        tx.cluster_height(leased.id, 1, 99).await.unwrap();
        let recorded = tx.cluster(leased.id).await.unwrap().unwrap();
        assert_eq!(
            (recorded.height, recorded.checked_at.0),
            (Some(99), checked_at),
            "a later time stays"
        );
        assert_eq!(
            recorded.row_version, withdrawn.row_version,
            "a record decides nothing"
        );

        tx.cluster_mark_deleted(recorded, Timestamp::now()).await.unwrap();
        assert_eq!(
            tx.cluster(leased.id).await.unwrap().unwrap().row_version,
            withdrawn.row_version.next()
        );
        drop(tx);
        store.close().await.unwrap();
    }

    /// Adds a step to the operation.
    async fn step(tx: &mut Tx, operation: Uuid) -> StepRow {
        let row = StepRow {
            operation_id: operation,
            seq: 0,
            phase: 0,
            title: "prove".into(),
            action: Json(serde_json::Value::Null),
            state: EnumColumn(StepState::Pending),
            memo: None,
            note: None,
            started_at: None,
            ended_at: None,
        };
        tx.steps_insert(vec![row.clone()]).await.unwrap();
        row
    }

    #[tokio::test]
    async fn a_claim_increments_the_version_and_only_the_claimant_saves_steps() {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        let mut tx = store.begin().await.unwrap();
        let before = tx.operation(fixture.operation).await.unwrap().unwrap();
        let mut row = step(&mut tx, before.id).await;
        row.state = EnumColumn(StepState::Started);
        let unclaimed = tx.step_save(row.clone()).await;
        assert!(matches!(unclaimed, Err(Error::Overtaken("operation"))));

        let claimed = tx
            .operation_claim(before.id, Timestamp::now())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(claimed.row_version, before.row_version.next());
        tx.step_save(row.clone()).await.unwrap();
        assert_eq!(tx.steps(before.id).await.unwrap(), [row.clone()]);

        tx.steps_delete(before.id).await.unwrap();
        assert!(matches!(tx.step_save(row).await, Err(Error::Overtaken(_))));
        drop(tx);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_restore_increments_the_versions_of_what_it_changes() {
        let fixture = Fixture::new().await;
        let (store, folder) = (&fixture.store, fixture.folder.path());
        let before = fixture.cluster().await;
        let backup = folder.join("copy.db");
        store.copy_to(&backup).await.unwrap();
        let operation = store.read().operation(fixture.operation).await.unwrap().unwrap();
        store.close().await.unwrap();
        let Restored { kept } = crate::restore(folder, &backup).await.unwrap();
        assert!(kept.is_some());
        let store = Store::open(folder, None).await.unwrap();
        let after = store.read().cluster(before.id).await.unwrap().unwrap();
        assert_eq!(after.row_version, before.row_version, "it had no operation");
        let failed = store.read().operation(operation.id).await.unwrap().unwrap();
        assert_eq!(failed.row_version, operation.row_version.next());
        store.close().await.unwrap();
    }
}
