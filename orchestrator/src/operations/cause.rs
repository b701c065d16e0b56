//! The author and the reason of an operation.

use crate::Caller;
use uuid::Uuid;

/// The author and the reason of an operation.
#[derive(Clone)]
pub(crate) struct Cause {
    pub(crate) author: String,
    pub(crate) reason: String,
    pub(crate) parent: Option<Uuid>,
}

impl Cause {
    pub(crate) fn of(caller: &Caller, reason: impl Into<String>) -> Self {
        Self {
            author: caller.account.clone(),
            reason: reason.into(),
            parent: None,
        }
    }

    pub(crate) fn watchdog(reason: impl Into<String>) -> Self {
        Self::of(&Caller::watchdog(), reason)
    }

    pub(crate) fn part_of(&self, parent: Uuid) -> Self {
        Self {
            parent: Some(parent),
            ..self.clone()
        }
    }
}
