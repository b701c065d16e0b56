//! Waiting within a step: polls with a growing pause until the deadline.

use crate::operations::step_error::StepError;
use chainpool_api::Timestamp;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// The longest pause between two polls.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The deadline of a step, and its reported progress.
pub(crate) struct StepDeadline {
    at: Option<Timestamp>,
    progress: watch::Sender<Option<String>>,
}

impl StepDeadline {
    pub(crate) fn until(at: Option<Timestamp>) -> Self {
        Self {
            at,
            progress: watch::Sender::new(None),
        }
    }

    /// Subscribes to the step's progress messages.
    pub(crate) fn messages(&self) -> watch::Receiver<Option<String>> {
        self.progress.subscribe()
    }
}

/// Pauses between polls, a little longer each time, until the deadline. A slow poll gets a longer pause, so
/// that polling a busy machine does not slow down the work it waits for.
pub(crate) struct Backoff<'a> {
    pause: Duration,
    polled_at: Instant,
    deadline: &'a StepDeadline,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(deadline: &'a StepDeadline) -> Self {
        Self {
            pause: Duration::from_millis(25),
            polled_at: Instant::now(),
            deadline,
        }
    }

    pub(crate) async fn wait(&mut self, waiting_for: String) -> Result<(), StepError> {
        if self.deadline.at.is_some_and(|at| Timestamp::now() >= at) {
            return Err(StepError::DeadlineExceeded(waiting_for));
        }
        self.deadline.progress.send_replace(Some(waiting_for));
        tokio::time::sleep(self.pause.max(self.polled_at.elapsed() * 3).min(LONGEST_PAUSE)).await;
        self.pause = (self.pause * 5 / 4).min(LONGEST_PAUSE);
        self.polled_at = Instant::now();
        Ok(())
    }

    /// Returns the platform's answer, or `None` after a pause if the error is transient.
    pub(crate) async fn unless_transient<T>(
        &mut self,
        answer: chainpool_agent::Result<T>,
    ) -> Result<Option<T>, StepError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_transient() => match self.wait(error.to_string()).await {
                Ok(()) => Ok(None),
                // The platform was the cause, not the ledger.
                Err(StepError::DeadlineExceeded(_)) => Err(error.into()),
                Err(other) => Err(other),
            },
            Err(error) => Err(error.into()),
        }
    }
}
