//! Putting a backup back. The platform may hold more than the backup knows, so nothing may go on by itself afterwards:
//! the installation starts paused, and what was under way when the backup was made counts as failed.
//!
//! The backup is a foreign file. All checks run on a copy, the schema's before anything is written to it, and the copy
//! takes the database's place only when all of them passed. The previous database is kept beside it.

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

/// The copy that is checked and then takes the database's place.
const FRESH: &str = "restore.tmp";
/// The database that was replaced, beside the new one.
const KEPT: &str = "chainpool.db.before-restore";

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The previous database; `None` if there was none.
    pub kept: Option<PathBuf>,
}

/// Replaces the database of a stopped installation by a backup. Checks the backup first; until then nothing changes.
/// The master key of the folder must be the one that the backup was sealed with. Sessions and one-time links end.
pub async fn restore(folder: &Path, backup: &Path) -> Result<Restored> {
    let _lock = take_lock(folder)?;
    let missing = || {
        Error::Key(
            "there is no master.key in the data folder; put the one that belongs to this backup there first"
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

    // Functions that the file's own schema calls are off until the schema is known to be ours.
    let wary = SqliteConnectOptions::new()
        .filename(std::path::absolute(fresh)?)
        .foreign_keys(false)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .disable_statement_logging();
    let connection = pool(wary, 1).await.map_err(damaged)?;
    let checked = check(key, &connection).await;
    connection.close().await?;
    checked?;

    let connection = pool(options(fresh)?, 1).await?;
    let settled = settle(&connection).await;
    connection.close().await?;
    settled?;
    Ok(fs::File::open(fresh)?.sync_all()?)
}

/// Reports a database error as damage of the backup; other errors stay as they are.
fn damaged(error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Database(cause) => Error::Backup(format!(
            "the backup is damaged, or is no backup of Chainpool: {cause}"
        )),
        other => other,
    }
}

/// Refuses a backup that is damaged, newer, or not ours. Only reads.
async fn check(key: &Key, connection: &DatabaseConnection) -> Result<()> {
    let rows = ask(connection, "PRAGMA integrity_check(1)")
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
                found.unwrap_or("the check gave no answer")
            )));
        }
    }
    if !ask(connection, "PRAGMA foreign_key_check")
        .await
        .map_err(damaged)?
        .is_empty()
    {
        return Err(Error::Backup(
            "the backup is damaged: rows of it refer to others that are not there".to_owned(),
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
            "the backup is no database of this Chainpool: its {kind} {name} is not as it should be"
        )));
    }
    if Conn(connection.clone()).setting("master_key_id").await? != Some(key.id()) {
        return Err(Error::Key(
            "master.key does not belong to this backup; put the right one into the data folder first"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn ask(connection: &DatabaseConnection, sql: &str) -> Result<Vec<QueryResult>, sea_orm::DbErr> {
    connection
        .query_all_raw(Statement::from_string(connection.get_database_backend(), sql))
        .await
}

/// The number of migrations that the backup has. They must be the first of ours.
async fn applied(connection: &DatabaseConnection) -> Result<u32> {
    let rows = ask(
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
            "the backup is no database of Chainpool: changes of its schema are missing".to_owned(),
        ));
    }
    u32::try_from(versions.len())
        .map_err(|_| Error::Backup("the backup has too many changes of its schema".to_owned()))
}

/// Kind, name and definition of everything in the schema but `SQLite`'s own indexes and statistics.
async fn schema(
    connection: &DatabaseConnection,
) -> Result<BTreeSet<(String, String, String)>, sea_orm::DbErr> {
    let rows = ask(
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
        let statistics = kind == "table" && name.starts_with("sqlite_stat");
        if own_index || statistics {
            continue;
        }
        // The table of migrations is a library's, which may word it anew.
        let sql = if name == "seaql_migrations" {
            String::new()
        } else {
            sql.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        schema.insert((kind, name, sql));
    }
    Ok(schema)
}

/// Migrates the copy, reads its rows, and ends operations, sessions and links that cannot go on.
async fn settle(connection: &DatabaseConnection) -> Result<()> {
    migrate(connection).await?;
    let conn = Conn(connection.clone());
    readable(&conn).await.map_err(damaged)?;
    let now = Timestamp::now().0;
    for sql in [
        "UPDATE operation SET state = 'failed', error = 'a backup was restored', ended_at = ? WHERE state IN ('queued', 'running')",
        "UPDATE cluster SET state = 'failed', health = 'unknown', health_reason = 'a backup was restored while it was being made or removed', \
         health_since = ? WHERE gone_at IS NULL AND state IN ('creating', 'resetting', 'deleting')",
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
        "UPDATE cluster SET operation_id = NULL",
        // A sign-out since the backup, or a link that was used since, must not be undone.
        "DELETE FROM token WHERE session",
        "UPDATE account SET link = NULL, link_expires_at = NULL",
    ] {
        connection.execute_unprepared(sql).await?;
    }
    conn.setting_put("paused", "true").await?;
    connection
        .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
        .await?;
    Ok(())
}

/// Reads every row that the server lists, so that an unreadable one is found before the restore.
async fn readable(conn: &Conn<DatabaseConnection>) -> Result<()> {
    drop(conn.hosts().await?);
    drop(conn.clusters().await?);
    drop(conn.leases_active().await?);
    drop(conn.operations_live().await?);
    drop(conn.accounts().await?);
    drop(conn.tokens(None).await?);
    Ok(())
}

/// Gives the checked copy the database's name, which is present at every moment.
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

/// Gives the previous database a second name that is not in use yet.
async fn keep(folder: &Path, database: &Path) -> Result<PathBuf> {
    // The WAL of a killed server is merged first. A damaged database is kept unmerged, with its WAL beside it.
    if let Ok(connection) = pool(options(database)?, 1).await {
        if let Err(error) = connection
            .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
            .await
        {
            tracing::warn!(%error, "the WAL of the previous database cannot be merged; both are kept as they are");
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

/// A link, where the file system has such; a copy else. Never over another file.
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
