//! Errors of requests, independent of any transport.

use chainpool_api::Problem;
use std::collections::BTreeMap;

/// A failed request. Each variant maps to one HTTP status and one exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Invalid fields (400; 422 for `idempotency_key_reused`).
    #[error("{}", .0.message)]
    Invalid(Problem),
    /// Missing or invalid credentials (401).
    #[error("sign in or send a token: Authorization: Bearer …")]
    Unauthenticated,
    /// The caller's role does not allow it (403).
    #[error("{0}")]
    Forbidden(String),
    /// The resource does not exist or is not visible to the caller (404).
    #[error("there is no {noun} {name:?}")]
    NotFound {
        /// `host`, `cluster` …
        noun: &'static str,
        /// The requested name or id.
        name: String,
    },
    /// The current state does not allow the request (409).
    #[error("{}", .0.message)]
    Conflict(Problem),
    /// Too many attempts (429).
    #[error("too many attempts; retry in {0} s")]
    TooMany(u64),
    /// The server's disk is full; nothing was changed (507).
    #[error("{0}")]
    StorageFull(String),
    /// A required platform is unreachable (503).
    #[error("{0}")]
    Unavailable(String),
    /// Internal error (500). The cause is logged and not returned.
    #[error("internal error; see the server's log for the cause")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One invalid field.
    pub fn field(field: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::fields(BTreeMap::from([(field.to_owned(), why)]))
    }

    /// Several invalid fields.
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

    /// The current state does not allow the request.
    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::Conflict(Problem {
            code: code.into(),
            message: message.into(),
            fields: BTreeMap::new(),
            request_id: None,
        })
    }

    /// The resource does not exist.
    pub fn not_found(noun: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound {
            noun,
            name: name.into(),
        }
    }

    /// The HTTP status of this error.
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

    /// The response body of this error.
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
    /// An internal error.
    pub(crate) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }
}

impl From<chainpool_store::Error> for Error {
    fn from(error: chainpool_store::Error) -> Self {
        match error {
            full @ chainpool_store::Error::StorageFull => Self::StorageFull(full.to_string()),
            chainpool_store::Error::AlreadyExists(what) => Self::conflict(
                "taken",
                format!("conflict: {what} was taken by a concurrent request; retry"),
            ),
            overtaken @ chainpool_store::Error::Overtaken(_) => {
                Self::conflict("taken", format!("conflict: {overtaken}"))
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
