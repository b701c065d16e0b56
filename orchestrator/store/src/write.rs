//! The single writer. A write is confirmed only once it is durable.
//!
//! After some failures, such as a full disk, `SQLite` ends a transaction on its own. Further statements on
//! that connection would each be their own transaction, and a library that counts transactions would continue
//! inside a transaction that is never committed. Therefore a connection is handed out for one transaction and reused
//! only after `SQLite` confirmed its `COMMIT` or `ROLLBACK`. After a failed or cancelled statement the
//! connection is closed, which rolls back, and the next transaction opens a new one. `BEGIN IMMEDIATE` checks
//! the state before each use: `SQLite` refuses it inside a transaction.

mod queue;

pub use queue::Priority;

use crate::{Error, Result};
use queue::{Queue, Turn};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, Sqlite, SqliteConnection, query::Query,
    sqlite::SqliteConnectOptions,
};
use std::{
    sync::{
        Arc, Mutex as Lock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard},
};

/// How long a transaction waits for the previous ones.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The single writer. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(crate) struct Writer {
    options: Arc<SqliteConnectOptions>,
    queue: Queue<Slot>,
    failure: Arc<Lock<Option<String>>>,
}

/// The connection kept for the next transaction.
enum Slot {
    /// An idle connection outside a transaction, if any.
    Idle(Option<SqliteConnection>),
    /// The store was closed.
    Closed,
}

/// One immediate write transaction. After a failed or cancelled statement it refuses all further statements
/// and the commit.
pub struct WriteTransaction {
    /// Absent while a statement runs, and permanently after one failed or was cancelled.
    connection: Mutex<Option<SqliteConnection>>,
    /// The exclusive use of the writer; dropping it lets the next transaction begin.
    turn: Option<Turn<Slot>>,
    /// Set once a row changed: an empty commit does not show that the disk accepts writes.
    wrote: AtomicBool,
    writer: Writer,
    times: Times,
}

/// The time that a transaction waited for the writer, and when it began.
#[derive(Clone, Copy)]
struct Times {
    waited: Duration,
    began: Instant,
}

impl Writer {
    /// Creates a writer that opens connections with these options.
    pub(crate) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options: Arc::new(options),
            queue: Queue::new(Slot::Idle(None)),
            failure: Arc::default(),
        }
    }

    /// Begins a write transaction. There is one at a time; the others wait here, in the order of [`queue`].
    pub(crate) async fn begin(&self, priority: Priority) -> Result<WriteTransaction> {
        let asked = Instant::now();
        let waited = self.queue.turn(priority, BEGIN_TIMEOUT).await;
        let mut turn = waited.map_err(|_| busy())?;
        let Slot::Idle(idle) = &mut *turn else {
            return Err(DbErr::Custom("the database is closed".to_owned()).into());
        };
        let times = Times {
            waited: asked.elapsed(),
            began: Instant::now(),
        };
        // The connection is now owned by this future: if the future is dropped, the connection is closed.
        let idle = idle.take();
        let connection = self
            .begin_on(idle)
            .await
            .map_err(|error| self.record_failure(error))?;
        Ok(WriteTransaction {
            connection: Mutex::new(Some(connection)),
            turn: Some(turn),
            wrote: AtomicBool::new(false),
            writer: self.clone(),
            times,
        })
    }

    async fn begin_on(&self, idle: Option<SqliteConnection>) -> Result<SqliteConnection, DbErr> {
        if let Some(mut idle) = idle {
            match command("BEGIN IMMEDIATE").execute(&mut idle).await {
                Ok(_) => return Ok(idle),
                Err(error) => {
                    tracing::warn!(%error, "the writer's connection cannot begin a transaction; replacing it");
                }
            }
        }
        let mut fresh = self
            .options
            .connect()
            .await
            .map_err(|error| DbErr::Conn(cause(error)))?;
        command("BEGIN IMMEDIATE")
            .execute(&mut fresh)
            .await
            .map_err(|error| DbErr::Exec(cause(error)))?;
        Ok(fresh)
    }

    /// The latest failure; cleared by a successful commit.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_failure(&self, failure: Option<String>) {
        let before = std::mem::replace(
            &mut *self.failure.lock().unwrap_or_else(PoisonError::into_inner),
            failure.clone(),
        );
        match (before, failure) {
            (None, Some(why)) => tracing::error!(why, "the database rejects writes"),
            (Some(_), None) => tracing::info!("the database accepts writes again"),
            _ => {}
        }
    }

    /// Records a failure of the database, not of the statement.
    fn record_failure(&self, error: DbErr) -> DbErr {
        match Error::from(error.clone()) {
            Error::AlreadyExists(_) => {}
            full @ Error::StorageFull => self.set_failure(Some(full.to_string())),
            _ => self.set_failure(Some(format!("a write failed: {error}"))),
        }
        error
    }

    /// Waits for the current transaction and stops all writing.
    pub(crate) async fn close(&self) -> Result<(), DbErr> {
        let turn = self.queue.turn(Priority::Request, Duration::MAX).await;
        let slot = std::mem::replace(&mut *turn.map_err(|_| busy())?, Slot::Closed);
        match slot {
            Slot::Idle(Some(connection)) => connection
                .close()
                .await
                .map_err(|error| DbErr::Conn(cause(error))),
            Slot::Idle(None) | Slot::Closed => Ok(()),
        }
    }
}

impl WriteTransaction {
    /// Commits durably. After an error nothing was confirmed.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        self.commit_then("setting", || {}).await
    }

    /// Like [`Self::commit`]; calls `then` before the next transaction can begin. `point` names the transaction in the
    /// log.
    pub(crate) async fn commit_then(mut self, point: &'static str, then: impl FnOnce()) -> Result<(), DbErr> {
        let mut connection = self.connection.get_mut().take().ok_or_else(transaction_ended)?;
        if let Err(error) = command("COMMIT").execute(&mut connection).await {
            return Err(self.writer.record_failure(DbErr::Exec(cause(error))));
        }
        then();
        let Times { waited, began } = self.times;
        tracing::debug!(point, ?waited, used = ?began.elapsed(), "committed");
        if let Some(turn) = &mut self.turn {
            keep(turn, connection);
        }
        if *self.wrote.get_mut() {
            self.writer.set_failure(None);
        }
        Ok(())
    }

    fn note_rows(&self, changed: bool) {
        if changed {
            self.wrote.store(true, Ordering::Relaxed);
        }
    }

    async fn hold(&self) -> Result<Hold<'_>, DbErr> {
        let mut place = self.connection.lock().await;
        let connection = place.take().ok_or_else(transaction_ended)?;
        Ok(Hold { place, connection })
    }
}

/// Rolls back immediately. Without a runtime, closing the connection rolls back.
impl Drop for WriteTransaction {
    fn drop(&mut self) {
        let (Some(mut connection), Some(mut turn)) = (self.connection.get_mut().take(), self.turn.take())
        else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                match command("ROLLBACK").execute(&mut connection).await {
                    Ok(_) => keep(&mut turn, connection),
                    Err(error) => {
                        tracing::warn!(%error, "a transaction could not be rolled back; closing its connection");
                    }
                }
            });
        }
    }
}

/// A connection while a statement runs on it. If it is dropped before the statement succeeded, the connection
/// is closed.
struct Hold<'a> {
    place: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Hold<'_> {
    fn release(mut self) {
        *self.place = Some(self.connection);
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for WriteTransaction {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut hold = self.hold().await?;
        let done = query(&statement).execute(&mut hold.connection).await;
        let done = done.map_err(|error| self.writer.record_failure(DbErr::Exec(cause(error))))?;
        hold.release();
        self.note_rows(done.rows_affected() > 0);
        Ok(done.into())
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut hold = self.hold().await?;
        let done = hold.connection.execute(AssertSqlSafe(sql.to_owned())).await;
        let done = done.map_err(|error| self.writer.record_failure(DbErr::Exec(cause(error))))?;
        hold.release();
        Ok(done.into())
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut hold = self.hold().await?;
        let row = query(&statement).fetch_optional(&mut hold.connection).await;
        let row = row.map_err(|error| self.writer.record_failure(DbErr::Query(cause(error))))?;
        hold.release();
        self.note_rows(row.is_some() && changes(&statement));
        Ok(row.map(Into::into))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut hold = self.hold().await?;
        let rows = query(&statement).fetch_all(&mut hold.connection).await;
        let rows = rows.map_err(|error| self.writer.record_failure(DbErr::Query(cause(error))))?;
        hold.release();
        self.note_rows(!rows.is_empty() && changes(&statement));
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

fn keep(turn: &mut Slot, connection: SqliteConnection) {
    if let Slot::Idle(idle) = turn {
        *idle = Some(connection);
    }
}

/// Returns `true` if a statement that returns rows changed them.
fn changes(statement: &Statement) -> bool {
    !statement.sql.starts_with("SELECT")
}

fn query(statement: &Statement) -> Query<'_, Sqlite, SqlxValues> {
    let values = statement
        .values
        .clone()
        .unwrap_or_else(|| sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql.as_str()), SqlxValues(values))
}

fn command(sql: &'static str) -> Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
    sqlx::query(sql)
}

fn cause(error: sqlx::Error) -> RuntimeErr {
    RuntimeErr::SqlxError(Arc::new(error))
}

fn busy() -> DbErr {
    DbErr::Custom(format!("the writer was busy for {} s", BEGIN_TIMEOUT.as_secs()))
}

fn transaction_ended() -> DbErr {
    DbErr::Custom("the transaction has ended: a previous statement failed or was cancelled".to_owned())
}

#[cfg(test)]
mod tests;
