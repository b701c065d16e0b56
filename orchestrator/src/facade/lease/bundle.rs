//! Bundles of leases: everything that a holder needs to connect.

use super::must_be_active;
use crate::{Caller, Error, Orchestrator, Result, runtime::public_endpoints::public_endpoints};
use chainpool_api as api;
use chainpool_networks::{BundleParts, PublicEndpoints};
use chainpool_store::{ClusterRow, LeaseRow};
use uuid::Uuid;

impl Orchestrator {
    /// Returns everything that the holder needs to connect. Each read is recorded in the audit log, because
    /// the bundle may contain private keys.
    pub async fn lease_bundle(&self, caller: &Caller, lease: Uuid) -> Result<api::Bundle> {
        let (row, bundle) = self.bundle_of(caller, lease).await?;
        self.bundle_reads.record(caller, &row).await?;
        Ok(bundle)
    }

    /// Like [`Self::lease_bundle`], without file contents.
    pub async fn lease_bundle_outline(&self, caller: &Caller, lease: Uuid) -> Result<api::Bundle> {
        let (_, mut bundle) = self.bundle_of(caller, lease).await?;
        bundle.files.values_mut().for_each(String::clear);
        Ok(bundle)
    }

    async fn bundle_of(&self, caller: &Caller, lease: Uuid) -> Result<(LeaseRow, api::Bundle)> {
        let row = self.lease_for(caller, lease).await?;
        must_be_active(&row)?;
        let cluster = self
            .store()
            .read()
            .cluster(row.cluster_id)
            .await?
            .ok_or_else(|| Error::internal("a lease without a cluster"))?;
        let (parts, public_endpoints) = self.bundle_parts(&cluster).await?;
        let mut notes = Vec::new();
        if public_endpoints.loopback {
            notes.push(
                "The addresses work only on the host itself: its ports are bound to 127.0.0.1.".to_owned(),
            );
        }
        if cluster.size == 1 {
            notes.push("The network has only one node: reads and writes use the same node.".to_owned());
        }
        let bundle = api::Bundle {
            lease_id: row.id,
            cluster: cluster.name,
            network_type: cluster.network_type,
            chain_id: cluster.chain_id,
            nodes: parts.nodes,
            write: parts.write,
            read: parts.read,
            files: parts.files,
            notes,
        };
        Ok((row, bundle))
    }

    async fn bundle_parts(&self, row: &ClusterRow) -> Result<(BundleParts, PublicEndpoints)> {
        let host = self
            .store()
            .read()
            .host(row.host_id)
            .await?
            .ok_or_else(|| Error::internal("a cluster without a host"))?;
        let spec = self
            .runtime
            .spec(row.id, row.generation)
            .await?
            .ok_or_else(|| Error::internal("a cluster without a spec"))?;
        let network = self
            .runtime
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let public_endpoints = public_endpoints(&host);
        Ok((network.bundle(&spec, &public_endpoints), public_endpoints))
    }
}
