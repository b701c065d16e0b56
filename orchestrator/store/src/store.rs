//! The database file: opening, locking, reading, writing.

use crate::{
    Clock, Error, Key, Result,
    apply::{ApplyOutcome, ApplyRequest, Grants},
    datastore::{OfferFilter, fresh_since},
    file::remove,
    migration::Migrator,
    outbox::{self, SequencedEvent, notify},
    write::{Priority, WriteTransaction, Writer},
};
use chainpool_agent::InstanceId;
use chainpool_api::{Noun, Timestamp};
use chainpool_health::Assessment;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, SqlxSqliteConnector, Statement};
use sea_orm_migration::MigratorTrait;
use sqlx::{
    ConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File, TryLockError},
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

/// The store. Cheap to clone; all clones share one state.
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
    events: broadcast::Sender<SequencedEvent>,
    hook: Option<CommitHook>,
    apply: Grants,
    evidence_max_age: Duration,
    lock: Mutex<Option<File>>,
}

/// Called right before and right after each commit with the name of the journal point. Crash tests stop the
/// process there.
pub type CommitHook = Arc<dyn Fn(&'static str, bool) + Send + Sync>;

/// A connection to read from, or a transaction.
pub struct Conn<C>(pub(crate) C);

/// A reader of committed data.
pub type Reader = Conn<DatabaseConnection>;

/// One immediate write transaction. Dropping it rolls it back. After a failed statement, all further
/// statements and the commit are refused.
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
    /// Like [`Self::open_with_policy`], with the default policy.
    pub async fn open(folder: &Path, hook: Option<CommitHook>) -> Result<Self> {
        Self::open_with_policy(folder, hook, &Assessment::default()).await
    }

    /// Opens the data folder, creating it (0700) if missing, takes its lock, and updates the schema.
    pub async fn open_with_policy(
        folder: &Path,
        hook: Option<CommitHook>,
        policy: &Assessment,
    ) -> Result<Self> {
        let options = options(&folder.join(DATABASE))?;
        Self::open_by(folder, hook, policy, options).await
    }

    /// Like [`Self::open_with_policy`], with other options for every connection.
    pub(crate) async fn open_by(
        folder: &Path,
        hook: Option<CommitHook>,
        policy: &Assessment,
        options: SqliteConnectOptions,
    ) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = take_lock(folder)?;
        let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            tracing::warn!(folder = %folder.display(), mode = format!("{mode:o}"), "other users can read the data folder; run chmod 0700 on it");
        }
        remove_leftovers(folder)?;
        let master = Key::load_or_create(&folder.join("master.key"))?;
        let first = pool(options.clone().create_if_missing(true), 1).await?;
        fs::set_permissions(folder.join(DATABASE), fs::Permissions::from_mode(0o600))?;
        let migrated = migrate(&first).await;
        first.close().await?;
        migrated?;
        let writer = Writer::new(options.clone());
        let (instance, epoch) = begin_epoch(&writer, &master).await?;
        let read = pool(options.clone(), READERS).await?;
        #[cfg(any(test, feature = "testing"))]
        let read = crate::query_count::counted(read, folder);
        let (events, _) = broadcast::channel(4096);
        let apply = Grants::start(writer.clone(), events.clone(), policy.evidence_max_age);
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
            evidence_max_age: policy.evidence_max_age,
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns a reader of committed data.
    pub fn read(&self) -> Reader {
        Conn(self.inner.read.clone())
    }

    /// Begins a write transaction that a caller waits for. There is one writer at a time; the others wait here.
    pub async fn begin(&self) -> Result<Tx> {
        self.begin_as(Priority::Request).await
    }

    /// Begins a write transaction of an operation or of the watchdog. While others wait, at most one of these
    /// precedes each request.
    pub async fn begin_background(&self) -> Result<Tx> {
        self.begin_as(Priority::Background).await
    }

    /// Begins a write transaction of this class.
    pub async fn begin_as(&self, priority: Priority) -> Result<Tx> {
        let transaction = self.inner.writer.begin(priority).await?;
        Ok(Tx {
            conn: Conn(transaction),
            changed: BTreeSet::new(),
            store: self.clone(),
        })
    }

    /// Subscribes to changes, in the order of their sequences. A receiver that missed some reads them by
    /// [`Conn::events_after`].
    pub fn events(&self) -> broadcast::Receiver<SequencedEvent> {
        self.inner.events.subscribe()
    }

    /// This installation's identity.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// The number of times this database was opened. Every write of an executor carries it, so that a
    /// superseded executor changes nothing.
    pub fn epoch(&self) -> i64 {
        self.inner.epoch
    }

    /// Returns `true` if this process works on a host: it runs the host's operations, and assesses and repairs
    /// its clusters.
    pub async fn leads(&self, host: Uuid) -> Result<bool> {
        self.read().is_led_by(host, self.epoch()).await
    }

    /// Lists the hosts that this process works on.
    pub async fn hosts_led(&self) -> Result<HashSet<Uuid>> {
        self.read().hosts_led(self.epoch()).await
    }

    /// The key that wraps all others.
    pub fn master(&self) -> &Key {
        &self.inner.master
    }

    /// The jump-checked clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Time of the oldest evidence of an offered cluster.
    pub fn fresh_since(&self, now: Timestamp) -> Timestamp {
        fresh_since(now, self.inner.evidence_max_age)
    }

    /// Filters by what an apply may lease now; `false`: all others.
    pub fn offer_filter(&self, offered: bool) -> OfferFilter {
        OfferFilter {
            offered,
            fresh_since: self.fresh_since(Timestamp::now()),
        }
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    #[cfg(test)]
    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    /// Leases a free cluster; `None` if no free cluster matches. Repeating the request returns the same
    /// lease.
    pub async fn apply(&self, request: ApplyRequest) -> Result<Option<ApplyOutcome>> {
        self.inner.apply.apply(request).await
    }

    /// Closes the database and releases the lock of the data folder, even if clones exist.
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

    /// Writes a consistent copy of the database to a new file, all or nothing.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        // SQLite parses a name that starts with `file:` as a URL.
        let name = utf8(&std::path::absolute(path)?)?;
        // A separate connection: a long copy blocks no reader, and a failed one leaves no connection behind.
        let separate = pool(self.inner.options.clone(), 1).await?;
        let statement =
            Statement::from_sql_and_values(separate.get_database_backend(), "VACUUM INTO ?", [name.into()]);
        let copied = separate.execute_raw(statement).await;
        separate.close().await?;
        if let Err(error) = copied {
            remove(path)?;
            return Err(error.into());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Runs the database's integrity check. Returns `ok` or the problem.
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
            .unwrap_or_else(|| "the check returned no result".to_owned()))
    }

    /// Writes a row and reads it back on another connection: a confirmed write must be visible.
    pub async fn check_write(&self) -> Result<()> {
        let written = Uuid::now_v7().to_string();
        // Not in the background queue, which has no time limit: the check has to notice that the writer hangs.
        let conn = Conn(self.inner.writer.begin(Priority::Request).await?);
        conn.setting_put("write_check", &written).await?;
        conn.0.commit().await?;
        // A concurrent check may have written a newer value; ids are ordered by time.
        match self.read().setting("write_check").await? {
            Some(read) if read >= written => Ok(()),
            _ => Err(
                DbErr::Custom("readers do not see a confirmed write; restart the server".to_owned()).into(),
            ),
        }
    }

    /// The reason of the latest write failure; cleared by a successful write.
    pub fn write_failure(&self) -> Option<String> {
        self.inner.writer.failure()
    }

    /// The size of the database in bytes, including the WAL.
    pub fn size_bytes(&self) -> u64 {
        let size = |name: &str| fs::metadata(self.inner.folder.join(name)).map_or(0, |meta| meta.len());
        size(DATABASE) + size(&format!("{DATABASE}-wal"))
    }
}

impl Tx {
    /// Records a change: the commit writes it to the outbox, and listeners are notified afterwards.
    pub fn changed(&mut self, noun: Noun, id: Uuid) {
        self.changed.insert((noun, id));
    }

    /// Commits the transaction. `point` names the place in the journal.
    pub async fn commit(self, point: &'static str) -> Result<()> {
        let Self { conn, changed, store } = self;
        if let Some(hook) = &store.inner.hook {
            hook(point, false);
        }
        let events = outbox::record(&conn.0, changed).await?;
        let notify = || notify(&store.inner.events, events);
        conn.0.commit_then(point, notify).await?;
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
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(folder.display().to_string())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The options for opening a database file. The path is never parsed as a URL, so it may contain any
/// character.
pub(crate) fn options(file: &Path) -> Result<SqliteConnectOptions> {
    // SQLite parses a name that starts with `file:` as a URL.
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

/// A pool of connections that are opened at once and kept.
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
            "{} is not valid UTF-8; choose another path",
            path.display()
        ))
    };
    path.to_str().map(ToOwned::to_owned).ok_or_else(named)
}

/// Removes leftover files of an interrupted backup or restore.
fn remove_leftovers(folder: &Path) -> Result<()> {
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

/// Reads or creates the instance id, checks that the master key belongs to this database, and increments the
/// epoch.
async fn begin_epoch(writer: &Writer, master: &Key) -> Result<(InstanceId, i64)> {
    let conn = Conn(writer.begin(Priority::Request).await?);
    let instance = match conn.setting("instance").await? {
        Some(text) => text
            .parse()
            .map_err(|_| Error::Key("the database has no valid instance id".to_owned()))?,
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
                "master.key does not belong to this database; restore the right one".to_owned(),
            ));
        }
        None => conn.setting_put("master_key_id", &master.id()).await?,
    }
    let epoch = conn.leadership_take(Timestamp::now()).await?;
    conn.0.commit().await?;
    Ok((instance, epoch))
}

#[cfg(test)]
mod tests;
