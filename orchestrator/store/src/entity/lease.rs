//! Leases, kept permanently as history.

use crate::value::{EnumColumn, Moment, RowVersion};
use chainpool_api as api;
use sea_orm::entity::prelude::*;

/// A row of `lease`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "lease")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub cluster_id: Uuid,
    pub holder: String,
    pub applied_by: String,
    pub filter: String,
    pub single: bool,
    pub state: EnumColumn<api::LeaseState>,
    pub created_at: Moment,
    pub expires_at: Option<Moment>,
    pub ended_at: Option<Moment>,
    pub operation_id: Option<Uuid>,
    pub row_version: RowVersion,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
