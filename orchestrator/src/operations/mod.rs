//! Changes: from an accepted request to its recorded outcome. Every change takes the same path: admission in
//! one transaction, plan, journaled steps, completion in one transaction.

pub(crate) mod admission;
pub(crate) mod amendment;
mod autofill;
pub(crate) mod cause;
mod completion;
mod deadline;
mod executor;
mod fillup;
mod generation;
pub(crate) mod health_history;
mod outcome;
pub(crate) mod plan;
mod relocation;
mod render;
mod render_limit;
pub(crate) mod running;
mod stalled_nodes;
mod step;
mod step_context;
mod step_deadline;
mod step_error;
pub(crate) mod supersede;
pub(crate) mod volumes;

use crate::{placement::Placement, runtime::Runtime};
use chainpool_store::Store;
use render_limit::RenderLimit;
use running::RunningOperations;
use std::sync::Arc;

/// The admission and the execution of operations.
pub(crate) struct Operations {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) running: RunningOperations,
    renders: RenderLimit,
}

impl Operations {
    pub(crate) fn new(placement: Arc<Placement>) -> Self {
        Self {
            runtime: Arc::clone(&placement.runtime),
            placement,
            running: RunningOperations::default(),
            renders: RenderLimit::default(),
        }
    }

    fn store(&self) -> &Store {
        &self.runtime.store
    }
}
