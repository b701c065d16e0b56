//! Clusters, their ports and their networks.

use crate::{
    ClusterRow, Conn, PortRow, Result, Tx,
    datastore::{containing, page_size},
    entity::{cluster, lease, port},
};
use chainpool_api::{ClusterState, HealthState, LeaseState, Noun, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, sea_query::Expr,
};
use uuid::Uuid;

/// Which clusters to list.
#[derive(Debug, Clone, Default)]
pub struct ClusterQuery {
    /// On this host.
    pub host: Option<Uuid>,
    /// In this state.
    pub state: Option<ClusterState>,
    /// With this verdict.
    pub health: Option<HealthState>,
    /// Of this network type.
    pub network_type: Option<String>,
    /// Free and healthy (or not) by what is stored.
    pub offered: Option<bool>,
    /// Held by one of these holders.
    pub holders: Option<Vec<String>>,
    /// Held by a lease that this account applied for.
    pub applied_by: Option<String>,
    /// Whose name contains this.
    pub search: Option<String>,
    /// Go on after this id.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: Option<u32>,
}

fn offered() -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(cluster::Column::State.eq(ClusterState::Ready.as_str()))
        .add(cluster::Column::Health.eq(HealthState::Healthy.as_str()))
        .add(cluster::Column::Leased.eq(false))
        .add(cluster::Column::Schedulable.eq(true))
        .add(cluster::Column::OperationId.is_null())
        .add(cluster::Column::LedgerFault.is_null())
}

impl<C: ConnectionTrait> Conn<C> {
    /// A cluster by its id, gone or not.
    pub async fn cluster(&self, id: Uuid) -> Result<Option<ClusterRow>> {
        Ok(cluster::Entity::find_by_id(id).one(&self.0).await?)
    }

    /// A living cluster by its name, or by its id.
    pub async fn cluster_named(&self, name: &str) -> Result<Option<ClusterRow>> {
        let living = cluster::Entity::find().filter(cluster::Column::GoneAt.is_null());
        if let Some(row) = living
            .clone()
            .filter(cluster::Column::Name.eq(name))
            .one(&self.0)
            .await?
        {
            return Ok(Some(row));
        }
        match name.parse::<Uuid>() {
            Ok(id) => Ok(living.filter(cluster::Column::Id.eq(id)).one(&self.0).await?),
            Err(_) => Ok(None),
        }
    }

    /// All living clusters, oldest first.
    pub async fn clusters(&self) -> Result<Vec<ClusterRow>> {
        Ok(cluster::Entity::find()
            .filter(cluster::Column::GoneAt.is_null())
            .order_by_asc(cluster::Column::Id)
            .all(&self.0)
            .await?)
    }

    /// A host's living clusters, oldest first.
    pub async fn clusters_of(&self, host: Uuid) -> Result<Vec<ClusterRow>> {
        let query = cluster::Entity::find()
            .filter(cluster::Column::GoneAt.is_null())
            .filter(cluster::Column::HostId.eq(host));
        Ok(query.order_by_asc(cluster::Column::Id).all(&self.0).await?)
    }

    /// One page of living clusters, newest first, with one row more when there is a next page.
    pub async fn cluster_page(&self, filter: &ClusterQuery) -> Result<Vec<ClusterRow>> {
        let mut query = cluster::Entity::find()
            .filter(cluster::Column::GoneAt.is_null())
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
        match filter.offered {
            Some(true) => query = query.filter(offered()),
            Some(false) => query = query.filter(offered().not()),
            None => {}
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

    /// The published ports of a host.
    pub async fn ports_of(&self, host: Uuid) -> Result<Vec<PortRow>> {
        Ok(port::Entity::find()
            .filter(port::Column::HostId.eq(host))
            .all(&self.0)
            .await?)
    }

    /// The published ports of a cluster.
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

    /// Saves a cluster that was read in this transaction.
    pub async fn cluster_save(&mut self, row: ClusterRow) -> Result<()> {
        self.changed(Noun::Cluster, row.id);
        self.changed(Noun::Host, row.host_id);
        row.into_active_model().reset_all().update(&self.0).await?;
        Ok(())
    }

    /// Gives a cluster other ports.
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

    /// Makes a cluster a tombstone: its ports and its network are free for others, its keys are destroyed, its name too.
    pub async fn cluster_bury(&mut self, mut row: ClusterRow, now: Timestamp) -> Result<()> {
        port::Entity::delete_many()
            .filter(port::Column::ClusterId.eq(row.id))
            .exec(&self.0)
            .await?;
        self.revisions_delete(row.id, u32::MAX).await?;
        row.gone_at = Some(now.into());
        row.operation_id = None;
        row.leased = false;
        self.cluster_save(row).await
    }

    /// Says for all of a host's clusters whether the host lets them be offered.
    pub async fn clusters_schedulable(&mut self, host: Uuid, schedulable: bool) -> Result<()> {
        cluster::Entity::update_many()
            .col_expr(cluster::Column::Schedulable, Expr::value(schedulable))
            .filter(cluster::Column::HostId.eq(host))
            .filter(cluster::Column::GoneAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes the highest block that was seen of a cluster in a generation. A lower one than is known is no news.
    pub async fn cluster_height(&mut self, id: Uuid, generation: i64, height: i64) -> Result<()> {
        cluster::Entity::update_many()
            .col_expr(cluster::Column::Height, Expr::value(height))
            .filter(cluster::Column::Id.eq(id))
            .filter(cluster::Column::Generation.eq(generation))
            .filter(
                Condition::any()
                    .add(cluster::Column::Height.is_null())
                    .add(cluster::Column::Height.lt(height)),
            )
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes when the evidence on these clusters was last gathered, so that apply can tell fresh from stale.
    pub async fn clusters_checked(&mut self, ids: &[Uuid], at: Timestamp) -> Result<()> {
        cluster::Entity::update_many()
            .col_expr(cluster::Column::CheckedAt, Expr::value(at.0))
            .filter(cluster::Column::Id.is_in(ids.iter().copied()))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
