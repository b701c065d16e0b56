//! Hosts.

use super::host_settings::{FillPause, HostSettings};
use crate::value::{EnumColumn, Json, Moment, RowVersion};
use chainpool_api as api;
use sea_orm::entity::prelude::*;
use std::collections::BTreeMap;

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
    pub schedulable: bool,
    pub autofill: bool,
    pub capacity: i64,
    pub settings: Json<HostSettings>,
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
