//! The database file: opening, locking, reading, writing.

use crate::{Clock, Error, Key, Result, apply, migration::Migrator};
use chainpool_agent::InstanceId;
use chainpool_api::{Event, Noun, Timestamp};
use fs4::fs_std::FileExt;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
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
    read: DatabaseConnection,
    write: DatabaseConnection,
    master: Key,
    instance: InstanceId,
    epoch: i64,
    clock: Clock,
    events: broadcast::Sender<Event>,
    hook: Option<CommitHook>,
    apply: apply::Writer,
    lock: Mutex<Option<File>>,
}

/// Told right before and right after each commit, by the journal point's name. Crash tests stop the process there.
pub type CommitHook = Arc<dyn Fn(&'static str, bool) + Send + Sync>;

/// A connection to read from, or a transaction.
pub struct Conn<C>(pub(crate) C);

/// Reads what is committed.
pub type Reader = Conn<DatabaseConnection>;

/// One immediate write transaction. Dropping it changes nothing.
pub struct Tx {
    conn: Conn<DatabaseTransaction>,
    changed: BTreeSet<(Noun, Uuid)>,
    store: Store,
}

impl std::ops::Deref for Tx {
    type Target = Conn<DatabaseTransaction>;
    fn deref(&self) -> &Self::Target {
        &self.conn
    }
}

impl Store {
    /// Opens the data folder, making it (0700) where there is none, takes its lock, and brings the schema up to date.
    pub async fn open(folder: &Path, hook: Option<CommitHook>) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = take_lock(folder)?;
        let master = Key::load_or_make(&folder.join("master.key"))?;
        let file = folder.join(DATABASE);
        let write = connect(&file, 1, true).await?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        migrate(&write).await?;
        let read = connect(&file, READERS, false).await?;
        let (instance, epoch) = begin_epoch(&Conn(write.clone()), &master).await?;
        let (events, _) = broadcast::channel(4096);
        let apply = apply::Writer::start(write.clone(), events.clone());
        let inner = Inner {
            folder: folder.to_owned(),
            read,
            write,
            master,
            instance,
            epoch,
            clock: Clock::default(),
            events,
            hook,
            apply,
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads what is committed.
    pub fn read(&self) -> Reader {
        Conn(self.inner.read.clone())
    }

    /// Begins to write. There is one writer at a time; the others wait here.
    pub async fn begin(&self) -> Result<Tx> {
        let options =
            TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..TransactionOptions::default() };
        let transaction = self.inner.write.begin_with_options(options).await?;
        Ok(Tx { conn: Conn(transaction), changed: BTreeSet::new(), store: self.clone() })
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

    pub(crate) fn apply_writer(&self) -> &apply::Writer {
        &self.inner.apply
    }

    /// Ends all work on the database and gives the data folder free, whoever still holds a clone.
    pub async fn close(&self) -> Result<()> {
        self.inner.read.close_by_ref().await?;
        self.inner.write.close_by_ref().await?;
        drop(self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }

    /// Writes a consistent copy of the database to a new file.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let statement = Statement::from_sql_and_values(
            self.inner.read.get_database_backend(),
            "VACUUM INTO ?",
            [path.to_string_lossy().into_owned().into()],
        );
        self.inner.read.execute_raw(statement).await?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Lets the database check itself: `ok`, or what it found.
    pub async fn check(&self) -> Result<String> {
        let row =
            self.inner.read.query_one_raw(Statement::from_string(self.inner.read.get_database_backend(), "PRAGMA quick_check(1)")).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_else(|| "the check gave no answer".to_owned()))
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
    let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    if FileExt::try_lock_exclusive(&lock)? { Ok(lock) } else { Err(Error::Locked(folder.display().to_string())) }
}

pub(crate) async fn connect(file: &Path, connections: u32, create: bool) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(format!("sqlite:{}", file.display()));
    options.min_connections(connections).max_connections(connections).sqlx_logging(false).acquire_timeout(Duration::from_secs(30));
    options.map_sqlx_sqlite_opts(move |options| {
        options
            .create_if_missing(create)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .statement_cache_capacity(256)
            .foreign_keys(false)
    });
    Ok(Database::connect(options).await?)
}

async fn migrate(connection: &DatabaseConnection) -> Result<()> {
    let known: BTreeSet<String> = Migrator::migrations().iter().map(|m| m.name().to_owned()).collect();
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
async fn begin_epoch(conn: &Conn<DatabaseConnection>, master: &Key) -> Result<(InstanceId, i64)> {
    let instance = match conn.setting("instance").await? {
        Some(text) => text.parse().map_err(|_| Error::Key("the database names no instance".to_owned()))?,
        None => {
            let instance = InstanceId::new();
            conn.setting_put("instance", &instance.to_string()).await?;
            instance
        }
    };
    match conn.setting("master_key_id").await? {
        Some(id) if id == master.id() => {}
        Some(_) => return Err(Error::Key("master.key does not belong to this database; put the right one back".to_owned())),
        None => conn.setting_put("master_key_id", &master.id()).await?,
    }
    let epoch = conn.leadership_take("all", Timestamp::now()).await?;
    Ok((instance, epoch))
}
