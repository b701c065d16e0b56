//! Errors of the store.

use sea_orm::{DbErr, RuntimeErr};

/// An error that a caller may branch on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unique index rejected the row: a concurrent request was first.
    #[error("{0} already exists")]
    AlreadyExists(String),
    /// The row was changed or deleted after it was read; nothing was changed. Read it again and retry.
    #[error("the {0} was changed by a concurrent request; retry")]
    Overtaken(&'static str),
    /// Another process uses this data folder.
    #[error("another chainpool process uses {0}; stop it first")]
    Locked(String),
    /// The schema is newer than this version.
    #[error("the database was written by a newer chainpool ({0}); use that version")]
    TooNew(String),
    /// A key is missing or wrong.
    #[error("{0}")]
    Key(String),
    /// The data folder cannot be used.
    #[error("{0}")]
    Folder(String),
    /// The backup cannot be restored.
    #[error("{0}")]
    Backup(String),
    /// The disk is full; nothing was changed.
    #[error(
        "the server's disk is full and nothing was changed; free space on the file system of its data folder, then retry"
    )]
    StorageFull,
    /// The database returned an error.
    #[error("database error")]
    Database(#[source] DbErr),
    /// A file could not be read or written.
    #[error("cannot read or write a file in the data folder")]
    File(#[source] std::io::Error),
}

/// The result of a store call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `SQLite`'s result codes for a full disk: `SQLITE_FULL`, and `SQLITE_IOERR_SHMSIZE` where the shared memory
/// file beside the database cannot grow.
const FULL: [&str; 2] = ["13", "4874"];

/// Returns `SQLite`'s result code of a database error.
fn code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))
    | DbErr::Conn(RuntimeErr::SqlxError(cause))) = error
    else {
        return None;
    };
    cause
        .as_database_error()?
        .code()
        .map(std::borrow::Cow::into_owned)
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(sea_orm::SqlErr::UniqueConstraintViolation(constraint)) => Self::AlreadyExists(constraint),
            _ if code(&error).is_some_and(|code| FULL.contains(&code.as_str())) => Self::StorageFull,
            _ => Self::Database(error),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::StorageFull,
            _ => Self::File(error),
        }
    }
}
