//! The database file: opening, locking, reading, writing.

use crate::{
    Clock, Error, Key, Result, apply,
    file::remove,
    migration::Migrator,
    write::{WriteTransaction, Writer},
};
use chainpool_agent::InstanceId;
use chainpool_api::{Event, Noun, Timestamp};
use fs4::fs_std::FileExt;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, SqlxSqliteConnector, Statement};
use sea_orm_migration::MigratorTrait;
use sqlx::{
    ConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::broadcast;
use uuid::Uuid;

const READERS: u32 = 4;

/// The name of the database file in the data folder.
pub const DATABASE: &str = "chainpool.db";

/// The store. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    options: SqliteConnectOptions,
    read: DatabaseConnection,
    writer: Writer,
    master: Key,
    instance: InstanceId,
    epoch: i64,
    clock: Clock,
    events: broadcast::Sender<Event>,
    hook: Option<CommitHook>,
    apply: apply::Grants,
    lock: Mutex<Option<File>>,
}

/// Told right before and right after each commit, by the journal point's name. Crash tests stop the process there.
pub type CommitHook = Arc<dyn Fn(&'static str, bool) + Send + Sync>;

/// A connection to read from, or a transaction.
pub struct Conn<C>(pub(crate) C);

/// Reads what is committed.
pub type Reader = Conn<DatabaseConnection>;

/// One immediate write transaction. Dropping it changes nothing. After a failed statement every other one is refused, and so
/// is the commit.
pub struct Tx {
    conn: Conn<WriteTransaction>,
    changed: BTreeSet<(Noun, Uuid)>,
    store: Store,
}

impl std::ops::Deref for Tx {
    type Target = Conn<WriteTransaction>;
    fn deref(&self) -> &Self::Target {
        &self.conn
    }
}

impl Store {
    /// Opens the data folder, making it (0700) where there is none, takes its lock, and brings the schema up to date.
    pub async fn open(folder: &Path, hook: Option<CommitHook>) -> Result<Self> {
        let options = options(&folder.join(DATABASE))?;
        Self::open_by(folder, hook, options).await
    }

    /// The same with other options for every connection.
    pub(crate) async fn open_by(
        folder: &Path,
        hook: Option<CommitHook>,
        options: SqliteConnectOptions,
    ) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = take_lock(folder)?;
        let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            tracing::warn!(folder = %folder.display(), mode = format!("{mode:o}"), "other users can look into the data folder; chmod 0700 it");
        }
        sweep(folder)?;
        let master = Key::load_or_make(&folder.join("master.key"))?;
        let first = pool(options.clone().create_if_missing(true), 1).await?;
        fs::set_permissions(folder.join(DATABASE), fs::Permissions::from_mode(0o600))?;
        let migrated = migrate(&first).await;
        first.close().await?;
        migrated?;
        let writer = Writer::new(options.clone());
        let (instance, epoch) = begin_epoch(&writer, &master).await?;
        let read = pool(options.clone(), READERS).await?;
        let (events, _) = broadcast::channel(4096);
        let apply = apply::Grants::start(writer.clone(), events.clone());
        let inner = Inner {
            folder: folder.to_owned(),
            options,
            read,
            writer,
            master,
            instance,
            epoch,
            clock: Clock::default(),
            events,
            hook,
            apply,
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Reads what is committed.
    pub fn read(&self) -> Reader {
        Conn(self.inner.read.clone())
    }

    /// Begins to write. There is one writer at a time; the others wait here.
    pub async fn begin(&self) -> Result<Tx> {
        let transaction = self.inner.writer.begin().await?;
        Ok(Tx {
            conn: Conn(transaction),
            changed: BTreeSet::new(),
            store: self.clone(),
        })
    }

    /// What changes from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// This installation's identity.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// How often this database was opened: every write of an executor names it, so that a deposed one changes nothing.
    pub fn epoch(&self) -> i64 {
        self.inner.epoch
    }

    /// The key that wraps all others.
    pub fn master(&self) -> &Key {
        &self.inner.master
    }

    /// The guarded clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    #[cfg(test)]
    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    pub(crate) fn grants(&self) -> &apply::Grants {
        &self.inner.apply
    }

    /// Ends all work on the database and gives the data folder free, whoever still holds a clone.
    pub async fn close(&self) -> Result<()> {
        self.inner.read.close_by_ref().await?;
        self.inner.writer.close().await?;
        drop(
            self.inner
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        Ok(())
    }

    /// Writes a consistent copy of the database to a new file, whole or not at all.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        // SQLite reads a name that begins with `file:` as an address.
        let name = utf8(&std::path::absolute(path)?)?;
        // A long copy takes no reader away, and a failed one leaves no connection behind.
        let apart = pool(self.inner.options.clone(), 1).await?;
        let statement =
            Statement::from_sql_and_values(apart.get_database_backend(), "VACUUM INTO ?", [name.into()]);
        let copied = apart.execute_raw(statement).await;
        apart.close().await?;
        if let Err(error) = copied {
            remove(path)?;
            return Err(error.into());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Lets the database check itself: `ok`, or what it found.
    pub async fn check(&self) -> Result<String> {
        let row = self
            .inner
            .read
            .query_one_raw(Statement::from_string(
                self.inner.read.get_database_backend(),
                "PRAGMA quick_check(1)",
            ))
            .await?;
        Ok(row
            .map(|row| row.try_get_by_index(0))
            .transpose()?
            .unwrap_or_else(|| "the check gave no answer".to_owned()))
    }

    /// Writes a row and reads it back on another connection: a confirmed write must be visible.
    pub async fn check_write(&self) -> Result<()> {
        let written = Uuid::now_v7().to_string();
        let conn = Conn(self.inner.writer.begin().await?);
        conn.setting_put("write_check", &written).await?;
        conn.0.commit().await?;
        // Another check may have written meanwhile; ids grow.
        match self.read().setting("write_check").await? {
            Some(read) if read >= written => Ok(()),
            _ => Err(DbErr::Custom(
                "a confirmed write is not seen by readers: restart the server".to_owned(),
            )
            .into()),
        }
    }

    /// The reason why the newest write failed, until one succeeds.
    pub fn write_failure(&self) -> Option<String> {
        self.inner.writer.failure()
    }

    /// The database's size in bytes, with what is not merged yet.
    pub fn size_bytes(&self) -> u64 {
        let size = |name: &str| fs::metadata(self.inner.folder.join(name)).map_or(0, |meta| meta.len());
        size(DATABASE) + size(&format!("{DATABASE}-wal"))
    }
}

impl Tx {
    /// Notes that something changed, to be told after the commit.
    pub fn changed(&mut self, noun: Noun, id: Uuid) {
        self.changed.insert((noun, id));
    }

    /// Makes all of it true at once. `point` names the place in the journal.
    pub async fn commit(self, point: &'static str) -> Result<()> {
        let Self { conn, changed, store } = self;
        if let Some(hook) = &store.inner.hook {
            hook(point, false);
        }
        conn.0.commit().await?;
        for (noun, id) in changed {
            // Nobody listening is no failure: events are wake-ups, the rows are the truth.
            drop(store.inner.events.send(Event { noun, id }));
        }
        if let Some(hook) = &store.inner.hook {
            hook(point, true);
        }
        Ok(())
    }

    /// The store that this transaction belongs to.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

pub(crate) fn take_lock(folder: &Path) -> Result<File> {
    let lock = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("lock"))?;
    if FileExt::try_lock_exclusive(&lock)? {
        Ok(lock)
    } else {
        Err(Error::Locked(folder.display().to_string()))
    }
}

/// How a database file is opened. By its name, never as an address: any character may be in it.
pub(crate) fn options(file: &Path) -> Result<SqliteConnectOptions> {
    // SQLite reads a name that begins with `file:` as an address.
    let file = std::path::absolute(file)?;
    utf8(&file)?;
    Ok(SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(256)
        .foreign_keys(false)
        .disable_statement_logging())
}

/// Connections that are opened at once and stay.
pub(crate) async fn pool(options: SqliteConnectOptions, connections: u32) -> Result<DatabaseConnection> {
    let pool = SqlitePoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30));
    let pool = pool
        .connect_with(options)
        .await
        .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

fn utf8(path: &Path) -> Result<String> {
    let named = || {
        Error::Folder(format!(
            "{} is not valid UTF-8; choose a path that is",
            path.display()
        ))
    };
    path.to_str().map(ToOwned::to_owned).ok_or_else(named)
}

/// Removes files that a killed backup or restore left here.
fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let backup = name
            .strip_prefix("backup-")
            .and_then(|rest| rest.strip_suffix(".tmp"));
        if name.starts_with("restore.tmp") || backup.is_some_and(|id| id.parse::<Uuid>().is_ok()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

pub(crate) async fn migrate(connection: &DatabaseConnection) -> Result<()> {
    let known: BTreeSet<String> = Migrator::migrations()
        .iter()
        .map(|m| m.name().to_owned())
        .collect();
    Migrator::install(connection).await?;
    for applied in Migrator::get_migration_models(connection).await? {
        if !known.contains(&applied.version) {
            return Err(Error::TooNew(applied.version));
        }
    }
    Migrator::up(connection, None).await?;
    Ok(())
}

/// Reads or makes the instance id, checks that the master key is this database's, and counts the epoch up.
async fn begin_epoch(writer: &Writer, master: &Key) -> Result<(InstanceId, i64)> {
    let conn = Conn(writer.begin().await?);
    let instance = match conn.setting("instance").await? {
        Some(text) => text
            .parse()
            .map_err(|_| Error::Key("the database names no instance".to_owned()))?,
        None => {
            let instance = InstanceId::new();
            conn.setting_put("instance", &instance.to_string()).await?;
            instance
        }
    };
    match conn.setting("master_key_id").await? {
        Some(id) if id == master.id() => {}
        Some(_) => {
            return Err(Error::Key(
                "master.key does not belong to this database; put the right one back".to_owned(),
            ));
        }
        None => conn.setting_put("master_key_id", &master.id()).await?,
    }
    let epoch = conn.leadership_take("all", Timestamp::now()).await?;
    conn.0.commit().await?;
    Ok((instance, epoch))
}

#[cfg(test)]
mod tests;
