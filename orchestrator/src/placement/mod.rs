//! Where a cluster goes, and which clusters a host should have. Decides; changes nothing.

pub(crate) mod allocation;
pub(crate) mod choose;
pub(crate) mod fill_key;
pub(crate) mod fill_policy;
pub(crate) mod host_choice;
pub(crate) mod new_cluster;
pub(crate) mod reservations;
pub(crate) mod room;

use crate::runtime::Runtime;
use reservations::Reservations;
use std::sync::Arc;

/// The allocation of a host's resources.
pub(crate) struct Placement {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) reservations: Reservations,
}

impl Placement {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            runtime,
            reservations: Reservations::default(),
        }
    }
}
