//! What every handler shares.

use chainpool_orchestrator::Orchestrator;

/// The façade, as the handlers' state.
#[derive(Clone)]
pub(crate) struct App {
    /// The middle.
    pub(crate) orchestrator: Orchestrator,
}
