//! Where a cluster goes, and which clusters a host should have. Decides; changes nothing. Keeps the summary of all hosts
//! and clusters that such decisions and the wings above read.

pub(crate) mod allocation;
pub(crate) mod choose;
pub(crate) mod fill_key;
pub(crate) mod fill_policy;
pub(crate) mod fleet;
pub(crate) mod host_choice;
pub(crate) mod new_cluster;
pub(crate) mod reservations;
pub(crate) mod room;

use crate::runtime::Runtime;
use fleet::FleetCache;
use reservations::Reservations;
use std::sync::Arc;

/// The allocation of a host's resources.
pub(crate) struct Placement {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) reservations: Reservations,
    pub(crate) fleet_cache: FleetCache,
}

impl Placement {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            fleet_cache: FleetCache::new(&runtime.store),
            runtime,
            reservations: Reservations::default(),
        }
    }
}
