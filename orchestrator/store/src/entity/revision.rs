//! The rendered spec of each generation, with sealed secret content.

use crate::value::{Json, Moment};
use chainpool_agent::{ClusterSpec, Generation, ImageRef};
use sea_orm::entity::prelude::*;
use std::collections::BTreeMap;

/// A row of `revision`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "revision")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub cluster_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation: Generation,
    pub spec: Json<ClusterSpec>,
    pub sealed: Vec<u8>,
    pub images: Json<BTreeMap<String, ImageRef>>,
    pub created_at: Moment,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
