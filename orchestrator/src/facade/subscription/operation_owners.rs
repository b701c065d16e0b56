//! The owners of operations.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// The maximum number of cached operations.
const MAX_OWNERS: usize = 10_000;

/// The immutable author and cluster of operations, cached because every subscription asks at every step of
/// every operation.
#[derive(Default)]
pub(crate) struct OperationOwners(Mutex<HashMap<Uuid, (String, Option<Uuid>)>>);

impl OperationOwners {
    pub(super) fn get(&self, operation: Uuid) -> Option<(String, Option<Uuid>)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
            .cloned()
    }

    pub(super) fn put(&self, operation: Uuid, owner: (String, Option<Uuid>)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_OWNERS {
            known.clear();
        }
        known.insert(operation, owner);
    }
}
