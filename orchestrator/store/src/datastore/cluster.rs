//! Clusters, their ports and their networks.

use crate::{
    ClusterRow, Conn, PortRow, Result, Tx,
    datastore::{OfferFilter, among, containing, led_by, next_version, page_size, save::save},
    entity::{cluster, lease, port},
};
use chainpool_agent::Generation;
use chainpool_api::{ClusterState, HealthState, LeaseState, Noun, Timestamp};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, sea_query::Expr,
};
use uuid::Uuid;

/// A filter for listing clusters.
#[derive(Debug, Clone, Default)]
pub struct ClusterQuery {
    /// Filter by host.
    pub host: Option<Uuid>,
    /// Filter by state.
    pub state: Option<ClusterState>,
    /// Filter by health.
    pub health: Option<HealthState>,
    /// Filter by network type.
    pub network_type: Option<String>,
    /// Filter by what an apply may lease now.
    pub offered: Option<OfferFilter>,
    /// Filter by holders.
    pub holders: Option<Vec<String>>,
    /// Filter by the account that applied for the lease.
    pub applied_by: Option<String>,
    /// Filter by part of the name.
    pub search: Option<String>,
    /// The cursor: list from after this id.
    pub after: Option<Uuid>,
    /// The maximum number of rows.
    pub limit: Option<u32>,
}

impl<C: ConnectionTrait> Conn<C> {
    /// Reads a cluster by id, including deleted ones.
    pub async fn cluster(&self, id: Uuid) -> Result<Option<ClusterRow>> {
        Ok(cluster::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// Reads an existing cluster by name or id.
    pub async fn cluster_named(&self, name: &str) -> Result<Option<ClusterRow>> {
        let existing = cluster::Entity::find().filter(cluster::Column::DeletedAt.is_null());
        if let Some(row) = existing
            .clone()
            .filter(cluster::Column::Name.eq(name))
            .one(&self.0)
            .await?
        {
            return Ok(Some(row));
        }
        match name.parse::<Uuid>() {
            Ok(id) => Ok(existing.filter(cluster::Column::Id.eq(id)).one(&self.0).await?),
            Err(_) => Ok(None),
        }
    }

    /// Lists all existing clusters, oldest first.
    pub async fn clusters(&self) -> Result<Vec<ClusterRow>> {
        Ok(cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .order_by_asc(cluster::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// Lists the existing clusters of a host, oldest first.
    pub async fn clusters_of(&self, host: Uuid) -> Result<Vec<ClusterRow>> {
        let query = cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .filter(cluster::Column::HostId.eq(host));
        Ok(query.order_by_asc(cluster::Column::Id).all(&self.0).await?)
    }

    /// Lists one page of existing clusters, newest first, plus one row if there is a next page.
    pub async fn cluster_page(&self, filter: &ClusterQuery) -> Result<Vec<ClusterRow>> {
        let mut query = cluster::Entity::find()
            .filter(cluster::Column::DeletedAt.is_null())
            .order_by_desc(cluster::Column::Id)
            .limit(page_size(filter.limit) + 1);
        if let Some(host) = filter.host {
            query = query.filter(cluster::Column::HostId.eq(host));
        }
        if let Some(state) = filter.state {
            query = query.filter(cluster::Column::State.eq(state.as_str()));
        }
        if let Some(health) = filter.health {
            query = query.filter(cluster::Column::Health.eq(health.as_str()));
        }
        if let Some(network_type) = &filter.network_type {
            query = query.filter(cluster::Column::NetworkType.eq(network_type));
        }
        if let Some(offered) = filter.offered {
            query = query.filter(offered.condition());
        }
        if filter.holders.is_some() || filter.applied_by.is_some() {
            let mut held = lease::Entity::find()
                .select_only()
                .column(lease::Column::ClusterId)
                .filter(lease::Column::State.eq(LeaseState::Active.as_str()));
            if let Some(holders) = &filter.holders {
                held = held.filter(lease::Column::Holder.is_in(holders));
            }
            if let Some(account) = &filter.applied_by {
                held = held.filter(lease::Column::AppliedBy.eq(account));
            }
            query = query.filter(cluster::Column::Id.in_subquery(held.into_query()));
        }
        if let Some(search) = &filter.search {
            query = query.filter(cluster::Column::Name.like(containing(search)));
        }
        if let Some(after) = filter.after {
            query = query.filter(cluster::Column::Id.lt(after));
        }
        Ok(query.all(&self.0).await?)
    }

    /// Lists the published ports of a cluster.
    pub async fn ports_of_cluster(&self, id: Uuid) -> Result<Vec<PortRow>> {
        Ok(port::Entity::find()
            .filter(port::Column::ClusterId.eq(id))
            .all(&self.0)
            .await?)
    }
}

impl Tx {
    /// Adds a cluster with its ports.
    pub async fn cluster_insert(&mut self, row: ClusterRow, ports: Vec<PortRow>) -> Result<()> {
        self.changed(Noun::Cluster, row.id);
        self.changed(Noun::Host, row.host_id);
        cluster::Entity::insert(row.into_active_model())
            .exec_without_returning(&self.0)
            .await?;
        if !ports.is_empty() {
            port::Entity::insert_many(ports.into_iter().map(IntoActiveModel::into_active_model))
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Saves a cluster and returns it with its new version. [`Error::Overtaken`](crate::Error::Overtaken): it was changed since
    /// it was read, which cannot happen to a row read in this transaction.
    pub async fn cluster_save(&mut self, row: ClusterRow) -> Result<ClusterRow> {
        self.changed(Noun::Cluster, row.id);
        self.changed(Noun::Host, row.host_id);
        save(&self.0, row).await
    }

    /// Replaces the ports of a cluster.
    pub async fn ports_replace(&mut self, id: Uuid, ports: Vec<PortRow>) -> Result<()> {
        port::Entity::delete_many()
            .filter(port::Column::ClusterId.eq(id))
            .exec(&self.0)
            .await?;
        if !ports.is_empty() {
            port::Entity::insert_many(ports.into_iter().map(IntoActiveModel::into_active_model))
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Marks a cluster as deleted: releases its name, ports and network, and destroys its keys.
    pub async fn cluster_mark_deleted(&mut self, mut row: ClusterRow, now: Timestamp) -> Result<()> {
        port::Entity::delete_many()
            .filter(port::Column::ClusterId.eq(row.id))
            .exec(&self.0)
            .await?;
        self.revisions_delete(row.id, u32::MAX).await?;
        row.deleted_at = Some(now.into());
        row.operation_id = None;
        row.leased = false;
        self.cluster_save(row).await.map(drop)
    }

    /// Sets for all clusters of a host whether the host offers them.
    pub async fn clusters_schedulable(&mut self, host: Uuid, schedulable: bool) -> Result<()> {
        cluster::Entity::update_many()
            .col_expr(cluster::Column::Schedulable, Expr::value(schedulable))
            .col_expr(cluster::Column::RowVersion, next_version::<ClusterRow>())
            .filter(cluster::Column::Schedulable.ne(schedulable))
            .filter(cluster::Column::HostId.eq(host))
            .filter(cluster::Column::DeletedAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Records the highest block of a cluster's generation, under the same version. Ignores a lower value, and a
    /// cluster on a host that another process leads.
    pub async fn cluster_height(&mut self, id: Uuid, generation: Generation, height: i64) -> Result<()> {
        cluster::Entity::update_many()
            .col_expr(cluster::Column::Height, Expr::value(height))
            .filter(cluster::Column::Id.eq(id))
            .filter(cluster::Column::Generation.eq(generation))
            .filter(cluster::Column::HostId.in_subquery(led_by(self.store().epoch())))
            .filter(
                Condition::any()
                    .add(cluster::Column::Height.is_null())
                    .add(cluster::Column::Height.lt(height)),
            )
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Records when evidence on these clusters was last gathered, so that apply can distinguish fresh from
    /// stale. A later time and their versions stay the same. Ignores clusters on hosts that another process leads.
    pub async fn clusters_checked(&mut self, ids: &[Uuid], at: Timestamp) -> Result<()> {
        cluster::Entity::update_many()
            .col_expr(cluster::Column::CheckedAt, Expr::value(at.0))
            .filter(among("id", ids.iter().copied()))
            .filter(cluster::Column::CheckedAt.lt(at.0))
            .filter(cluster::Column::HostId.in_subquery(led_by(self.store().epoch())))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
