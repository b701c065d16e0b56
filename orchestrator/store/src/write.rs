//! The one writer. A confirmed write is durable, or it is not confirmed.
//!
//! After some failures, a full disk among them, `SQLite` ends a transaction by itself. Statements that follow on such a
//! connection would each be a transaction of its own, and a library that counts transactions would go on inside one that
//! is never committed. Therefore a connection is handed out for one transaction, and is used again only when `SQLite`
//! confirmed its `COMMIT` or `ROLLBACK`. After a failed or cancelled statement it is closed, which
//! rolls back, and the next transaction opens a fresh one. `BEGIN IMMEDIATE` checks the state before each use:
//! `SQLite` refuses it inside a transaction.

use crate::{Error, Result};
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
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard, OwnedMutexGuard},
    time::timeout,
};

/// How long a transaction waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one writer. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Writer {
    options: Arc<SqliteConnectOptions>,
    slot: Arc<Mutex<Slot>>,
    failure: Arc<Lock<Option<String>>>,
}

/// The connection that is kept for the next transaction.
enum Slot {
    /// A connection that is outside a transaction, if there is one.
    Idle(Option<SqliteConnection>),
    /// The store was closed.
    Closed,
}

/// One immediate write transaction. After a failed or cancelled statement it refuses every other, and cannot be committed.
pub struct WriteTransaction {
    /// Absent while a statement runs, and for good once one failed or was cancelled.
    connection: Mutex<Option<SqliteConnection>>,
    /// The writer's turn; the next transaction begins when it is dropped.
    turn: Option<OwnedMutexGuard<Slot>>,
    /// Whether a row was changed: a commit of nothing does not show that the disk takes writes.
    wrote: AtomicBool,
    writer: Writer,
}

impl Writer {
    /// A writer that opens its connections in this way.
    pub(crate) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options: Arc::new(options),
            slot: Arc::new(Mutex::new(Slot::Idle(None))),
            failure: Arc::default(),
        }
    }

    /// Begins to write. There is one transaction at a time; the others wait here.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction> {
        let waited = timeout(PATIENCE, Arc::clone(&self.slot).lock_owned()).await;
        let mut turn =
            waited.map_err(|_| DbErr::Custom(format!("the writer was busy for {} s", PATIENCE.as_secs())))?;
        let Slot::Idle(kept) = &mut *turn else {
            return Err(DbErr::Custom("the database is closed".to_owned()).into());
        };
        // From here on it is ours alone: should this future be dropped, it is closed.
        let kept = kept.take();
        let connection = self.begin_on(kept).await.map_err(|error| self.failed(error))?;
        Ok(WriteTransaction {
            connection: Mutex::new(Some(connection)),
            turn: Some(turn),
            wrote: AtomicBool::new(false),
            writer: self.clone(),
        })
    }

    async fn begin_on(&self, kept: Option<SqliteConnection>) -> Result<SqliteConnection, DbErr> {
        if let Some(mut kept) = kept {
            match command("BEGIN IMMEDIATE").execute(&mut kept).await {
                Ok(_) => return Ok(kept),
                Err(error) => {
                    tracing::warn!(%error, "the writer's connection cannot begin a transaction; it is replaced")
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

    /// The newest failure, until a commit succeeds.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, failure: Option<String>) {
        let before = std::mem::replace(
            &mut *self.failure.lock().unwrap_or_else(PoisonError::into_inner),
            failure.clone(),
        );
        match (before, failure) {
            (None, Some(why)) => tracing::error!(why, "the database takes no writes"),
            (Some(_), None) => tracing::info!("the database takes writes again"),
            _ => {}
        }
    }

    /// Notes a failure that is the database's, not the statement's.
    fn failed(&self, error: DbErr) -> DbErr {
        match Error::from(error.clone()) {
            Error::Taken(_) => {}
            full @ Error::StorageFull => self.note(Some(full.to_string())),
            _ => self.note(Some(format!("a write failed: {error}"))),
        }
        error
    }

    /// Waits for the transaction under way and ends all writing.
    pub(crate) async fn close(&self) -> Result<(), DbErr> {
        let slot = std::mem::replace(&mut *self.slot.lock().await, Slot::Closed);
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
    /// Makes all of it durable. After an error nothing of it was confirmed.
    pub(crate) async fn commit(mut self) -> Result<(), DbErr> {
        let mut connection = self.connection.get_mut().take().ok_or_else(ended)?;
        if let Err(error) = command("COMMIT").execute(&mut connection).await {
            return Err(self.writer.failed(DbErr::Exec(cause(error))));
        }
        if let Some(turn) = &mut self.turn {
            keep(turn, connection);
        }
        if *self.wrote.get_mut() {
            self.writer.note(None);
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
        let connection = place.take().ok_or_else(ended)?;
        Ok(Hold { place, connection })
    }
}

/// Rolls back at once. Without a runtime closing the connection does it.
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
                        tracing::warn!(%error, "a transaction was not rolled back; its connection is closed")
                    }
                }
            });
        }
    }
}

/// A connection while a statement runs on it. Dropped before the statement succeeded, it takes the connection along.
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
        let done = done.map_err(|error| self.writer.failed(DbErr::Exec(cause(error))))?;
        hold.release();
        self.note_rows(done.rows_affected() > 0);
        Ok(done.into())
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut hold = self.hold().await?;
        let done = hold.connection.execute(AssertSqlSafe(sql.to_owned())).await;
        let done = done.map_err(|error| self.writer.failed(DbErr::Exec(cause(error))))?;
        hold.release();
        Ok(done.into())
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut hold = self.hold().await?;
        let row = query(&statement).fetch_optional(&mut hold.connection).await;
        let row = row.map_err(|error| self.writer.failed(DbErr::Query(cause(error))))?;
        hold.release();
        self.note_rows(row.is_some() && changes(&statement));
        Ok(row.map(Into::into))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut hold = self.hold().await?;
        let rows = query(&statement).fetch_all(&mut hold.connection).await;
        let rows = rows.map_err(|error| self.writer.failed(DbErr::Query(cause(error))))?;
        hold.release();
        self.note_rows(!rows.is_empty() && changes(&statement));
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

fn keep(turn: &mut Slot, connection: SqliteConnection) {
    if let Slot::Idle(kept) = turn {
        *kept = Some(connection);
    }
}

/// Whether a statement that answers rows changed them.
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

fn ended() -> DbErr {
    DbErr::Custom("the transaction has ended: a statement of it failed or was cancelled before".to_owned())
}

#[cfg(test)]
mod tests;
