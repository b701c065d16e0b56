//! What went wrong in the store.

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
    /// The database said no.
    #[error("the database failed")]
    Database(#[source] sea_orm::DbErr),
    /// A file could not be read or written.
    #[error("a file of the data folder could not be read or written")]
    File(#[from] std::io::Error),
}

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<sea_orm::DbErr> for Error {
    fn from(error: sea_orm::DbErr) -> Self {
        match error.sql_err() {
            Some(sea_orm::SqlErr::UniqueConstraintViolation(what)) => Self::Taken(what),
            _ => Self::Database(error),
        }
    }
}
