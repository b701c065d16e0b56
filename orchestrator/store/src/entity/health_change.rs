//! Health history.

use crate::value::{EnumColumn, Json, Moment};
use chainpool_agent::Generation;
use chainpool_api as api;
use sea_orm::entity::prelude::*;

/// A row of `health_change`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "health_change")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub cluster_id: Uuid,
    pub generation: Generation,
    pub state: EnumColumn<api::HealthState>,
    pub reason: String,
    pub evidence: Option<Json<api::Evidence>>,
    pub at: Moment,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
