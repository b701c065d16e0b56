//! The journal of an operation.

use crate::value::{EnumColumn, Json, Moment};
use chainpool_api as api;
use sea_orm::entity::prelude::*;

/// A row of `step`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "step")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub operation_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub phase: i64,
    pub title: String,
    pub action: Json<serde_json::Value>,
    pub state: EnumColumn<api::StepState>,
    pub memo: Option<Json<serde_json::Value>>,
    pub note: Option<String>,
    pub started_at: Option<Moment>,
    pub ended_at: Option<Moment>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
