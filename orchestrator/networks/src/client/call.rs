//! Errors and time limits of calls.

use std::{error::Error, future::Future, time::Duration};
use tokio::time::timeout;

/// Time limit of a connection.
pub(crate) const CONNECT: Duration = Duration::from_secs(1);

/// Time limit of a query.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);

/// Time limit of an action on a node.
pub(crate) const ACTION: Duration = Duration::from_secs(30);

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection or response in time; retry.
    #[error("{0}")]
    TimedOut(String),
    /// The node is unreachable or not yet ready, or another process answers; retry.
    #[error("{0}")]
    Unavailable(String),
    /// The node refused the call.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    /// Returns true if another attempt may succeed: the node did not refuse the call.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Unavailable(_) => true,
            Self::Refused(_) => false,
        }
    }

    /// The more informative of two errors: a refusal over an unavailable node.
    pub(crate) fn or(self, other: Self) -> Self {
        if !self.is_transient() && other.is_transient() {
            self
        } else {
            other
        }
    }

    /// Changes the text.
    pub(crate) fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::TimedOut(why) => Self::TimedOut(change(why)),
            Self::Unavailable(why) => Self::Unavailable(change(why)),
            Self::Refused(why) => Self::Refused(change(why)),
        }
    }

    /// Prefixes the error with its subject.
    pub(crate) fn of(self, who: &dyn std::fmt::Display) -> Self {
        self.map(|why| format!("{who}: {why}"))
    }
}

/// Applies a time limit to a call.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    limited("no response", limit, call).await
}

/// Applies the time limit of a connection.
pub(crate) async fn connected<T>(
    connect: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    limited("no connection", CONNECT, connect).await
}

async fn limited<T>(
    missing: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let late = |_| CallError::TimedOut(format!("{missing} within {} s", limit.as_secs()));
    timeout(limit, call).await.map_err(late)?
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_final_and_the_more_informative_error() {
        let late = CallError::TimedOut("late".to_owned());
        let absent = CallError::Unavailable("absent".to_owned());
        let refused = CallError::Refused("no".to_owned());
        assert_eq!(
            [&late, &absent, &refused].map(CallError::is_transient),
            [true, true, false]
        );
        assert_eq!(refused.clone().or(late.clone()), refused);
        assert_eq!(late.clone().or(refused.clone()), refused);
        assert_eq!(late.or(absent.clone()), absent);
        assert_eq!(absent.of(&"node0").to_string(), "node0: absent");
    }

    #[tokio::test]
    async fn a_late_answer_is_an_error() {
        let never = std::future::pending::<Result<(), _>>();
        assert_eq!(
            within(Duration::ZERO, never).await,
            Err(CallError::TimedOut("no response within 0 s".to_owned()))
        );
        let soon = std::future::ready(Ok(7));
        assert_eq!(within(ANSWER, soon).await, Ok(7));
    }
}
