//! Leases: who holds which cluster until when.

use crate::{Caller, Orchestrator, Result};
use chainpool_api as api;

/// The answer to an apply.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The lease.
    pub lease: api::Lease,
    /// Whether it was made now; otherwise the holder had it already.
    pub made: bool,
}

impl Orchestrator {
    /// Takes a free cluster for the holder. Asking again returns the same one.
    pub async fn lease_apply(&self, caller: &Caller, apply: api::Apply) -> Result<Applied> {
        todo!()
    }

    /// Lists leases; a user sees its own.
    pub async fn lease_list(&self, caller: &Caller, filter: &api::LeaseFilter) -> Result<api::Page<api::Lease>> {
        todo!()
    }

    /// One lease.
    pub async fn lease_show(&self, caller: &Caller, lease: uuid::Uuid) -> Result<api::Lease> {
        todo!()
    }

    /// Counts its time anew from now.
    pub async fn lease_renew(&self, caller: &Caller, lease: uuid::Uuid, renew: api::Renew) -> Result<api::Lease> {
        todo!()
    }

    /// Ends it; the cluster is wiped and made again with new keys.
    pub async fn lease_release(&self, caller: &Caller, lease: uuid::Uuid) -> Result<api::Lease> {
        todo!()
    }

    /// Everything that its holder needs to connect.
    pub async fn lease_bundle(&self, caller: &Caller, lease: uuid::Uuid) -> Result<api::Bundle> {
        todo!()
    }
}
