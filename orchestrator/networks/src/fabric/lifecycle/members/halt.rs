//! Reason why a channel lacks members.

use crate::client::call::CallError;
use chainpool_agent::NodeName;

/// Reason why a channel lacks members, and the stalled orderer, if any.
pub(crate) struct Halt {
    pub(crate) why: CallError,
    pub(crate) stalled: Option<NodeName>,
}

impl From<CallError> for Halt {
    fn from(why: CallError) -> Self {
        Self { why, stalled: None }
    }
}
