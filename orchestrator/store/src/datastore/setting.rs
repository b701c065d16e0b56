//! Settings of the installation.

use crate::{Conn, Result, entity::setting};
use sea_orm::{ConnectionTrait, EntityTrait, Set, sea_query::OnConflict};

impl<C: ConnectionTrait> Conn<C> {
    /// Reads a setting.
    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(setting::Entity::find_by_id(name)
            .one(&self.0)
            .await?
            .map(|row| row.value))
    }

    /// Writes a setting.
    pub async fn setting_put(&self, name: &str, value: &str) -> Result<()> {
        let row = setting::ActiveModel {
            name: Set(name.to_owned()),
            value: Set(value.to_owned()),
        };
        let replace = OnConflict::column(setting::Column::Name)
            .update_column(setting::Column::Value)
            .to_owned();
        setting::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }
}
