//! Hosts.

use crate::value::{EnumColumn, Json, Moment, RowVersion};
use chainpool_api::{self as api, Timestamp};
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The failures of a fill policy entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillPause {
    /// Consecutive failures.
    pub failures: u32,
    /// The reason of the latest failure.
    pub reason: String,
    /// The time of the next attempt.
    pub next_at: Timestamp,
}

/// A row of `host`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "host")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub platform: EnumColumn<api::Platform>,
    pub address: String,
    pub engine_id: String,
    pub state: EnumColumn<api::HostState>,
    pub reason: String,
    pub since: Moment,
    pub settings: Json<api::HostSettings>,
    pub sealed: Option<Vec<u8>>,
    pub fill_state: Json<BTreeMap<String, FillPause>>,
    pub maintenance_until: Option<Moment>,
    pub info: Option<Json<api::HostPlatform>>,
    pub created_at: Moment,
    pub row_version: RowVersion,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
