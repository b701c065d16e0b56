//! Restore of a backup. The platform may hold objects that the backup does not know, so nothing may run
//! automatically afterwards: the installation starts paused, and operations that were unfinished at the time
//! of the backup count as failed.
//!
//! The backup is untrusted. All checks run on a copy; the schema is checked before anything is written to it.
//! The copy replaces the database only after all checks passed. The previous database is kept beside it.

use crate::{
    Conn, DATABASE, Error, Key, Result,
    file::{open_regular, remove, sync_folder},
    migration::Migrator,
    store::{migrate, options, pool, take_lock},
};
use chainpool_api::Timestamp;
use sea_orm::{ConnectionTrait, DatabaseConnection, QueryResult, Statement};
use sea_orm_migration::MigratorTrait;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The copy that is checked and then replaces the database.
const FRESH: &str = "restore.tmp";
/// The replaced database, beside the new one.
const KEPT: &str = "chainpool.db.before-restore";

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The previous database; `None` if there was none.
    pub kept: Option<PathBuf>,
}

/// Replaces the database of a stopped installation with a backup. Nothing changes until the backup has passed
/// all checks. The folder must contain the master key that sealed the backup. Sessions and one-time links are
/// revoked.
pub async fn restore(folder: &Path, backup: &Path) -> Result<Restored> {
    let _lock = take_lock(folder)?;
    let missing = || {
        Error::Key(
            "there is no master.key in the data folder; first copy the master.key of this backup there"
                .to_owned(),
        )
    };
    let key = Key::load(&folder.join("master.key"))?.ok_or_else(missing)?;
    let fresh = folder.join(FRESH);
    let outcome = prepare(&key, backup, &fresh).await;
    let outcome = match outcome {
        Ok(()) => replace(folder, &fresh).await,
        Err(error) => Err(error),
    };
    clear(&fresh)?;
    outcome
}

/// Removes the copy and `SQLite`'s files beside it.
fn clear(fresh: &Path) -> Result<()> {
    ["", "-wal", "-shm", "-journal"]
        .iter()
        .try_for_each(|suffix| remove(&beside(fresh, suffix)))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Copies the backup, checks the copy, and prepares it for the next start.
async fn prepare(key: &Key, backup: &Path, fresh: &Path) -> Result<()> {
    clear(fresh)?;
    let mut from =
        open_regular(backup).map_err(|error| Error::Backup(format!("the backup cannot be read: {error}")))?;
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;

    // Functions called by the file's schema stay disabled until the schema is verified.
    let restricted = SqliteConnectOptions::new()
        .filename(std::path::absolute(fresh)?)
        .foreign_keys(false)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging();
    let connection = pool(restricted, 1).await.map_err(damaged)?;
    let checked = check(key, &connection).await;
    connection.close().await?;
    checked?;

    let connection = pool(options(fresh)?, 1).await?;
    let finalized = finalize(&connection).await;
    connection.close().await?;
    finalized?;
    Ok(fs::File::open(fresh)?.sync_all()?)
}

/// Reports a database error as a damaged backup; passes other errors on.
fn damaged(error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Database(cause) => Error::Backup(format!(
            "the backup is damaged or not a Chainpool backup: {cause}"
        )),
        other => other,
    }
}

/// Refuses a backup that is damaged, newer, or not from this installation. Reads only.
async fn check(key: &Key, connection: &DatabaseConnection) -> Result<()> {
    let rows = query(connection, "PRAGMA integrity_check(1)")
        .await
        .map_err(damaged)?;
    match rows
        .first()
        .map(|row| row.try_get_by_index::<String>(0))
        .transpose()?
        .as_deref()
    {
        Some("ok") => {}
        found => {
            return Err(Error::Backup(format!(
                "the backup is damaged: {}",
                found.unwrap_or("the check returned no result")
            )));
        }
    }
    if !query(connection, "PRAGMA foreign_key_check")
        .await
        .map_err(damaged)?
        .is_empty()
    {
        return Err(Error::Backup(
            "the backup is damaged: it has dangling references".to_owned(),
        ));
    }
    let applied = applied(connection).await?;
    let reference = pool(
        SqliteConnectOptions::new()
            .foreign_keys(false)
            .disable_statement_logging(),
        1,
    )
    .await?;
    Migrator::up(&reference, Some(applied)).await?;
    let (found, ours) = (
        schema(connection).await.map_err(damaged)?,
        schema(&reference).await?,
    );
    reference.close().await?;
    if let Some((kind, name, _)) = found.symmetric_difference(&ours).next() {
        return Err(Error::Backup(format!(
            "the backup is not a database of this version: its {kind} {name} differs"
        )));
    }
    if Conn(connection.clone()).setting("master_key_id").await? != Some(key.id()) {
        return Err(Error::Key(
            "master.key does not belong to this backup; first copy the right one into the data folder"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn query(connection: &DatabaseConnection, sql: &str) -> Result<Vec<QueryResult>, sea_orm::DbErr> {
    connection
        .query_all_raw(Statement::from_string(connection.get_database_backend(), sql))
        .await
}

/// The number of migrations in the backup, which must be a prefix of ours.
async fn applied(connection: &DatabaseConnection) -> Result<u32> {
    let rows = query(
        connection,
        "SELECT version FROM seaql_migrations ORDER BY version",
    )
    .await
    .map_err(damaged)?;
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let versions = rows
        .iter()
        .map(|row| row.try_get_by_index(0))
        .collect::<Result<Vec<String>, _>>()
        .map_err(damaged)?;
    if let Some(unknown) = versions.iter().find(|version| !known.contains(version)) {
        return Err(Error::TooNew(unknown.clone()));
    }
    if versions.is_empty() || !known.starts_with(&versions) {
        return Err(Error::Backup(
            "the backup is not a Chainpool database: schema migrations are missing".to_owned(),
        ));
    }
    u32::try_from(versions.len())
        .map_err(|_| Error::Backup("the backup has too many schema migrations".to_owned()))
}

/// Kind, name and definition of every schema object except `SQLite`'s own indexes and tables.
async fn schema(
    connection: &DatabaseConnection,
) -> Result<BTreeSet<(String, String, String)>, sea_orm::DbErr> {
    let rows = query(
        connection,
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema",
    )
    .await?;
    let mut schema = BTreeSet::new();
    for row in rows {
        let (kind, name, sql): (String, String, String) = (
            row.try_get_by_index(0)?,
            row.try_get_by_index(1)?,
            row.try_get_by_index(2)?,
        );
        let own_index = kind == "index" && sql.is_empty() && name.starts_with("sqlite_autoindex_");
        let own_table = kind == "table" && (name.starts_with("sqlite_stat") || name == "sqlite_sequence");
        if own_index || own_table {
            continue;
        }
        // A library defines the migrations table and may change its definition.
        let sql = if name == "seaql_migrations" {
            String::new()
        } else {
            sql.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        schema.insert((kind, name, sql));
    }
    Ok(schema)
}

/// Migrates the copy, reads its rows, fails unfinished operations, and revokes sessions and links.
async fn finalize(connection: &DatabaseConnection) -> Result<()> {
    migrate(connection).await?;
    let conn = Conn(connection.clone());
    readable(&conn).await.map_err(damaged)?;
    let now = Timestamp::now().0;
    for sql in [
        "UPDATE operation SET state = 'failed', error = 'a backup was restored', ended_at = ?, row_version = row_version + 1 WHERE state IN ('queued', 'running')",
        "UPDATE cluster SET state = 'failed', health = 'unknown', health_reason = 'a backup was restored while it was being created or deleted', \
         health_since = ?, row_version = row_version + 1 WHERE deleted_at IS NULL AND state IN ('creating', 'resetting', 'deleting')",
    ] {
        connection
            .execute_raw(Statement::from_sql_and_values(
                connection.get_database_backend(),
                sql,
                [now.into()],
            ))
            .await?;
    }
    for sql in [
        "UPDATE cluster SET operation_id = NULL, row_version = row_version + 1 WHERE operation_id IS NOT NULL",
        // The restore must not undo a sign-out or the use of a link since the backup.
        "DELETE FROM token WHERE session",
        "UPDATE account SET link = NULL, link_expires_at = NULL, row_version = row_version + 1 WHERE link IS NOT NULL",
    ] {
        connection.execute_unprepared(sql).await?;
    }
    conn.setting_put("paused", "true").await?;
    connection
        .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
        .await?;
    Ok(())
}

/// Reads every row that the server lists, to find unreadable rows before the restore.
async fn readable(conn: &Conn<DatabaseConnection>) -> Result<()> {
    drop(conn.hosts().await?);
    drop(conn.clusters().await?);
    drop(conn.leases_active().await?);
    drop(conn.operations_live().await?);
    drop(conn.accounts().await?);
    drop(conn.tokens(None).await?);
    Ok(())
}

/// Renames the checked copy to the database's name, which exists at every moment.
async fn replace(folder: &Path, fresh: &Path) -> Result<Restored> {
    let database = folder.join(DATABASE);
    let kept = if database.try_exists()? {
        Some(keep(folder, &database).await?)
    } else {
        None
    };
    for suffix in ["-wal", "-shm"] {
        remove(&beside(&database, suffix))?;
    }
    fs::rename(fresh, &database)?;
    sync_folder(folder)?;
    Ok(Restored { kept })
}

/// Gives the previous database a second, unused name.
async fn keep(folder: &Path, database: &Path) -> Result<PathBuf> {
    // Merge the WAL of a killed server first. A damaged database is kept unmerged, with its WAL beside it.
    if let Ok(connection) = pool(options(database)?, 1).await {
        if let Err(error) = connection
            .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
            .await
        {
            tracing::warn!(%error, "the WAL of the previous database cannot be merged; keeping both files");
        }
        connection.close().await?;
    }
    let mut number = 1_u32;
    loop {
        let kept = folder.join(if number == 1 {
            KEPT.to_owned()
        } else {
            format!("{KEPT}-{number}")
        });
        match second_name(database, &kept) {
            Ok(()) => {
                let log = beside(database, "-wal");
                if log.try_exists()? {
                    second_name(&log, &beside(&kept, "-wal"))?;
                }
                sync_folder(folder)?;
                return Ok(kept);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Creates a hard link, or a copy if the file system has no links. Never overwrites a file.
fn second_name(file: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let mut copy = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(name)?;
            io::copy(&mut fs::File::open(file)?, &mut copy)?;
            copy.sync_all()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests;
