//! The state of the whole.

use crate::{Caller, Orchestrator, Result};
use chainpool_api as api;

impl Orchestrator {
    /// The state of the whole.
    pub async fn status(&self) -> Result<api::Status> {
        todo!()
    }

    /// Ends the pause after a restore.
    pub async fn resume(&self, caller: &Caller) -> Result<()> {
        todo!()
    }

    /// A consistent copy of the database, never with the master key, as a file that vanishes when closed.
    pub async fn backup(&self, caller: &Caller) -> Result<std::fs::File> {
        todo!()
    }

    /// What can be made, and with which parameters.
    pub fn network_types(&self) -> Vec<api::NetworkType> {
        todo!()
    }
}
