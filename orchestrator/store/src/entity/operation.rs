//! Accepted operations.

use crate::value::{EnumColumn, Json, Moment, RowVersion};
use chainpool_agent::Generation;
use chainpool_api as api;
use sea_orm::entity::prelude::*;

/// A row of `operation`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "operation")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub kind: EnumColumn<api::OperationKind>,
    pub state: EnumColumn<api::OperationState>,
    pub host_id: Uuid,
    pub cluster_id: Option<Uuid>,
    pub generation: Generation,
    pub parent_id: Option<Uuid>,
    pub author: String,
    pub reason: String,
    pub arguments: Json<serde_json::Value>,
    pub result: Option<Json<serde_json::Value>>,
    pub error: Option<String>,
    pub epoch: i64,
    pub deadline_at: Option<Moment>,
    pub created_at: Moment,
    pub started_at: Option<Moment>,
    pub ended_at: Option<Moment>,
    pub row_version: RowVersion,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
