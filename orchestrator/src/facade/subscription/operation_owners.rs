//! The owners of operations, cached because every subscription asks at every step of every operation.

use crate::Result;
use chainpool_store::Store;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// The maximum number of cached operations.
const MAX_OWNERS: usize = 10_000;

/// The author and the cluster of an operation. They never change.
type Owner = (String, Option<Uuid>);

/// The owners of operations.
pub(crate) struct OperationOwners {
    store: Store,
    known: Mutex<HashMap<Uuid, Owner>>,
}

impl OperationOwners {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// Returns the owner of an operation; `None` if it does not exist.
    pub(crate) async fn of(&self, operation: Uuid) -> Result<Option<Owner>> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let row = self.store.read().operation(operation).await?;
        let owner = row.map(|row| (row.author, row.cluster_id));
        if let Some(owner) = &owner {
            self.put(operation, owner.clone());
        }
        Ok(owner)
    }

    fn put(&self, operation: Uuid, owner: Owner) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_OWNERS {
            known.clear();
        }
        known.insert(operation, owner);
    }
}
