//! Reads for lists: the names, numbers and rows that belong to all rows of a page. Each function makes at most
//! one query for any number of rows.

use crate::{
    ClusterRow, Conn, HostRow, LeaseNames, LeaseRow, OperationRow, Result, StepRow,
    datastore::lease::active,
    entity::{cluster, host, lease, operation, step},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, Statement,
    TryGetable,
    sea_query::{Expr, SimpleExpr},
};
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The ids in a parameter. One parameter for any number of ids, so that the statement's text stays the same and it is
/// prepared once.
const IDS: &str = "(SELECT unhex(value) FROM json_each(?))";

/// The parameter without ids.
const NONE: &str = "[]";

/// The parameter of [`IDS`].
fn parameter(ids: impl IntoIterator<Item = Uuid>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.simple().to_string()).collect();
    json!(ids).to_string()
}

/// Matches rows whose column is one of these ids.
pub(crate) fn among(column: &str, ids: impl IntoIterator<Item = Uuid>) -> SimpleExpr {
    Expr::cust_with_values(format!("{column} IN {IDS}"), [parameter(ids)])
}

/// The number of completed parts of an operation and of all its parts: its steps, or its child operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The completed parts.
    pub done: u32,
    /// All parts.
    pub total: u32,
}

impl<C: ConnectionTrait> Conn<C> {
    /// Runs a statement whose only parameter is a list of ids.
    async fn by_ids<T>(
        &self,
        sql: String,
        ids: impl IntoIterator<Item = Uuid>,
        read: impl Fn(&QueryResult) -> std::result::Result<T, sea_orm::DbErr>,
    ) -> Result<Vec<T>> {
        let ids = parameter(ids);
        if ids == NONE {
            return Ok(Vec::new());
        }
        let backend = self.0.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [ids.into()]);
        let rows = self.0.query_all_raw(statement).await?;
        Ok(rows.iter().map(read).collect::<std::result::Result<_, _>>()?)
    }

    /// Reads the second column for the id in the first one.
    async fn pairs<T: TryGetable>(
        &self,
        sql: String,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, T>> {
        let pair = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        Ok(self.by_ids(sql, ids, pair).await?.into_iter().collect())
    }

    /// Reads the names of hosts.
    pub async fn host_names(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<BTreeMap<Uuid, String>> {
        self.pairs(format!("SELECT id, name FROM host WHERE id IN {IDS}"), ids)
            .await
    }

    /// Reads the names of clusters, including deleted ones.
    pub async fn cluster_names(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<BTreeMap<Uuid, String>> {
        self.pairs(format!("SELECT id, name FROM cluster WHERE id IN {IDS}"), ids)
            .await
    }

    /// Reads the names that belong to leases of these clusters, including deleted ones.
    pub async fn lease_names(
        &self,
        clusters: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, LeaseNames>> {
        let sql = format!(
            "SELECT cluster.id, cluster.name, network_type, COALESCE(host.name, '') FROM cluster \
             LEFT JOIN host ON host.id = host_id WHERE cluster.id IN {IDS}"
        );
        let read = |row: &QueryResult| {
            let names = LeaseNames {
                cluster: row.try_get_by_index(1)?,
                network_type: row.try_get_by_index(2)?,
                host: row.try_get_by_index(3)?,
            };
            Ok((row.try_get_by_index(0)?, names))
        };
        Ok(self.by_ids(sql, clusters, read).await?.into_iter().collect())
    }

    /// Reads the active leases of clusters.
    pub async fn leases_of(
        &self,
        clusters: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, LeaseRow>> {
        let rows = lease::Entity::find()
            .filter(active())
            .filter(among("cluster_id", clusters))
            .all(&self.0)
            .await?;
        Ok(rows.into_iter().map(|row| (row.cluster_id, row)).collect())
    }

    /// Reads the queued or running operation on each of these hosts itself.
    pub async fn operations_of_hosts(
        &self,
        hosts: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Uuid>> {
        let sql = format!(
            "SELECT host_id, id FROM operation \
             WHERE cluster_id IS NULL AND state IN ('queued', 'running') AND host_id IN {IDS}"
        );
        self.pairs(sql, hosts).await
    }

    /// Reads operations.
    pub async fn operations_by_id(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<OperationRow>> {
        Ok(operation::Entity::find()
            .filter(among("id", ids))
            .order_by_asc(operation::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Lists the child operations of each of these operations, oldest first.
    pub async fn children_of(
        &self,
        parents: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Vec<OperationRow>>> {
        // As a literal, so that SQLite uses the partial index of child operations.
        let rows = operation::Entity::find()
            .filter(Expr::cust("parent_id IS NOT NULL"))
            .filter(among("parent_id", parents))
            .order_by_asc(operation::Column::Id)
            .all(&self.0)
            .await?;
        let mut children: BTreeMap<Uuid, Vec<OperationRow>> = BTreeMap::new();
        for row in rows {
            children
                .entry(row.parent_id.unwrap_or_default())
                .or_default()
                .push(row);
        }
        Ok(children)
    }

    /// Lists the steps of each of these operations in order.
    pub async fn steps_of(
        &self,
        operations: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Vec<StepRow>>> {
        let rows = step::Entity::find()
            .filter(among("operation_id", operations))
            .order_by_asc(step::Column::OperationId)
            .order_by_asc(step::Column::Seq)
            .all(&self.0)
            .await?;
        let mut steps: BTreeMap<Uuid, Vec<StepRow>> = BTreeMap::new();
        for row in rows {
            steps.entry(row.operation_id).or_default().push(row);
        }
        Ok(steps)
    }

    /// Counts the completed and all steps of each of these operations.
    pub async fn step_progress(
        &self,
        operations: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Progress>> {
        let sql = format!(
            "SELECT operation_id, SUM(state = 'done'), COUNT(*) FROM step WHERE operation_id IN {IDS} \
             GROUP BY operation_id"
        );
        self.progress(sql, operations).await
    }

    /// Counts the ended and all child operations of each of these operations.
    pub async fn children_progress(
        &self,
        parents: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Progress>> {
        let sql = format!(
            "SELECT parent_id, SUM(state NOT IN ('queued', 'running')), COUNT(*) FROM operation \
             WHERE parent_id IS NOT NULL AND parent_id IN {IDS} GROUP BY parent_id"
        );
        self.progress(sql, parents).await
    }

    async fn progress(
        &self,
        sql: String,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Progress>> {
        let read = |row: &QueryResult| {
            let progress = Progress {
                done: row.try_get_by_index(1)?,
                total: row.try_get_by_index(2)?,
            };
            Ok((row.try_get_by_index(0)?, progress))
        };
        Ok(self.by_ids(sql, ids, read).await?.into_iter().collect())
    }

    /// Reads hosts, oldest first.
    pub async fn hosts_by_id(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<HostRow>> {
        Ok(host::Entity::find()
            .filter(among("id", ids))
            .order_by_asc(host::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Reads existing clusters, oldest first.
    pub async fn clusters_by_id(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<ClusterRow>> {
        Ok(cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .filter(among("id", ids))
            .order_by_asc(cluster::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Reads the existing clusters of hosts, oldest first.
    pub async fn clusters_of_hosts(&self, hosts: impl IntoIterator<Item = Uuid>) -> Result<Vec<ClusterRow>> {
        Ok(cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .filter(among("host_id", hosts))
            .order_by_asc(cluster::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Lists the existing clusters after an id, oldest first, at most this many.
    pub async fn clusters_after(&self, after: Uuid, limit: u64) -> Result<Vec<ClusterRow>> {
        Ok(cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .filter(cluster::Column::Id.gt(after))
            .order_by_asc(cluster::Column::Id)
            .limit(limit)
            .all(&self.0)
            .await?)
    }

    /// Reads those of these clusters that are leased, oldest first.
    pub async fn clusters_leased(&self, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<ClusterRow>> {
        Ok(cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .filter(cluster::Column::Leased.eq(true))
            .filter(among("id", ids))
            .order_by_asc(cluster::Column::Id)
            .all(&self.0)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, testing};
    use tempfile::TempDir;

    #[tokio::test]
    async fn rows_are_read_by_their_ids_and_no_others() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        let rows = testing::free_clusters(&store, &["a", "b", "c"]).await;
        let read = store.read();
        let two = [rows[0].id, rows[2].id];
        let names = read.cluster_names(two).await.unwrap();
        assert_eq!(names.into_values().collect::<Vec<_>>(), ["a", "c"]);
        assert!(read.cluster_names([]).await.unwrap().is_empty());
        let found = read.clusters_by_id(two).await.unwrap();
        assert_eq!(found, [rows[0].clone(), rows[2].clone()]);
        let host = rows[0].host_id;
        assert_eq!(read.clusters_of_hosts([host]).await.unwrap(), rows);
        assert_eq!(read.host_names([host, rows[1].id]).await.unwrap()[&host], "h1");
        let names = &read.lease_names([rows[1].id]).await.unwrap()[&rows[1].id];
        assert_eq!((names.cluster.as_str(), names.host.as_str()), ("b", "h1"));
        let mut paged = read.clusters_after(Uuid::nil(), 2).await.unwrap();
        paged.extend(read.clusters_after(paged[1].id, 2).await.unwrap());
        assert_eq!(paged, rows);
        store.close().await.unwrap();
    }
}
