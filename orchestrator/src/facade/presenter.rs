//! Presentation: from rows to API types.

use crate::{
    Error, Orchestrator, Result,
    number::number,
    placement::{fill_key::fill_key, fill_policy::FAILURES_TO_PAUSE},
    runtime::public_endpoints::public_endpoints,
};
use chainpool_api::{self as api, Timestamp};
use chainpool_store::{ClusterRow, HostRow, LeaseNames, LeaseRow};
use uuid::Uuid;

/// Builds a page and its cursor: the rows hold one more than the page if there is a next page.
pub(crate) fn page<T>(mut items: Vec<T>, limit: Option<u32>, id: impl Fn(&T) -> Uuid) -> api::Page<T> {
    let limit = usize::try_from(limit.unwrap_or(100).clamp(1, 500)).unwrap_or(100);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more {
        items.last().map(|item| id(item).to_string())
    } else {
        None
    };
    api::Page { items, next }
}

/// The name of a machine; its id if the host no longer lists it.
fn machine_name(host: &HostRow, id: &str) -> String {
    let known = host
        .info
        .iter()
        .flat_map(|info| &info.0.machines)
        .find(|machine| machine.id == id);
    known.map_or_else(|| id.to_owned(), |machine| machine.name.clone())
}

impl Orchestrator {
    /// Presents a host with its counts.
    pub(crate) async fn present_host(&self, row: HostRow) -> Result<api::Host> {
        let mut presented = self.present_hosts(vec![row]).await?;
        presented
            .pop()
            .ok_or_else(|| Error::internal("one row is presented as one host"))
    }

    /// Presents hosts with their counts.
    pub(crate) async fn present_hosts(&self, rows: Vec<HostRow>) -> Result<Vec<api::Host>> {
        let operations = self
            .store()
            .read()
            .operations_of_hosts(rows.iter().map(|row| row.id))
            .await?;
        let fleet = self.placement.fleet().await?;
        let fresh_since = self.store().fresh_since(Timestamp::now());
        let present = |row: HostRow| {
            let counts = fleet.host(row.id).map(|host| host.counts(fresh_since));
            let operation = operations.get(&row.id).copied();
            host_with(row, &counts.unwrap_or_default(), operation)
        };
        Ok(rows.into_iter().map(present).collect())
    }

    /// Presents a cluster for a list.
    pub(crate) fn present_cluster(
        &self,
        row: ClusterRow,
        host: Option<&str>,
        lease: Option<&LeaseRow>,
    ) -> api::Cluster {
        let (checked_at, height) = self
            .runtime
            .cache
            .read(row.id, row.generation, |runtime| {
                (runtime.checked_at, runtime.height())
            })
            .unwrap_or_default();
        let stored = (row.checked_at.0.0 > 0).then_some(row.checked_at.0);
        let known = row.height.and_then(|h| u64::try_from(h).ok());
        api::Cluster {
            id: row.id,
            host_id: row.host_id,
            host: host.unwrap_or_default().to_owned(),
            offered: row.is_offered(self.store().fresh_since(Timestamp::now())),
            network_type: row.network_type,
            preset: Some(row.preset),
            version: row.version,
            consensus: row.consensus,
            size: number(row.size),
            parameters: row.parameters.0,
            labels: chainpool_store::Labels::from_column(&row.labels).0,
            state: row.state.0,
            generation: row.generation,
            chain_id: row.chain_id,
            health: api::Health {
                state: row.health.0,
                reason: row.health_reason,
                since: row.health_since.0,
                checked_at: checked_at.max(stored),
            },
            holder: lease.map(|l| l.holder.clone()),
            lease_id: lease.map(|l| l.id),
            operation_id: row.operation_id,
            // The stored height of a free cluster is not kept up to date, so an old value is not shown.
            height: height.max(known.filter(|_| row.leased)),
            proof: row.proof.map(|p| p.0),
            maintenance_until: row.maintenance_until.map(|m| m.0),
            created_at: row.created_at.0,
            ready_at: row.ready_at.map(|r| r.0),
            nodes: Vec::new(),
            evidence: None,
            name: row.name,
        }
    }

    /// Presents a cluster with nodes and evidence.
    pub(crate) async fn present_cluster_details(&self, row: ClusterRow) -> Result<api::Cluster> {
        let read = self.store().read();
        let host = read.host(row.host_id).await?;
        let lease = read.lease_of(row.id).await?;
        let generation = row.generation;
        let cache = &self.runtime.cache;
        let evidence = cache.read(row.id, generation, |runtime| runtime.evidence.clone());
        let evidence = evidence.flatten().map(|kept| api::Evidence::from(*kept));
        let stored = read.revision(row.id, generation).await?;
        let mut presented =
            self.present_cluster(row, host.as_ref().map(|host| host.name.as_str()), lease.as_ref());
        if let (Some(stored), Some(host)) = (stored, &host) {
            let public_endpoints = public_endpoints(host);
            let node = |spec: &chainpool_agent::NodeSpec| api::Node {
                name: spec.name.to_string(),
                machine: spec.machine.as_ref().map(|id| machine_name(host, id)),
                image: stored.images.get(spec.name.as_str()).map(|i| i.name.clone()),
                endpoints: public_endpoints.endpoints(spec),
                evidence: evidence
                    .as_ref()
                    .and_then(|e| e.nodes.get(spec.name.as_str()).cloned()),
            };
            presented.nodes = stored.public.nodes.iter().map(node).collect();
        }
        presented.evidence = evidence.map(|evidence| self.present_evidence(&presented, evidence));
        Ok(presented)
    }

    /// Presents evidence with the sections and the drawing of the network type. They are not stored.
    fn present_evidence(&self, cluster: &api::Cluster, evidence: api::Evidence) -> api::Evidence {
        let Ok(network) = self.runtime.registry.get(&cluster.network_type) else {
            return evidence;
        };
        let sections = network.sections(&cluster.parameters, &evidence, Timestamp::now());
        let drawing = network.drawing(&cluster.parameters, &evidence);
        api::Evidence {
            sections: api::Section::bounded(sections),
            drawing: drawing.map(api::Drawing::bounded),
            ..evidence
        }
    }

    /// Presents a lease with related names.
    pub(crate) async fn present_lease(&self, row: LeaseRow) -> Result<api::Lease> {
        let mut names = self.store().read().lease_names([row.cluster_id]).await?;
        let names = names.remove(&row.cluster_id).unwrap_or_default();
        Ok(lease_named(row, names))
    }

    /// Reads a host by name or id.
    pub(crate) async fn host_row(&self, host: &str) -> Result<HostRow> {
        self.store()
            .read()
            .host_named(host)
            .await?
            .ok_or_else(|| Error::not_found("host", host))
    }
}

/// Presents a host with these counts and its operation, if any.
fn host_with(row: HostRow, counts: &api::Counts, operation_id: Option<Uuid>) -> api::Host {
    let settings = row.settings.0;
    // A key is a document; most policies have no failing entry.
    let failing = if row.fill_state.0.is_empty() {
        &[]
    } else {
        settings.fill.as_slice()
    };
    let paused = failing.iter().enumerate().filter_map(|(place, entry)| {
        let pause = row.fill_state.0.get(&fill_key(entry))?;
        let text = format!(
            "failed {} times, next attempt at {}: {}",
            pause.failures, pause.next_at, pause.reason
        );
        (pause.failures >= FAILURES_TO_PAUSE).then_some((place.to_string(), text))
    });
    api::Host {
        id: row.id,
        name: row.name,
        platform: row.platform.0.clone(),
        address: row.address,
        engine_id: row.engine_id,
        state: row.state.0,
        reason: row.reason,
        since: row.since.0,
        fill_paused: paused.collect(),
        settings,
        maintenance_until: row.maintenance_until.map(|m| m.0),
        info: row.info.map(|i| i.0),
        clusters: counts.clusters,
        offered: counts.offered,
        leased: counts.leased,
        operation_id,
        created_at: row.created_at.0,
    }
}

/// Presents a lease with related names.
pub(crate) fn lease_named(row: LeaseRow, names: LeaseNames) -> api::Lease {
    let LeaseNames {
        cluster,
        network_type,
        host,
    } = names;
    api::Lease {
        id: row.id,
        cluster_id: row.cluster_id,
        cluster,
        host,
        network_type,
        holder: row.holder,
        state: row.state.0,
        created_at: row.created_at.0,
        expires_at: row.expires_at.map(|m| m.0),
        ended_at: row.ended_at.map(|m| m.0),
        operation_id: row.operation_id,
    }
}
