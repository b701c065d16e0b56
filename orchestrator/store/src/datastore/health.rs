//! Health history.

use crate::{Conn, HealthChangeRow, Result, Tx, entity::health_change};
use chainpool_api::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

impl<C: ConnectionTrait> Conn<C> {
    /// Lists a cluster's verdicts, newest first.
    pub async fn health_changes(&self, cluster: Uuid, limit: u64) -> Result<Vec<HealthChangeRow>> {
        let query = health_change::Entity::find().filter(health_change::Column::ClusterId.eq(cluster));
        Ok(query
            .order_by_desc(health_change::Column::Id)
            .limit(limit)
            .all(&self.0)
            .await?)
    }
}

impl Tx {
    /// Adds a verdict.
    pub async fn health_insert(&mut self, row: HealthChangeRow) -> Result<()> {
        health_change::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Deletes verdicts older than this.
    pub(crate) async fn health_prune(&mut self, before: Timestamp) -> Result<u64> {
        Ok(health_change::Entity::delete_many()
            .filter(health_change::Column::At.lt(before.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }
}
