//! State shared by all handlers.

use chainpool_orchestrator::Orchestrator;

/// The handlers' state.
#[derive(Clone)]
pub(crate) struct App {
    /// The orchestrator façade.
    pub(crate) orchestrator: Orchestrator,
}
