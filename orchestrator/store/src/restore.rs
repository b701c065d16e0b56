//! Putting a backup back. The platform may hold more than the backup knows, so nothing may go on by itself afterwards:
//! the installation starts paused, and what was under way when the backup was made counts as failed.

use crate::{
    Conn, DATABASE, Error, Result,
    store::{connect, take_lock},
};
use chainpool_api::Timestamp;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Replaces the database of a stopped installation by a backup. Checks the backup first; until then nothing changes.
/// The master key of the folder must be the one that the backup was sealed with.
pub async fn restore(folder: &Path, backup: &Path) -> Result<()> {
    let _lock = take_lock(folder)?;
    let fresh = folder.join("restore.tmp");
    fs::copy(backup, &fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    let prepared = prepare(folder, &fresh).await;
    for suffix in ["-wal", "-shm"] {
        remove(&folder.join(format!("restore.tmp{suffix}")))?;
    }
    if let Err(error) = prepared {
        remove(&fresh)?;
        return Err(error);
    }
    for old in ["chainpool.db-wal", "chainpool.db-shm"] {
        remove(&folder.join(old))?;
    }
    fs::rename(&fresh, folder.join(DATABASE))?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

async fn prepare(folder: &Path, file: &Path) -> Result<()> {
    let connection = connect(file, 1, false).await?;
    let outcome = settle(folder, &connection).await;
    connection.close().await?;
    outcome
}

async fn settle(folder: &Path, connection: &DatabaseConnection) -> Result<()> {
    let conn = Conn(connection.clone());
    let key = crate::Key::load_or_make(&folder.join("master.key"))?;
    if conn.setting("master_key_id").await? != Some(key.id()) {
        return Err(Error::Key("master.key does not belong to this backup; put the right one into the data folder first".to_owned()));
    }
    let now = Timestamp::now().0;
    for sql in [
        "UPDATE operation SET state = 'failed', error = 'a backup was restored', ended_at = ? WHERE state IN ('queued', 'running')",
        "UPDATE cluster SET state = 'failed', health = 'unknown', health_reason = 'a backup was restored while it was being made or removed', \
         health_since = ? WHERE gone_at IS NULL AND state IN ('creating', 'resetting', 'deleting')",
    ] {
        connection.execute_raw(Statement::from_sql_and_values(connection.get_database_backend(), sql, [now.into()])).await?;
    }
    connection.execute_unprepared("UPDATE cluster SET operation_id = NULL").await?;
    conn.setting_put("paused", "true").await?;
    connection.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    Ok(())
}
