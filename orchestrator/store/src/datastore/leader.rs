//! Leadership: the process that works on a host. Each opening of the database has its own epoch. It takes over
//! every host when it opens the database, and each new host when it adds it.

use crate::{
    Conn, Result, Tx,
    entity::{host_leader, leadership},
};
use chainpool_api::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QuerySelect,
    QueryTrait, Set, Statement,
    sea_query::{OnConflict, SelectStatement},
};
use std::collections::HashSet;
use uuid::Uuid;

/// The name of this process in the rows of its leadership.
fn holder() -> String {
    format!("process {}", std::process::id())
}

/// Selects the hosts that an epoch leads.
pub(crate) fn led_by(epoch: i64) -> SelectStatement {
    host_leader::Entity::find()
        .select_only()
        .column(host_leader::Column::HostId)
        .filter(host_leader::Column::Epoch.eq(epoch))
        .into_query()
}

impl<C: ConnectionTrait> Conn<C> {
    /// Begins an epoch, takes over every host, and returns the epoch.
    pub(crate) async fn leadership_take(&self, now: Timestamp) -> Result<i64> {
        const SCOPE: &str = "all";
        let before = leadership::Entity::find_by_id(SCOPE).one(&self.0).await?;
        let epoch = before.map_or(1, |row| row.epoch + 1);
        let row = leadership::ActiveModel {
            scope: Set(SCOPE.to_owned()),
            holder: Set(holder()),
            epoch: Set(epoch),
            expires_at: Set(now.into()),
        };
        let columns = [
            leadership::Column::Holder,
            leadership::Column::Epoch,
            leadership::Column::ExpiresAt,
        ];
        let replace = OnConflict::column(leadership::Column::Scope)
            .update_columns(columns)
            .to_owned();
        leadership::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(&self.0)
            .await?;
        host_leader::Entity::delete_many().exec(&self.0).await?;
        let take = Statement::from_sql_and_values(
            self.0.get_database_backend(),
            "INSERT INTO host_leader (host_id, holder, epoch) SELECT id, ?, ? FROM host",
            [holder().into(), epoch.into()],
        );
        self.0.execute_raw(take).await?;
        Ok(epoch)
    }

    /// Takes over a new host.
    pub(crate) async fn leader_insert(&self, host: Uuid, epoch: i64) -> Result<()> {
        let row = host_leader::Model {
            host_id: host,
            holder: holder(),
            epoch,
        };
        host_leader::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Ends the leadership of a deleted host.
    pub(crate) async fn leader_delete(&self, host: Uuid) -> Result<()> {
        host_leader::Entity::delete_by_id(host).exec(&self.0).await?;
        Ok(())
    }

    /// Lists the hosts that an epoch leads.
    pub(crate) async fn hosts_led(&self, epoch: i64) -> Result<HashSet<Uuid>> {
        let hosts = host_leader::Entity::find()
            .select_only()
            .column(host_leader::Column::HostId)
            .filter(host_leader::Column::Epoch.eq(epoch))
            .into_tuple::<Uuid>();
        Ok(hosts.all(&self.0).await?.into_iter().collect())
    }

    /// Returns `true` if an epoch leads the host.
    pub(crate) async fn is_led_by(&self, host: Uuid, epoch: i64) -> Result<bool> {
        let row = host_leader::Entity::find_by_id(host).filter(host_leader::Column::Epoch.eq(epoch));
        Ok(row.count(&self.0).await? > 0)
    }
}

impl Tx {
    /// Returns `true` if this process works on a host, like [`crate::Store::leads`]. A write that follows from an
    /// assessment or an expiry asks this in its own transaction, so that a superseded process changes nothing.
    pub async fn leads(&self, host: Uuid) -> Result<bool> {
        self.is_led_by(host, self.store().epoch()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, NewOperation, Store, testing};
    use chainpool_api::OperationKind;
    use tempfile::TempDir;

    #[tokio::test]
    async fn only_the_leader_of_a_host_claims_and_owns_its_operations() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        let cluster = testing::free_clusters(&store, &["c1"]).await.remove(0);
        let host = cluster.host_id;
        assert!(store.leads(host).await.unwrap(), "of a new host");
        assert_eq!(store.hosts_led().await.unwrap(), HashSet::from([host]));

        let now = Timestamp::now();
        let mut tx = store.begin().await.unwrap();
        let new = NewOperation {
            kind: OperationKind::ClusterProve,
            host_id: host,
            cluster_id: Some(cluster.id),
            generation: 1,
            parent_id: None,
            author: "ann".into(),
            reason: String::new(),
            arguments: serde_json::Value::Null,
            deadline_at: None,
        };
        let operation = tx.operation_insert(new, now).await.unwrap();
        tx.operation_claim(operation.id, now)
            .await
            .unwrap()
            .expect("the leader claims it");
        assert!(tx.operation_is_owned(operation.id).await.unwrap());

        // As if another process took over.
        tx.leader_delete(host).await.unwrap();
        tx.leader_insert(host, store.epoch() + 1).await.unwrap();
        assert!(!tx.leads(host).await.unwrap());
        assert!(!tx.operation_is_owned(operation.id).await.unwrap());
        let steps = tx.steps(operation.id).await.unwrap();
        assert!(steps.is_empty());
        tx.clusters_checked(&[cluster.id], Timestamp(5)).await.unwrap();
        tx.cluster_height(cluster.id, 1, 99).await.unwrap();
        assert_eq!(tx.cluster(cluster.id).await.unwrap().unwrap(), cluster);
        tx.commit("test").await.unwrap();
        assert!(store.hosts_led().await.unwrap().is_empty());

        // The next opening takes over every host.
        store.close().await.unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        assert!(store.leads(host).await.unwrap());
        let mut tx = store.begin().await.unwrap();
        assert!(tx.operation_claim(operation.id, now).await.unwrap().is_some());
        tx.host_delete(host).await.unwrap();
        assert!(!tx.leads(host).await.unwrap(), "of a deleted host");
        assert!(tx.operation_claim(operation.id, now).await.unwrap().is_none());
        drop(tx);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_host_added_twice_has_one_leader() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        let host = testing::host(Timestamp::now());
        let mut tx = store.begin().await.unwrap();
        tx.host_insert(host.clone()).await.unwrap();
        assert!(matches!(tx.host_insert(host).await, Err(Error::AlreadyExists(_))));
        drop(tx);
        store.close().await.unwrap();
    }
}
