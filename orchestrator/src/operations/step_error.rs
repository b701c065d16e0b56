//! The failure of a step.

use crate::Error;
use chainpool_api::OperationKind;
use tokio_util::sync::CancellationToken;

/// The failure of a step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// Superseded by another operation; ends without an error.
    #[error("superseded")]
    Superseded,
    /// Another step of the phase failed permanently and its error is the operation's, or the operation was
    /// superseded.
    #[error("another step has failed")]
    Cancelled,
    /// The platform returned an error.
    #[error(transparent)]
    Agent(#[from] chainpool_agent::Error),
    /// No registry of an image is reachable. Reported at once: someone may have to provide the image.
    #[error("{0}")]
    NoRegistry(String),
    /// The nodes' volumes are gone; nodes are not started without them.
    #[error("{0}")]
    LedgerLost(String),
    /// The deadline passed before the ledger was ready.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The store or the orchestrator failed.
    #[error(transparent)]
    Internal(#[from] Error),
}

impl From<chainpool_store::Error> for StepError {
    fn from(error: chainpool_store::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl StepError {
    /// Returns `true` if the server's own disk is full and nothing could be written.
    pub(crate) fn is_storage_full(&self) -> bool {
        matches!(self, Self::Internal(Error::StorageFull(_)))
    }

    /// Returns `true` if the executor retries.
    pub(crate) fn is_retryable(&self, kind: OperationKind) -> bool {
        match self {
            Self::Superseded
            | Self::Cancelled
            | Self::NoRegistry(_)
            | Self::LedgerLost(_)
            | Self::DeadlineExceeded(_) => false,
            Self::Agent(error) => error.is_transient() || kind == OperationKind::ClusterDelete,
            Self::Internal(error) => matches!(error, Error::Internal(_) | Error::StorageFull(_)),
        }
    }
}

/// Waits for work until another step of the phase fails or the operation is superseded.
pub(crate) async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, StepError> {
    cancel.run_until_cancelled(work).await.ok_or(StepError::Cancelled)
}
