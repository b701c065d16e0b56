//! Presentation: from rows to API types.

use crate::{
    Error, Orchestrator, Result,
    number::number,
    placement::{fill_key::fill_key, fill_policy::FAILURES_TO_PAUSE},
    runtime::public_endpoints::public_endpoints,
};
use chainpool_api::{self as api, ClusterState, HealthState, StepState, Timestamp};
use chainpool_store::{ClusterRow, HostRow, LeaseNames, LeaseRow, OperationRow, StepRow};
use std::collections::BTreeMap;
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

/// Counts clusters by state and health.
pub(crate) fn counts<'a>(
    clusters: impl Iterator<Item = &'a ClusterRow>,
    fresh_since: Timestamp,
) -> api::Counts {
    let mut counts = api::Counts::default();
    for cluster in clusters {
        counts.clusters += 1;
        counts.offered += u32::from(cluster.is_offered(fresh_since));
        counts.leased += u32::from(cluster.leased);
        match cluster.state.0 {
            ClusterState::Creating | ClusterState::Resetting => counts.making += 1,
            ClusterState::Failed => counts.failed += 1,
            ClusterState::Stopped => counts.stopped += 1,
            ClusterState::Ready => match cluster.health.0 {
                HealthState::Healthy => counts.healthy += 1,
                HealthState::Degraded => counts.degraded += 1,
                HealthState::Broken => counts.broken += 1,
                HealthState::Unknown => counts.unknown += 1,
                HealthState::Starting | HealthState::Stopped => {}
            },
            ClusterState::Deleting => {}
        }
    }
    counts
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
        let clusters = self.store().read().clusters_of(row.id).await?;
        let counts = counts(clusters.iter(), self.store().fresh_since(Timestamp::now()));
        let operation = self.store().read().operation_of_host(row.id).await?;
        let settings = row.settings.0;
        let paused = settings.fill.iter().enumerate().filter_map(|(place, entry)| {
            let pause = row.fill_state.0.get(&fill_key(entry))?;
            let text = format!(
                "failed {} times, next attempt at {}: {}",
                pause.failures, pause.next_at, pause.reason
            );
            (pause.failures >= FAILURES_TO_PAUSE).then_some((place.to_string(), text))
        });
        Ok(api::Host {
            id: row.id,
            name: row.name,
            platform: row.platform.0,
            address: row.address,
            engine_id: row.engine_id,
            state: row.state.0,
            reason: row.reason,
            since: row.since.0,
            schedulable: row.schedulable,
            autofill: row.autofill,
            capacity: number(row.capacity),
            memory_factor: settings.memory_factor,
            disk_floor: settings.disk_floor,
            fill_paused: paused.collect(),
            fill: settings.fill,
            public_address: settings.public_address,
            bind: settings.bind.to_string(),
            ports: settings.ports,
            subnets: settings.subnets.to_string(),
            log: settings.log,
            mirror: settings.mirror,
            images: settings.images,
            insecure: settings.insecure,
            storage_class: settings.storage_class.clone(),
            maintenance_until: row.maintenance_until.map(|m| m.0),
            info: row.info.map(|i| i.0),
            clusters: counts.clusters,
            offered: counts.offered,
            leased: counts.leased,
            operation_id: operation.map(|o| o.id),
            created_at: row.created_at.0,
        })
    }

    /// Presents a cluster for a list.
    pub(crate) fn present_cluster(
        &self,
        row: ClusterRow,
        host: Option<&HostRow>,
        lease: Option<&LeaseRow>,
    ) -> api::Cluster {
        let runtime = self.runtime.cache.cluster(row.id, number(row.generation));
        let stored = (row.checked_at.0.0 > 0).then_some(row.checked_at.0);
        let known = row.height.and_then(|h| u64::try_from(h).ok());
        api::Cluster {
            id: row.id,
            host_id: row.host_id,
            host: host.map(|h| h.name.clone()).unwrap_or_default(),
            offered: row.is_offered(self.store().fresh_since(Timestamp::now())),
            network_type: row.network_type,
            preset: Some(row.preset),
            version: row.version,
            consensus: row.consensus,
            size: number(row.size),
            parameters: row.parameters.0,
            labels: chainpool_store::Labels::from_column(&row.labels).0,
            state: row.state.0,
            generation: number(row.generation),
            chain_id: row.chain_id,
            health: api::Health {
                state: row.health.0,
                reason: row.health_reason,
                since: row.health_since.0,
                checked_at: runtime.checked_at.max(stored),
            },
            holder: lease.map(|l| l.holder.clone()),
            lease_id: lease.map(|l| l.id),
            operation_id: row.operation_id,
            // The stored height of a free cluster is not kept up to date, so an old value is not shown.
            height: runtime.height().max(known.filter(|_| row.leased)),
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
        let generation = number(row.generation);
        let runtime = self.runtime.cache.cluster(row.id, generation);
        let stored = read.revision(row.id, generation).await?;
        let mut presented = self.present_cluster(row, host.as_ref(), lease.as_ref());
        if let (Some(stored), Some(host)) = (stored, &host) {
            let public_endpoints = public_endpoints(host);
            let node = |spec: &chainpool_agent::NodeSpec| api::Node {
                name: spec.name.to_string(),
                machine: spec.machine.as_ref().map(|id| machine_name(host, id)),
                image: stored.images.get(spec.name.as_str()).map(|i| i.name.clone()),
                endpoints: public_endpoints.endpoints(spec),
                evidence: runtime
                    .evidence
                    .as_ref()
                    .and_then(|e| e.nodes.get(spec.name.as_str()).cloned()),
            };
            presented.nodes = stored.public.nodes.iter().map(node).collect();
        }
        presented.evidence = runtime
            .evidence
            .map(|evidence| self.present_evidence(&presented, evidence));
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
        let cluster = self.store().read().cluster(row.cluster_id).await?;
        let host = match &cluster {
            Some(cluster) => self.store().read().host(cluster.host_id).await?,
            None => None,
        };
        Ok(lease_with(row, cluster.as_ref(), host.as_ref()))
    }

    /// Presents an operation, optionally with its steps.
    pub(crate) async fn present_operation(&self, row: OperationRow, steps: bool) -> Result<api::Operation> {
        let read = self.store().read();
        let host = read.host(row.host_id).await?;
        let cluster = match row.cluster_id {
            Some(id) => read.cluster(id).await?,
            None => None,
        };
        let own = read.steps(row.id).await?;
        let children = if row.cluster_id.is_none() {
            read.operation_children(row.id).await?
        } else {
            Vec::new()
        };
        let (done, total) = if children.is_empty() {
            (
                own.iter().filter(|s| s.state.0 == StepState::Done).count(),
                own.len(),
            )
        } else {
            (
                children.iter().filter(|c| c.state.0.is_over()).count(),
                children.len(),
            )
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut presented = api::Operation {
            id: row.id,
            kind: row.kind.0,
            state: row.state.0,
            host_id: row.host_id,
            host: host.map(|h| h.name).unwrap_or_default(),
            cluster_id: row.cluster_id,
            cluster: cluster.map(|c| c.name),
            parent_id: row.parent_id,
            by: row.author,
            reason: row.reason,
            created_at: row.created_at.0,
            started_at: row.started_at.map(|m| m.0),
            ended_at: row.ended_at.map(|m| m.0),
            done: count(done),
            total: count(total),
            steps: Vec::new(),
            result: row.result.map(|r| r.0),
            error: row.error,
        };
        if steps {
            presented.steps = if children.is_empty() {
                own.into_iter().map(step).collect()
            } else {
                self.children_as_steps(children).await?
            };
        }
        Ok(presented)
    }

    async fn children_as_steps(&self, children: Vec<OperationRow>) -> Result<Vec<api::Step>> {
        let mut steps = Vec::with_capacity(children.len());
        for (seq, child) in (0u32..).zip(children) {
            let (done, total) = self.store().read().step_counts(child.id).await?;
            let cluster = match child.cluster_id {
                Some(id) => self.store().read().cluster(id).await?.map(|c| c.name),
                None => None,
            };
            let state = match child.state.0 {
                api::OperationState::Queued => StepState::Pending,
                api::OperationState::Running => StepState::Started,
                api::OperationState::Succeeded => StepState::Done,
                api::OperationState::Failed | api::OperationState::Superseded => StepState::Failed,
            };
            steps.push(api::Step {
                seq,
                title: format!("{} {}", child.kind.0, cluster.unwrap_or_default()),
                state,
                started_at: child.started_at.map(|m| m.0),
                ended_at: child.ended_at.map(|m| m.0),
                note: child.error.or_else(|| {
                    (state == StepState::Started)
                        .then(|| format!("{done} of {total} steps, operation {}", child.id))
                }),
            });
        }
        Ok(steps)
    }

    /// Reads all hosts by id, for lists.
    pub(crate) async fn hosts_by_id(&self) -> Result<BTreeMap<Uuid, HostRow>> {
        Ok(self
            .store()
            .read()
            .hosts()
            .await?
            .into_iter()
            .map(|h| (h.id, h))
            .collect())
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

/// Presents a lease with its cluster and host, if they exist.
pub(crate) fn lease_with(row: LeaseRow, cluster: Option<&ClusterRow>, host: Option<&HostRow>) -> api::Lease {
    let names = LeaseNames {
        cluster: cluster.map(|c| c.name.clone()).unwrap_or_default(),
        network_type: cluster.map(|c| c.network_type.clone()).unwrap_or_default(),
        host: host.map(|h| h.name.clone()).unwrap_or_default(),
    };
    lease_named(row, names)
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

fn step(row: StepRow) -> api::Step {
    api::Step {
        seq: number(row.seq),
        title: row.title,
        state: row.state.0,
        started_at: row.started_at.map(|m| m.0),
        ended_at: row.ended_at.map(|m| m.0),
        note: row.note,
    }
}
