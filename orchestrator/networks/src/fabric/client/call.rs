//! Calls to nodes: their errors and time limits.

use std::{error::Error, future::Future, time::Duration};
use tokio::time::timeout;

/// Time limit of a connection.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);

/// Time limit of a query.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);

/// Time limit of an action on a node.
pub(crate) const ACTION: Duration = Duration::from_secs(30);

/// Largest accepted answer; Fabric's own message limit.
pub(crate) const MAX_ANSWER_BYTES: usize = 100 * 1024 * 1024;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// The node is unreachable or not yet ready; retry.
    #[error("{0}")]
    Unavailable(String),
    /// The node refused the call.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    /// The more informative of two errors: a refusal over an unavailable node.
    pub(crate) fn or(self, other: Self) -> Self {
        if matches!((&self, &other), (Self::Refused(_), Self::Unavailable(_))) {
            self
        } else {
            other
        }
    }

    /// Prefixes the error with its subject.
    pub(crate) fn of(self, who: &dyn std::fmt::Display) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(format!("{who}: {why}")),
            Self::Refused(why) => Self::Refused(format!("{who}: {why}")),
        }
    }
}

/// Applies a time limit.
pub(crate) async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    timeout(limit, what).await.unwrap_or_else(|_| {
        Err(CallError::Unavailable(format!(
            "no response within {} s",
            limit.as_secs()
        )))
    })
}

/// A transport error with its causes; its own text alone is not informative.
pub(crate) fn unavailable(error: &dyn Error) -> CallError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    CallError::Unavailable(text)
}
