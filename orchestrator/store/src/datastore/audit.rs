//! Who did what when, written in the same transaction as the change; and answers to repeated requests.

use crate::{
    AuditRow, Conn, IdempotencyRow, Result, Tx,
    entity::{audit, idempotency},
};
use chainpool_api::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

/// One line of the audit.
#[derive(Debug, Clone)]
pub struct Audit<'a> {
    /// Who.
    pub author: &'a str,
    /// Did what: the noun and the verb.
    pub verb: &'a str,
    /// To what.
    pub subject: &'a str,
    /// In which way; never a secret.
    pub detail: String,
}

impl<C: ConnectionTrait> Conn<C> {
    /// The newest lines first.
    pub async fn audit(&self, limit: u64) -> Result<Vec<AuditRow>> {
        Ok(audit::Entity::find()
            .order_by_desc(audit::Column::Id)
            .limit(limit)
            .all(&self.0)
            .await?)
    }

    /// What was answered to this request before.
    pub async fn answer(&self, account: Uuid, route: &str, name: &str) -> Result<Option<IdempotencyRow>> {
        Ok(
            idempotency::Entity::find_by_id((account, route.to_owned(), name.to_owned()))
                .one(&self.0)
                .await?,
        )
    }
}

impl Tx {
    /// Writes a line.
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

    /// Keeps what was answered to a request.
    pub async fn answer_insert(&mut self, row: IdempotencyRow) -> Result<()> {
        idempotency::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets answers older than this.
    pub async fn answers_forget(&mut self, before: Timestamp) -> Result<u64> {
        Ok(idempotency::Entity::delete_many()
            .filter(idempotency::Column::CreatedAt.lt(before.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }

    /// Forgets lines older than this.
    pub(crate) async fn audit_forget(&mut self, before: Timestamp) -> Result<u64> {
        Ok(audit::Entity::delete_many()
            .filter(audit::Column::At.lt(before.0))
            .exec(&self.0)
            .await?
            .rows_affected)
    }
}
