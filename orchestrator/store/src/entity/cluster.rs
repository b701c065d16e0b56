//! Clusters. A row with `deleted_at` belongs to a deleted cluster and is kept permanently.

use crate::value::{EnumColumn, Json, Moment, RowVersion};
use chainpool_agent::{Generation, NodeName};
use chainpool_api as api;
use sea_orm::entity::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A row of `cluster`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "cluster")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub host_id: Uuid,
    pub network_type: String,
    pub preset: String,
    pub version: String,
    pub consensus: String,
    pub size: i64,
    pub parameters: Json<serde_json::Value>,
    /// The original parameters if an amendment changed them; the next generation uses them again.
    pub created_with: Option<Json<serde_json::Value>>,
    pub labels: String,
    pub state: EnumColumn<api::ClusterState>,
    pub generation: Generation,
    pub chain_id: String,
    pub health: EnumColumn<api::HealthState>,
    pub health_reason: String,
    pub health_since: Moment,
    pub checked_at: Moment,
    pub height: Option<i64>,
    /// A permanent fault of this generation's ledger; only a reset clears it.
    pub ledger_fault: Option<String>,
    pub proof: Option<Json<api::Proof>>,
    pub leased: bool,
    pub schedulable: bool,
    pub operation_id: Option<Uuid>,
    pub subnet: Option<String>,
    /// The machine of each node by node name; empty if the platform chooses.
    pub machines: Json<BTreeMap<NodeName, String>>,
    pub memory_bytes: i64,
    pub fill_key: Option<String>,
    pub stopped_nodes: Json<BTreeSet<String>>,
    pub maintenance_until: Option<Moment>,
    pub last_started_at: Moment,
    pub created_at: Moment,
    pub ready_at: Option<Moment>,
    pub deleted_at: Option<Moment>,
    pub row_version: RowVersion,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
