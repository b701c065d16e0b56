//! The audit log, written in the transaction of the change; and the responses to requests with an idempotency
//! key.

use crate::{
    AuditRow, Conn, IdempotencyRow, Result, Tx,
    entity::{audit, idempotency},
};
use chainpool_api::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

/// One entry of the audit log.
#[derive(Debug, Clone)]
pub struct Audit<'a> {
    /// The author.
    pub author: &'a str,
    /// The action: noun and verb.
    pub verb: &'a str,
    /// The resource.
    pub subject: &'a str,
    /// Details; never a secret.
    pub detail: String,
}

impl<C: ConnectionTrait> Conn<C> {
    /// Lists entries, newest first.
    pub async fn audit(&self, limit: u64) -> Result<Vec<AuditRow>> {
        Ok(audit::Entity::find()
            .order_by_desc(audit::Column::Id)
            .limit(limit)
            .all(&self.0)
            .await?)
    }

    /// Reads the stored response to a request.
    pub async fn answer(&self, account: Uuid, route: &str, name: &str) -> Result<Option<IdempotencyRow>> {
        Ok(
            idempotency::Entity::find_by_id((account, route.to_owned(), name.to_owned()))
                .one(&self.0)
                .await?,
        )
    }
}

impl Tx {
    /// Writes an entry.
    pub async fn audit_insert(&mut self, line: Audit<'_>, now: Timestamp) -> Result<()> {
        let Audit {
            author,
            verb,
            subject,
            detail,
        } = line;
        let row = AuditRow {
            id: Uuid::now_v7(),
            at: now.into(),
            author: author.into(),
            verb: verb.into(),
            subject: subject.into(),
            detail,
        };
        audit::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Stores the response to a request.
    pub async fn answer_insert(&mut self, row: IdempotencyRow) -> Result<()> {
        idempotency::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Deletes responses older than this.
    pub async fn answers_prune(&mut self, before: Timestamp) -> Result<u64> {
        Ok(idempotency::Entity::delete_many()
            .filter(idempotency::Column::CreatedAt.lt(before.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }

    /// Deletes entries older than this.
    pub(crate) async fn audit_prune(&mut self, before: Timestamp) -> Result<u64> {
        Ok(audit::Entity::delete_many()
            .filter(audit::Column::At.lt(before.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }
}
