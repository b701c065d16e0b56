//! How a step waits: between looks, until its deadline.

use crate::step::StepError;
use chainpool_api::Timestamp;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a step may wait, and what it says it waits for.
pub(crate) struct Wait {
    deadline: Option<Timestamp>,
    told: watch::Sender<Option<String>>,
}

impl Wait {
    pub(crate) fn until(deadline: Option<Timestamp>) -> Self {
        Self {
            deadline,
            told: watch::Sender::new(None),
        }
    }

    /// What the step says from now on.
    pub(crate) fn words(&self) -> watch::Receiver<Option<String>> {
        self.told.subscribe()
    }
}

/// Waits between looks, a little longer each time, until the deadline. A look that takes long, because the machine is
/// busy, is not repeated at once: looking must not slow down what it waits for.
pub(crate) struct Patience<'a> {
    pause: Duration,
    looked_at: Instant,
    wait: &'a Wait,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(wait: &'a Wait) -> Self {
        Self {
            pause: Duration::from_millis(25),
            looked_at: Instant::now(),
            wait,
        }
    }

    pub(crate) async fn wait(&mut self, missing: String) -> Result<(), StepError> {
        if self.wait.deadline.is_some_and(|at| Timestamp::now() >= at) {
            return Err(StepError::Late(missing));
        }
        self.wait.told.send_replace(Some(missing));
        tokio::time::sleep(self.pause.max(self.looked_at.elapsed() * 3).min(LONGEST_PAUSE)).await;
        self.pause = (self.pause * 5 / 4).min(LONGEST_PAUSE);
        self.looked_at = Instant::now();
        Ok(())
    }

    /// What the platform answered; `None`, after a pause, when it may answer later.
    pub(crate) async fn unless_transient<T>(
        &mut self,
        answer: chainpool_agent::Result<T>,
    ) -> Result<Option<T>, StepError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_transient() => match self.wait(error.to_string()).await {
                Ok(()) => Ok(None),
                // What it waited for is the platform, not the ledger.
                Err(StepError::Late(_)) => Err(error.into()),
                Err(other) => Err(other),
            },
            Err(error) => Err(error.into()),
        }
    }
}
