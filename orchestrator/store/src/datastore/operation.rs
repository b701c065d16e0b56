//! Operations and their journal.

use crate::{
    Conn, EnumColumn, Error, Json, OperationRow, Result, RowVersion, StepRow, Tx,
    datastore::{led_by, next_version, page_size, save::save},
    entity::{operation, step},
};
use chainpool_agent::Generation;
use chainpool_api::{Noun, OperationKind, OperationState, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, IntoActiveModel, NotSet,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, sea_query::Expr,
};
use serde_json::Value;
use uuid::Uuid;

/// A new operation.
#[derive(Debug, Clone)]
pub struct NewOperation {
    /// The kind.
    pub kind: OperationKind,
    /// The host.
    pub host_id: Uuid,
    /// The cluster.
    pub cluster_id: Option<Uuid>,
    /// The cluster's generation.
    pub generation: Generation,
    /// The parent operation.
    pub parent_id: Option<Uuid>,
    /// The author.
    pub author: String,
    /// The reason.
    pub reason: String,
    /// The arguments.
    pub arguments: Value,
    /// The deadline; `None`: none.
    pub deadline_at: Option<Timestamp>,
}

/// A filter for listing operations.
#[derive(Debug, Clone, Default)]
pub struct OperationQuery {
    /// Filter by host.
    pub host: Option<Uuid>,
    /// Filter by cluster.
    pub cluster: Option<Uuid>,
    /// Filter by parent operation.
    pub parent: Option<Uuid>,
    /// Filter by state.
    pub state: Option<OperationState>,
    /// Filter by kind.
    pub kind: Option<OperationKind>,
    /// Filter by the time of acceptance: then or later.
    pub since: Option<Timestamp>,
    /// The cursor: list from after this id.
    pub after: Option<Uuid>,
    /// The maximum number of rows.
    pub limit: Option<u32>,
}

/// Matches queued and running operations. The states are literals, so that SQLite uses the partial indexes of such
/// operations.
fn live() -> sea_orm::sea_query::SimpleExpr {
    Expr::cust("state IN ('queued', 'running')")
}

/// The operations that a process owns: running, claimed in its epoch, on hosts that it still leads.
fn owned_by(epoch: i64) -> Condition {
    Condition::all()
        .add(operation::Column::State.eq(OperationState::Running.as_str()))
        .add(operation::Column::Epoch.eq(epoch))
        .add(operation::Column::HostId.in_subquery(led_by(epoch)))
}

impl<C: ConnectionTrait> Conn<C> {
    /// Reads an operation by id.
    pub async fn operation(&self, id: Uuid) -> Result<Option<OperationRow>> {
        Ok(operation::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Lists all queued and running operations, oldest first.
    pub async fn operations_live(&self) -> Result<Vec<OperationRow>> {
        Ok(operation::Entity::find()
            .filter(live())
            .order_by_asc(operation::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Lists the queued and running operations that an older epoch owns, or none, oldest first.
    pub async fn operations_unclaimed(&self, epoch: i64) -> Result<Vec<Uuid>> {
        let query = operation::Entity::find()
            .select_only()
            .column(operation::Column::Id)
            .filter(live())
            .filter(operation::Column::Epoch.lt(epoch));
        let query = query.order_by_asc(operation::Column::Id).into_tuple();
        Ok(query.all(&self.0).await?)
    }

    /// Returns `true` if a child operation is queued or running.
    pub async fn has_live_children(&self, parent: Uuid) -> Result<bool> {
        let query = operation::Entity::find()
            .select_only()
            .column(operation::Column::Id)
            .filter(operation::Column::ParentId.eq(parent))
            .filter(live())
            .limit(1)
            .into_tuple::<Uuid>();
        Ok(query.one(&self.0).await?.is_some())
    }

    /// Reads the queued or running operation on the host itself.
    pub async fn operation_of_host(&self, host: Uuid) -> Result<Option<OperationRow>> {
        let query = operation::Entity::find()
            .filter(live())
            .filter(operation::Column::HostId.eq(host))
            .filter(operation::Column::ClusterId.is_null());
        Ok(query.one(&self.0).await?)
    }

    /// Reads the latest operation of this kind on a cluster.
    pub async fn operation_newest(&self, cluster: Uuid, kind: OperationKind) -> Result<Option<OperationRow>> {
        let query = operation::Entity::find()
            .filter(operation::Column::ClusterId.eq(cluster))
            .filter(operation::Column::Kind.eq(kind.as_str()));
        Ok(query.order_by_desc(operation::Column::Id).one(&self.0).await?)
    }

    /// Lists the child operations, oldest first.
    pub async fn operation_children(&self, parent: Uuid) -> Result<Vec<OperationRow>> {
        let query = operation::Entity::find()
            .filter(operation::Column::ParentId.eq(parent))
            .order_by_asc(operation::Column::Id);
        Ok(query.all(&self.0).await?)
    }

    /// Lists one page of operations, newest first, plus one row if there is a next page.
    pub async fn operation_page(&self, filter: &OperationQuery) -> Result<Vec<OperationRow>> {
        let mut query = operation::Entity::find()
            .order_by_desc(operation::Column::Id)
            .limit(page_size(filter.limit) + 1);
        if let Some(host) = filter.host {
            query = query.filter(operation::Column::HostId.eq(host));
        }
        if let Some(cluster) = filter.cluster {
            query = query.filter(operation::Column::ClusterId.eq(cluster));
        }
        if let Some(parent) = filter.parent {
            query = query.filter(operation::Column::ParentId.eq(parent));
        }
        if let Some(state) = filter.state {
            query = query.filter(operation::Column::State.eq(state.as_str()));
            if !state.is_over() {
                query = query.filter(live());
            }
        }
        if let Some(kind) = filter.kind {
            query = query.filter(operation::Column::Kind.eq(kind.as_str()));
        }
        if let Some(since) = filter.since {
            query = query.filter(operation::Column::CreatedAt.gte(since.0));
        }
        if let Some(after) = filter.after {
            query = query.filter(operation::Column::Id.lt(after));
        }
        Ok(query.all(&self.0).await?)
    }

    /// Lists the steps of an operation in order.
    pub async fn steps(&self, operation: Uuid) -> Result<Vec<StepRow>> {
        Ok(step::Entity::find()
            .filter(step::Column::OperationId.eq(operation))
            .order_by_asc(step::Column::Seq)
            .all(&self.0)
            .await?)
    }
}

impl Tx {
    /// Accepts an operation.
    pub async fn operation_insert(&mut self, new: NewOperation, now: Timestamp) -> Result<OperationRow> {
        let NewOperation {
            kind,
            host_id,
            cluster_id,
            generation,
            parent_id,
            author,
            reason,
            arguments,
            deadline_at,
        } = new;
        let row = OperationRow {
            id: Uuid::now_v7(),
            kind: EnumColumn(kind),
            state: EnumColumn(OperationState::Queued),
            host_id,
            cluster_id,
            generation,
            parent_id,
            author,
            reason,
            arguments: Json(arguments),
            result: None,
            error: None,
            epoch: 0,
            deadline_at: deadline_at.map(Into::into),
            created_at: now.into(),
            started_at: None,
            ended_at: None,
            row_version: RowVersion::default(),
        };
        operation::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        self.operation_changed(&row);
        Ok(row)
    }

    /// Claims a queued or running operation for this process: compare-and-swap on the epoch. `None`: it has
    /// ended, is already claimed, or another process leads its host.
    pub async fn operation_claim(&mut self, id: Uuid, now: Timestamp) -> Result<Option<OperationRow>> {
        let epoch = self.store().epoch();
        let taken = operation::Entity::update_many()
            .col_expr(
                operation::Column::State,
                Expr::value(OperationState::Running.as_str()),
            )
            .col_expr(operation::Column::Epoch, Expr::value(epoch))
            .col_expr(
                operation::Column::StartedAt,
                Expr::cust_with_values("COALESCE(started_at, ?)", [now.0]),
            )
            .col_expr(operation::Column::RowVersion, next_version::<OperationRow>())
            .filter(operation::Column::Id.eq(id))
            .filter(live())
            .filter(operation::Column::Epoch.lt(epoch))
            .filter(operation::Column::HostId.in_subquery(led_by(epoch)))
            .exec(&self.0)
            .await?;
        if taken.rows_affected == 0 {
            return Ok(None);
        }
        let row = self.operation(id).await?;
        if let Some(row) = &row {
            self.operation_changed(row);
        }
        Ok(row)
    }

    /// Returns `true` if this process still owns the operation.
    pub async fn operation_is_owned(&mut self, id: Uuid) -> Result<bool> {
        let owned = operation::Entity::find_by_id(id).filter(owned_by(self.store().epoch()));
        Ok(owned.count(&self.0).await? > 0)
    }

    /// Saves an operation and returns it with its new version. [`Error::Overtaken`]: it was changed since it was
    /// read, which cannot happen to a row read in this transaction.
    pub async fn operation_save(&mut self, row: OperationRow) -> Result<OperationRow> {
        self.operation_changed(&row);
        save(&self.0, row).await
    }

    /// Writes the plan of an operation.
    pub async fn steps_insert(&mut self, rows: Vec<StepRow>) -> Result<()> {
        if let Some(first) = rows.first() {
            self.changed(Noun::Operation, first.operation_id);
            step::Entity::insert_many(rows.into_iter().map(IntoActiveModel::into_active_model))
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Deletes the plan of an operation so that it can be planned again.
    pub async fn steps_delete(&mut self, operation: Uuid) -> Result<()> {
        self.changed(Noun::Operation, operation);
        step::Entity::delete_many()
            .filter(step::Column::OperationId.eq(operation))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Saves a step. Only the owner of a running operation changes its steps, so the operation's epoch takes the
    /// place of a version. [`Error::Overtaken`]: this process no longer owns the operation, or it was planned
    /// again.
    pub async fn step_save(&mut self, row: StepRow) -> Result<()> {
        let owned = operation::Entity::find()
            .select_only()
            .column(operation::Column::Id)
            .filter(operation::Column::Id.eq(row.operation_id))
            .filter(owned_by(self.store().epoch()));
        self.changed(Noun::Operation, row.operation_id);
        let (operation, seq) = (row.operation_id, row.seq);
        let mut change = row.into_active_model().reset_all();
        (change.operation_id, change.seq) = (NotSet, NotSet);
        let done = step::Entity::update_many()
            .set(change)
            .filter(step::Column::OperationId.eq(operation))
            .filter(step::Column::Seq.eq(seq))
            .filter(step::Column::OperationId.in_subquery(owned.into_query()))
            .exec(&self.0)
            .await?;
        if done.rows_affected == 0 {
            return Err(Error::Overtaken("operation"));
        }
        Ok(())
    }

    fn operation_changed(&mut self, row: &OperationRow) {
        self.changed(Noun::Operation, row.id);
        if let Some(parent) = row.parent_id {
            self.changed(Noun::Operation, parent);
        }
        if let Some(cluster) = row.cluster_id {
            self.changed(Noun::Cluster, cluster);
        }
    }
}
