//! Tokens and sessions, by the SHA-256 of their secret.

use crate::value::Moment;
use sea_orm::entity::prelude::*;

/// A row of `token`.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "token")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub account_id: Uuid,
    pub name: String,
    pub digest: Vec<u8>,
    pub session: bool,
    pub lease_any: bool,
    pub created_at: Moment,
    pub expires_at: Option<Moment>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
