//! Settings of the installation, and its leadership.

use crate::{
    Conn, Result,
    entity::{leadership, setting},
};
use chainpool_api::Timestamp;
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

    /// Takes over the leadership of a scope and returns the new epoch.
    pub(crate) async fn leadership_take(&self, scope: &str, now: Timestamp) -> Result<i64> {
        let before = leadership::Entity::find_by_id(scope).one(&self.0).await?;
        let epoch = before.map_or(1, |row| row.epoch + 1);
        let row = leadership::ActiveModel {
            scope: Set(scope.to_owned()),
            holder: Set(format!("process {}", std::process::id())),
            epoch: Set(epoch),
            expires_at: Set(now.into()),
        };
        let columns = [
            leadership::Column::Holder,
            leadership::Column::Epoch,
            leadership::Column::ExpiresAt,
        ];
        let replace = OnConflict::column(leadership::Column::Scope)
            .update_columns(columns)
            .to_owned();
        leadership::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(&self.0)
            .await?;
        Ok(epoch)
    }
}
