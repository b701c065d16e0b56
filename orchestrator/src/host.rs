//! Hosts.

use crate::{Caller, Orchestrator, Result};
use chainpool_api as api;

impl Orchestrator {
    /// Probes a host and registers it.
    pub async fn host_create(&self, caller: &Caller, new: api::HostCreate) -> Result<api::Host> {
        todo!()
    }

    /// Lists hosts.
    pub async fn host_list(&self, filter: &api::HostFilter) -> Result<api::Page<api::Host>> {
        todo!()
    }

    /// One host by name or id.
    pub async fn host_show(&self, host: &str) -> Result<api::Host> {
        todo!()
    }

    /// Changes a host.
    pub async fn host_update(&self, caller: &Caller, host: &str, change: api::HostUpdate) -> Result<api::Host> {
        todo!()
    }

    /// Removes a host that has no clusters; with its name typed again, forgets one that never returns.
    pub async fn host_delete(&self, caller: &Caller, host: &str, forget: Option<&str>) -> Result<()> {
        todo!()
    }

    /// Makes what is missing up to the capacity.
    pub async fn host_fillup(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        todo!()
    }

    /// Switches autofill off and deletes the free clusters.
    pub async fn host_clean(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        todo!()
    }

    /// Drops everything of this instance there; refused while clusters are applied.
    pub async fn host_reset(&self, caller: &Caller, host: &str) -> Result<api::Operation> {
        todo!()
    }

    /// Takes unclaimed objects over, in order to remove them.
    pub async fn host_adopt(&self, caller: &Caller, host: &str, adopt: api::HostAdopt) -> Result<api::Operation> {
        todo!()
    }
}
