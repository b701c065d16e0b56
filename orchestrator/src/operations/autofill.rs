//! Keeping hosts filled according to their policies.

use crate::{
    Error, Result,
    operations::{Operations, cause::Cause},
    placement::{
        fill_policy::{is_failing, is_idle, outdated_now, recipes, surplus},
        room::offers,
    },
    runtime::findings::Watched,
};
use chainpool_api::{ClusterState, HostState, Timestamp};
use chainpool_store::{ClusterRow, HostRow, Tx};
use uuid::Uuid;

impl Operations {
    /// Keeps hosts filled according to their policies: replaces failed free clusters when they are due and
    /// creates missing ones. Takes no input and may run at any time.
    pub(crate) async fn autofill(&self) -> Result<()> {
        if self.runtime.is_paused() {
            return Ok(());
        }
        for host in self.placement.hosts_to_fit().await? {
            // A failure is retried by the next run and does not delay the other hosts.
            let name = host.name.clone();
            let (part, fit) = (Watched::Fill(host.id), async {
                self.shrink_host(&host).await?;
                self.autofill_host(host).await
            });
            if let Some(Err(error)) = self.runtime.findings.isolated(part, fit).await {
                tracing::error!(host = %name, %error, cause = ?error, "a host could not be filled; retrying");
            }
        }
        Ok(())
    }

    async fn autofill_host(&self, host: HostRow) -> Result<()> {
        let now = Timestamp::now();
        let waits = host.maintenance_until.is_some_and(|until| until.0 > now);
        if !host.settings.0.autofill
            || waits
            || !offers(&host)
            || self.store().read().operation_of_host(host.id).await?.is_some()
        {
            return Ok(());
        }
        let clusters = self.store().read().clusters_of(host.id).await?;
        for cluster in clusters
            .iter()
            .filter(|c| c.state.0 == ClusterState::Failed && is_idle(c))
        {
            let due = cluster
                .fill_key
                .as_ref()
                .and_then(|key| host.fill_state.0.get(key))
                .is_none_or(|p| p.next_at <= now);
            if due {
                let is_required = |_: &HostRow, clusters: &[ClusterRow]| {
                    Ok(clusters
                        .iter()
                        .any(|row| row.id == cluster.id && row.state.0 == ClusterState::Failed))
                };
                self.delete_if_idle(cluster.id, is_required, "autofill replaces a failed cluster")
                    .await?;
            }
        }
        for id in outdated_now(&self.runtime.registry, &host, &clusters)? {
            let is_required = |host: &HostRow, clusters: &[ClusterRow]| {
                Ok(host.settings.0.autofill
                    && offers(host)
                    && outdated_now(&self.runtime.registry, host, clusters)?.contains(&id))
            };
            self.delete_if_idle(id, is_required, "autofill replaces an outdated cluster")
                .await?;
        }
        if clusters.len() < usize::try_from(host.settings.0.capacity).map_err(Error::internal)? {
            let why = match self.fillup_due(host.id).await {
                Ok(()) => None,
                Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => Some(error.to_string()),
                Err(error) => return Err(error),
            };
            self.runtime.findings.fill_put(host.id, why);
        }
        Ok(())
    }

    /// Creates the missing clusters of a host whose entries are due.
    async fn fillup_due(&self, host: Uuid) -> Result<()> {
        let mut tx = self.store().begin_background().await?;
        let cause = Cause::watchdog("autofill");
        match self.accept_fillup(&mut tx, host, &cause, true).await? {
            Some(_) => self.accepted(tx, &[]).await,
            None => Ok(()),
        }
    }

    /// Deletes free clusters above the host's capacity, a few at a time. Takes no input and may run at any
    /// time.
    async fn shrink_host(&self, host: &HostRow) -> Result<()> {
        let now = Timestamp::now();
        if host.state.0 != HostState::Active || host.maintenance_until.is_some_and(|until| until.0 > now) {
            return Ok(());
        }
        let clusters = self.store().read().clusters_of(host.id).await?;
        for id in surplus(&self.runtime.registry, host, &clusters) {
            let is_required = |host: &HostRow, clusters: &[ClusterRow]| {
                Ok(surplus(&self.runtime.registry, host, clusters).contains(&id))
            };
            self.delete_if_idle(id, is_required, "the host exceeds its capacity")
                .await?;
        }
        Ok(())
    }

    /// Returns `true` if a cluster is deleted when its lease ends: its recipe is outdated and autofill
    /// creates another, or the host exceeds its capacity.
    pub(crate) async fn deleted_on_release(
        &self,
        tx: &Tx,
        host: &HostRow,
        cluster: &ClusterRow,
    ) -> Result<bool> {
        let fills = host.settings.0.autofill
            && offers(host)
            && host
                .maintenance_until
                .is_none_or(|until| until.0 <= Timestamp::now());
        let outdated = fills
            && !is_failing(host)
            && recipes(&self.runtime.registry, &host.settings.0.fill).is_outdated(cluster);
        let kept = tx.clusters_kept(host.id).await?;
        Ok(outdated || kept > u64::from(host.settings.0.capacity))
    }

    /// Deletes an idle free cluster if the current state still requires it.
    async fn delete_if_idle(
        &self,
        cluster: Uuid,
        is_required: impl Fn(&HostRow, &[ClusterRow]) -> Result<bool>,
        why: &str,
    ) -> Result<()> {
        let mut tx = self.store().begin_background().await?;
        let Some(row) = tx.cluster(cluster).await?.filter(is_idle) else {
            return Ok(());
        };
        let Some(host) = tx.host(row.host_id).await? else {
            return Ok(());
        };
        if !is_required(&host, &tx.clusters_of(host.id).await?)? {
            return Ok(());
        }
        let (_, superseded) = self.accept_delete(&mut tx, row, &Cause::watchdog(why)).await?;
        self.accepted(tx, superseded.as_slice()).await
    }
}

#[cfg(test)]
mod tests;
