//! Leases.

use crate::{Conn, LeaseRow, Result, Tx, apply, datastore::page_size, entity::lease};
use chainpool_api::{LeaseState, Noun, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

/// Which leases to list.
#[derive(Debug, Clone, Default)]
pub struct LeaseQuery {
    /// In this state.
    pub state: Option<LeaseState>,
    /// Of one of these holders.
    pub holders: Option<Vec<String>>,
    /// That this account applied for.
    pub applied_by: Option<String>,
    /// Of this cluster.
    pub cluster: Option<Uuid>,
    /// Go on after this id.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: Option<u32>,
}

impl<C: ConnectionTrait> Conn<C> {
    /// A lease.
    pub async fn lease(&self, id: Uuid) -> Result<Option<LeaseRow>> {
        Ok(lease::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// The active lease of a cluster.
    pub async fn lease_of(&self, cluster: Uuid) -> Result<Option<LeaseRow>> {
        let query = lease::Entity::find()
            .filter(lease::Column::ClusterId.eq(cluster))
            .filter(lease::Column::State.eq(LeaseState::Active.as_str()));
        Ok(query.one(&self.0).await?)
    }

    /// How many active leases an account holds itself, counted up to `most`.
    pub async fn own_leases(&self, account: &str, most: u32) -> Result<u32> {
        apply::own_leases(&self.0, account, most).await
    }

    /// All active leases.
    pub async fn leases_active(&self) -> Result<Vec<LeaseRow>> {
        Ok(lease::Entity::find()
            .filter(lease::Column::State.eq(LeaseState::Active.as_str()))
            .all(&self.0)
            .await?)
    }

    /// Active leases whose time has run out.
    pub async fn leases_due(&self, now: Timestamp) -> Result<Vec<LeaseRow>> {
        let query = lease::Entity::find()
            .filter(lease::Column::State.eq(LeaseState::Active.as_str()))
            .filter(lease::Column::ExpiresAt.lte(now.0));
        Ok(query
            .order_by_asc(lease::Column::ExpiresAt)
            .limit(100)
            .all(&self.0)
            .await?)
    }

    /// One page of leases, newest first, with one row more when there is a next page.
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
    /// Saves a lease that was read in this transaction.
    pub async fn lease_save(&mut self, row: LeaseRow) -> Result<()> {
        self.changed(Noun::Lease, row.id);
        self.changed(Noun::Cluster, row.cluster_id);
        row.into_active_model().reset_all().update(&self.0).await?;
        Ok(())
    }
}
