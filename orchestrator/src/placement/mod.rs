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

use crate::{Result, runtime::Runtime};
use chainpool_api::Timestamp;
use chainpool_store::HostRow;
use fleet::{CurrentFleet, FleetCache};
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

    /// Returns the summary of all hosts and clusters with every committed change.
    pub(crate) async fn fleet(&self) -> Result<CurrentFleet<'_>> {
        self.fleet_cache
            .current(&self.runtime.store, &self.runtime.registry)
            .await
    }

    /// Lists the hosts that this process works on and whose clusters may have to be created, replaced or deleted, and
    /// those whose last attempt crashed.
    pub(crate) async fn hosts_to_fit(&self) -> Result<Vec<HostRow>> {
        let crashed = self.runtime.findings.crashed_fills();
        let (fleet, now) = (self.fleet().await?, Timestamp::now());
        let hosts = fleet
            .hosts()
            .filter(|host| host.needs_fitting(now) || crashed.contains(&host.row.id));
        let mut hosts: Vec<HostRow> = hosts.map(|host| HostRow::clone(&host.row)).collect();
        drop(fleet);
        if !hosts.is_empty() {
            let led = self.runtime.store.hosts_led().await?;
            hosts.retain(|host| led.contains(&host.id));
        }
        Ok(hosts)
    }
}
