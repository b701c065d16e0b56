//! What went wrong in the store.

use sea_orm::{DbErr, RuntimeErr};

/// What a caller may branch on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unique index refused the row: somebody else was first.
    #[error("{0} exists already")]
    Taken(String),
    /// Another process works with this data folder.
    #[error("another chainpool works with {0}; stop it first")]
    Locked(String),
    /// The schema is newer than this program.
    #[error("the database was written by a newer chainpool ({0}); use that one")]
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
    /// The disk is full. Nothing was changed.
    #[error(
        "the server's disk is full, nothing was changed; free space on the file system of its data folder, then try again"
    )]
    StorageFull,
    /// The database said no.
    #[error("the database failed")]
    Database(#[source] DbErr),
    /// A file could not be read or written.
    #[error("a file of the data folder could not be read or written")]
    File(#[source] std::io::Error),
}

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `SQLite`'s result codes that say that there is no room: `SQLITE_FULL`, and `SQLITE_IOERR_SHMSIZE` where the shared memory
/// file beside the database cannot grow.
const FULL: [&str; 2] = ["13", "4874"];

/// `SQLite`'s result code of a database error.
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
            Some(sea_orm::SqlErr::UniqueConstraintViolation(what)) => Self::Taken(what),
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
