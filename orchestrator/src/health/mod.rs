//! Health of hosts and ledgers: evidence in; verdict, history and repair requests out.

mod assessment;
mod evidence;
mod host;
mod reconcile;

use crate::{operations::Operations, placement::Placement, runtime::Runtime};
use chainpool_store::Store;
use std::sync::Arc;

/// The assessment of hosts and ledgers.
pub(crate) struct Health {
    runtime: Arc<Runtime>,
    placement: Arc<Placement>,
    operations: Arc<Operations>,
}

impl Health {
    pub(crate) fn new(operations: Arc<Operations>) -> Self {
        Self {
            runtime: Arc::clone(&operations.runtime),
            placement: Arc::clone(&operations.placement),
            operations,
        }
    }

    fn store(&self) -> &Store {
        &self.runtime.store
    }
}
