//! What is kept how long: health history 90 days, operations 30 days, audit a year, answers a day, leases for ever.

use crate::{
    Result, Tx,
    entity::{operation, step},
};
use chainpool_api::{OperationState, Timestamp};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, sea_query::ExprTrait};

const DAY: i64 = 24 * 60 * 60;

impl Tx {
    /// Forgets what is older than its time; answers how many rows went.
    pub async fn forget_old(&mut self, now: Timestamp) -> Result<u64> {
        let before = |days: i64| now.plus_seconds(-days * DAY);
        let over = [
            OperationState::Succeeded,
            OperationState::Failed,
            OperationState::Superseded,
        ]
        .map(OperationState::as_str);
        let old = operation::Column::State
            .is_in(over)
            .and(operation::Column::EndedAt.lt(before(30).0));
        let ids = operation::Entity::find()
            .select_only()
            .column(operation::Column::Id)
            .filter(old.clone())
            .into_query();
        step::Entity::delete_many()
            .filter(step::Column::OperationId.in_subquery(ids))
            .exec(&self.0)
            .await?;
        let operations = operation::Entity::delete_many()
            .filter(old)
            .exec(&self.0)
            .await?
            .rows_affected;
        Ok(operations
            + self.health_forget(before(90)).await?
            + self.audit_forget(before(365)).await?
            + self.answers_forget(before(1)).await?
            + self.tokens_forget(now).await?)
    }
}
