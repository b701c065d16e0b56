//! Leases.

use crate::{
    Conn, LeaseRow, Result, Tx, apply,
    datastore::{page_size, save::save},
    entity::lease,
};
use chainpool_api::{LeaseState, Noun, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, SimpleExpr},
};
use uuid::Uuid;

/// A filter for listing leases.
#[derive(Debug, Clone, Default)]
pub struct LeaseQuery {
    /// Filter by state.
    pub state: Option<LeaseState>,
    /// Filter by holders.
    pub holders: Option<Vec<String>>,
    /// Filter by the account that applied.
    pub applied_by: Option<String>,
    /// Filter by cluster.
    pub cluster: Option<Uuid>,
    /// The cursor: list from after this id.
    pub after: Option<Uuid>,
    /// The maximum number of rows.
    pub limit: Option<u32>,
}

/// Matches active leases. The state is a literal, so that SQLite uses the partial indexes of active leases.
pub(crate) fn active() -> SimpleExpr {
    Expr::cust("state = 'active'")
}

impl<C: ConnectionTrait> Conn<C> {
    /// Reads a lease by id.
    pub async fn lease(&self, id: Uuid) -> Result<Option<LeaseRow>> {
        Ok(lease::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Reads the active lease of a cluster.
    pub async fn lease_of(&self, cluster: Uuid) -> Result<Option<LeaseRow>> {
        let query = lease::Entity::find()
            .filter(lease::Column::ClusterId.eq(cluster))
            .filter(active());
        Ok(query.one(&self.0).await?)
    }

    /// Counts the active leases that an account holds itself, up to `most`.
    pub async fn own_leases(&self, account: &str, most: u32) -> Result<u32> {
        apply::own_leases(&self.0, account, most).await
    }

    /// Lists all active leases.
    pub async fn leases_active(&self) -> Result<Vec<LeaseRow>> {
        Ok(lease::Entity::find().filter(active()).all(&self.0).await?)
    }

    /// Lists active leases past their expiry.
    pub async fn leases_due(&self, now: Timestamp) -> Result<Vec<LeaseRow>> {
        let query = lease::Entity::find()
            .filter(active())
            .filter(lease::Column::ExpiresAt.lte(now.0));
        Ok(query
            .order_by_asc(lease::Column::ExpiresAt)
            .limit(100)
            .all(&self.0)
            .await?)
    }

    /// Lists one page of leases, newest first, plus one row if there is a next page.
    pub async fn lease_page(&self, filter: &LeaseQuery) -> Result<Vec<LeaseRow>> {
        let mut query = lease::Entity::find()
            .order_by_desc(lease::Column::Id)
            .limit(page_size(filter.limit) + 1);
        if let Some(state) = filter.state {
            query = query.filter(lease::Column::State.eq(state.as_str()));
        }
        if let Some(holders) = &filter.holders {
            query = query.filter(lease::Column::Holder.is_in(holders));
        }
        if let Some(account) = &filter.applied_by {
            query = query.filter(lease::Column::AppliedBy.eq(account));
        }
        if let Some(cluster) = filter.cluster {
            query = query.filter(lease::Column::ClusterId.eq(cluster));
        }
        if let Some(after) = filter.after {
            query = query.filter(lease::Column::Id.lt(after));
        }
        Ok(query.all(&self.0).await?)
    }
}

impl Tx {
    /// Saves a lease and returns it with its new version. [`Error::Overtaken`](crate::Error::Overtaken): it was changed since
    /// it was read, which cannot happen to a row read in this transaction.
    pub async fn lease_save(&mut self, row: LeaseRow) -> Result<LeaseRow> {
        self.changed(Noun::Lease, row.id);
        self.changed(Noun::Cluster, row.cluster_id);
        save(&self.0, row).await
    }
}
