//! Operations.

use crate::{Caller, Orchestrator, Result};
use chainpool_api as api;

impl Orchestrator {
    /// Lists operations.
    pub async fn operation_list(&self, filter: &api::OperationFilter) -> Result<api::Page<api::Operation>> {
        todo!()
    }

    /// One operation with its steps (a parent: its children as steps).
    pub async fn operation_show(&self, operation: uuid::Uuid) -> Result<api::Operation> {
        todo!()
    }

    /// What changes from now on. A receiver that falls behind is told so and reads again.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<api::Event> {
        todo!()
    }
}
