//! Why a request was refused, free of any transport.

use chainpool_api::Problem;
use std::collections::BTreeMap;

/// Why a request was refused. Each variant is one HTTP status and one exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields are wrong (400; 422 for `idempotency_key_reused`).
    #[error("{}", .0.message)]
    Invalid(Problem),
    /// Nobody knows who asks (401).
    #[error("sign in or send a token: Authorization: Bearer …")]
    Unauthenticated,
    /// The caller's role does not allow it (403).
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or it is not the caller's (404).
    #[error("there is no {noun} {name:?}")]
    NotFound {
        /// `host`, `cluster` …
        noun: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The state of things does not allow it now (409).
    #[error("{}", .0.message)]
    Conflict(Problem),
    /// Too many tries (429).
    #[error("too many tries; wait {0} s and try again")]
    TooMany(u64),
    /// The server's disk is full: nothing was changed (507).
    #[error("{0}")]
    StorageFull(String),
    /// A platform that is needed does not answer (503).
    #[error("{0}")]
    Unavailable(String),
    /// Our fault (500). The cause is logged, not told.
    #[error("something went wrong inside Chainpool; the server's log has the cause")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One field is wrong.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::fields(BTreeMap::from([(field.to_owned(), why)]))
    }

    /// Several fields are wrong.
    pub fn fields(fields: BTreeMap<String, String>) -> Self {
        let message = fields
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect::<Vec<_>>()
            .join("; ");
        Self::Invalid(Problem {
            code: "invalid".into(),
            message,
            fields,
            request_id: None,
        })
    }

    /// The state of things does not allow it now.
    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::Conflict(Problem {
            code: code.into(),
            message: message.into(),
            fields: BTreeMap::new(),
            request_id: None,
        })
    }

    /// There is no such thing.
    pub fn not_found(noun: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound {
            noun,
            name: name.into(),
        }
    }

    /// The HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(problem) if problem.code == "idempotency_key_reused" => 422,
            Self::Invalid(_) => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden(_) => 403,
            Self::NotFound { .. } => 404,
            Self::Conflict(_) => 409,
            Self::TooMany(_) => 429,
            Self::Unavailable(_) => 503,
            Self::StorageFull(_) => 507,
            Self::Internal(_) => 500,
        }
    }

    /// The body that says it to the caller.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Invalid(problem) | Self::Conflict(problem) => return problem.clone(),
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound { noun, .. } => {
                return Problem {
                    code: format!("{noun}_not_found"),
                    message: self.to_string(),
                    fields: BTreeMap::new(),
                    request_id: None,
                };
            }
            Self::TooMany(_) => "too_many",
            Self::Unavailable(_) => "unavailable",
            Self::StorageFull(_) => "storage_full",
            Self::Internal(_) => "internal",
        };
        Problem {
            code: code.into(),
            message: self.to_string(),
            fields: BTreeMap::new(),
            request_id: None,
        }
    }
}

impl Error {
    /// Our fault.
    pub(crate) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }
}

impl From<chainpool_store::Error> for Error {
    fn from(error: chainpool_store::Error) -> Self {
        match error {
            full @ chainpool_store::Error::StorageFull => Self::StorageFull(full.to_string()),
            chainpool_store::Error::Taken(what) => {
                Self::conflict("taken", format!("another request was first: {what}"))
            }
            other => Self::internal(other),
        }
    }
}

impl From<chainpool_agent::Error> for Error {
    fn from(error: chainpool_agent::Error) -> Self {
        match &error {
            chainpool_agent::Error::Unreachable(_)
            | chainpool_agent::Error::Busy(_)
            | chainpool_agent::Error::Dependency(_) => Self::Unavailable(error.to_string()),
            chainpool_agent::Error::Foreign(_) => Self::conflict("foreign", error.to_string()),
            chainpool_agent::Error::Refused(_)
            | chainpool_agent::Error::Setting { .. }
            | chainpool_agent::Error::Occupied { .. }
            | chainpool_agent::Error::Unsupported(_) => Self::conflict("refused", error.to_string()),
        }
    }
}
