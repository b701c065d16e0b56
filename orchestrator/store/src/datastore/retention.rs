//! Retention: health history 90 days, operations 30 days, audit log one year, responses one day, leases
//! permanently.

use crate::{
    Result, Tx,
    entity::{operation, step},
};
use chainpool_api::{OperationState, Timestamp};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, sea_query::ExprTrait};

const DAY: i64 = 24 * 60 * 60;

impl Tx {
    /// Deletes rows past their retention period and returns their number.
    pub async fn prune_history(&mut self, now: Timestamp) -> Result<u64> {
        let before = |days: i64| now.plus_seconds(-days * DAY);
        let finished = [
            OperationState::Succeeded,
            OperationState::Failed,
            OperationState::Superseded,
        ]
        .map(OperationState::as_str);
        let old = operation::Column::State
            .is_in(finished)
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
            + self.health_prune(before(90)).await?
            + self.audit_prune(before(365)).await?
            + self.answers_prune(before(1)).await?
            + self.tokens_prune(now).await?)
    }
}
