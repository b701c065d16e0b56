//! Deletion of a host without clusters, and of a lost host with all of them.

use crate::{
    Caller, Error, Orchestrator, Result,
    operations::supersede::{end_superseded, running},
    permissions,
    text::counted,
};
use chainpool_api::{HostState, LeaseState, Timestamp};
use chainpool_store::{Audit, EnumColumn, HostRow, Tx};
use uuid::Uuid;

/// The operations and clusters that ended with a lost host.
#[derive(Default)]
struct Forgotten {
    operations: Vec<Uuid>,
    clusters: Vec<Uuid>,
}

impl Orchestrator {
    /// Deletes a host without clusters. With `forget` set to its name, forgets a host that is permanently
    /// lost.
    pub async fn host_delete(&self, caller: &Caller, host: &str, forget: Option<&str>) -> Result<()> {
        permissions::must_operate(caller)?;
        let id = self.host_row(host).await?.id;
        let now = Timestamp::now();
        let mut tx = self.store().begin().await?;
        let row = tx.host(id).await?.ok_or_else(|| Error::not_found("host", host))?;
        let Forgotten { operations, clusters } = match forget {
            Some(typed) => {
                must_be_lost(&row, typed)?;
                forget_clusters(&mut tx, caller, &row, now).await?
            }
            None => {
                must_be_idle(&tx, &row).await?;
                Forgotten::default()
            }
        };
        let deleted = Audit {
            author: &caller.account,
            verb: "host_delete",
            subject: &id.to_string(),
            detail: row.name,
        };
        tx.audit_insert(deleted, now).await?;
        tx.host_delete(id).await?;
        self.operations.accepted(tx, &operations).await?;
        for cluster in clusters {
            self.runtime.forget(cluster);
        }
        self.runtime.agents.forget(id);
        self.health.forget_host(id);
        Ok(())
    }
}

/// Refuses to delete a host with clusters or with an operation in progress.
async fn must_be_idle(tx: &Tx, host: &HostRow) -> Result<()> {
    let clusters = tx.clusters_of(host.id).await?.len();
    if clusters > 0 {
        let message = format!(
            "host {} still has {}; reset it first (chainpool host reset {})",
            host.name,
            counted(clusters, "cluster"),
            host.name
        );
        return Err(Error::conflict("host_not_empty", message));
    }
    match tx.operation_of_host(host.id).await? {
        Some(live) => Err(running(&format!("host {}", host.name), &live)),
        None => Ok(()),
    }
}

/// Refuses to forget a host that may come back, or without its name as a confirmation.
fn must_be_lost(host: &HostRow, typed: &str) -> Result<()> {
    if typed != host.name {
        let message = format!("set it to the host's name, {:?}, to forget the host", host.name);
        return Err(Error::field("forget", message));
    }
    if host.state.0 != HostState::Unreachable {
        let message = format!(
            "host {} is {}; only an unreachable host can be forgotten; use reset and delete instead",
            host.name, host.state.0
        );
        return Err(Error::conflict("host_reachable", message));
    }
    Ok(())
}

/// Ends the operations and leases of a lost host, and marks its clusters as deleted.
async fn forget_clusters(tx: &mut Tx, caller: &Caller, host: &HostRow, now: Timestamp) -> Result<Forgotten> {
    let mut forgotten = Forgotten::default();
    let operations = tx.operations_live().await?;
    for mut live in operations.into_iter().filter(|live| live.host_id == host.id) {
        end_superseded(tx, &mut live, "the host was forgotten".to_owned()).await?;
        forgotten.operations.push(live.id);
    }
    for cluster in tx.clusters_of(host.id).await? {
        if let Some(mut lease) = tx.lease_of(cluster.id).await? {
            lease.state = EnumColumn(LeaseState::HostLost);
            lease.ended_at = Some(now.into());
            tx.lease_save(lease).await?;
        }
        let abandoned = Audit {
            author: &caller.account,
            verb: "host_forget",
            subject: &cluster.id.to_string(),
            detail: format!(
                "abandoned on {}: cluster {} generation {}",
                host.address, cluster.name, cluster.generation
            ),
        };
        tx.audit_insert(abandoned, now).await?;
        forgotten.clusters.push(cluster.id);
        tx.cluster_mark_deleted(cluster, now).await?;
    }
    Ok(forgotten)
}
