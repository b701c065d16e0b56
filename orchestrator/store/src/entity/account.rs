//! Accounts.

use crate::value::{EnumColumn, Moment, RowVersion};
use chainpool_api as api;
use sea_orm::entity::prelude::*;

/// A row of `account`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub role: EnumColumn<api::Role>,
    pub password: Option<String>,
    pub link: Option<Vec<u8>>,
    pub link_expires_at: Option<Moment>,
    pub created_at: Moment,
    pub row_version: RowVersion,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
