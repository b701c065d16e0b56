//! Rendering: from a row to the spec of its generation, with fresh keys, on machines of its host.
//!
//! Keys, certificates and genesis take up to seconds. Therefore a change is accepted without them, and they are
//! rendered outside of any transaction, on a thread for blocking work, a few at a time. A second transaction stores
//! the spec if the cluster is still as it was read. The executor plans a generation only when its spec is stored,
//! so after a crash it renders what is missing.

use crate::{Error, Result, operations::Operations, runtime::public_endpoints::public_endpoints};
use chainpool_agent::{ClusterSpec, LogConfig, LogType, NetworkSpec, NodeName, Secret};
use chainpool_api::{self as api, Noun, OperationKind, Timestamp};
use chainpool_networks::{NetworkType, PortNeed, RenderRequest, Seed};
use chainpool_store::{ClusterRow, HostRow, Json, OperationRow, PortRow, Priority, Tx};
use rand::Rng;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use uuid::Uuid;

impl Operations {
    /// Renders on a thread for blocking work.
    pub(crate) async fn rendered<T: Send + 'static>(
        &self,
        priority: Priority,
        render: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = self.renders.permit(priority).await.map_err(Error::internal)?;
        let work = move || {
            let rendered = render();
            // A caller that gave up does not end the render.
            drop(permit);
            rendered
        };
        spawn_blocking(work).await.map_err(Error::internal)
    }

    /// Renders the spec of an accepted generation and stores it, unless it is stored already or the cluster has
    /// moved on. May run at any time, any number of times.
    pub(crate) async fn render_accepted(
        &self,
        cluster: Uuid,
        generation: u32,
        priority: Priority,
    ) -> Result<()> {
        let one_at_a_time = self.running.rendering(cluster);
        let _guard = one_at_a_time.lock().await;
        loop {
            let read = self.store().read();
            if read.has_revision(cluster, generation).await? {
                return Ok(());
            }
            let is_current = |row: &ClusterRow| row.deleted_at.is_none() && row.generation == generation;
            let Some(row) = read.cluster(cluster).await?.filter(is_current) else {
                return Ok(());
            };
            let Some(host) = read.host(row.host_id).await? else {
                return Ok(());
            };
            let ports = read.ports_of_cluster(cluster).await?;
            let network = self
                .runtime
                .registry
                .get(&row.network_type)
                .map_err(Error::internal)?;
            let (renderer, request) = (
                Arc::clone(&network),
                render_request(&host, &row, &ports, network.as_ref()),
            );
            let render = move || renderer.render(&request, &seed());
            let spec = self.rendered(priority, render).await?;
            let amendments = self.runtime.specs.epoch();
            let mut tx = self.store().begin_as(priority).await?;
            let stored = self
                .render_store(&mut tx, (&row, &host), spec, network.as_ref())
                .await?;
            if let Some(spec) = stored {
                tx.commit("spec rendered").await?;
                // The plan and the steps then decode no spec.
                let specs = &self.runtime.specs;
                specs.put(cluster, generation, Arc::new(spec), amendments);
                return Ok(());
            }
            // Overtaken: the render is discarded, and the cluster is read again.
        }
    }

    /// Renders an accepted generation before its request is answered, so that the response is complete. The
    /// executor reports a failure.
    pub(crate) async fn render_for_request(&self, operation: &OperationRow) {
        let (OperationKind::ClusterCreate | OperationKind::ClusterReset, Some(cluster)) =
            (operation.kind.0, operation.cluster_id)
        else {
            return;
        };
        let rendered = self.render_accepted(cluster, operation.generation, Priority::Request);
        if let Err(error) = rendered.await {
            tracing::debug!(%cluster, %error, cause = ?error, "an accepted cluster could not be rendered yet");
        }
    }

    /// Stores a rendered spec and returns it without the nodes' secret contents; `None` if the cluster or the settings of
    /// its host changed since they were read.
    async fn render_store(
        &self,
        tx: &mut Tx,
        (read, read_host): (&ClusterRow, &HostRow),
        mut spec: ClusterSpec,
        network: &dyn NetworkType,
    ) -> Result<Option<ClusterSpec>> {
        let (Some(mut row), Some(host)) = (tx.cluster(read.id).await?, tx.host(read.host_id).await?) else {
            return Ok(None);
        };
        if row.row_version != read.row_version || spec_settings(&host) != spec_settings(read_host) {
            return Ok(None);
        }
        if self.runtime.agents.of(&host)?.agent.capabilities().machines {
            let nodes: Vec<NodeName> = spec.processes().map(|node| node.name.clone()).collect();
            // An amended generation had more nodes.
            row.machines.0.retain(|node, _| nodes.contains(node));
            let together = network.requirements(&row.parameters.0).colocated;
            row.machines = Json(
                self.placement
                    .machines(tx, &host, &row, &nodes, &together)
                    .await?,
            );
            spec = spec.placed(&row.machines.0);
        }
        let stored = ClusterSpec {
            keys: spec.keys.clone(),
            ..spec.clone().seal().public
        };
        tx.revision_insert(row.id, row.generation, spec, Timestamp::now())
            .await?;
        tx.changed(Noun::Cluster, row.id);
        if row.machines != read.machines {
            tx.cluster_save(row).await?;
        }
        Ok(Some(stored))
    }
}

/// The settings of a host that a spec depends on. A render is discarded if they change meanwhile.
pub(crate) fn spec_settings(host: &HostRow) -> impl PartialEq + '_ {
    let api::HostSettings {
        schedulable: _,
        autofill: _,
        capacity: _,
        memory_factor: _,
        disk_floor: _,
        fill: _,
        public_address,
        bind,
        ports: _,
        subnets: _,
        log,
        mirror: _,
        images,
        insecure: _,
        storage_class: _,
    } = &host.settings.0;
    (public_address, bind, log, images)
}

/// The render request for a row.
pub(crate) fn render_request(
    host: &HostRow,
    row: &ClusterRow,
    ports: &[PortRow],
    network: &dyn NetworkType,
) -> RenderRequest {
    let settings = &host.settings.0;
    let given = |need: PortNeed| {
        let found = ports
            .iter()
            .find(|p| p.node == need.node.as_str() && p.name == need.port);
        found
            .and_then(|p| u16::try_from(p.port).ok())
            .map(|port| (need, port))
    };
    RenderRequest {
        parameters: row.parameters.0.clone(),
        chain_id: row.chain_id.clone(),
        genesis_at: Timestamp::now(),
        network: NetworkSpec {
            subnet: row.subnet.as_ref().and_then(|s| s.parse().ok()),
        },
        ports: network
            .requirements(&row.parameters.0)
            .ports
            .into_iter()
            .filter_map(given)
            .collect(),
        public_endpoints: public_endpoints(host),
        images: settings.images.clone(),
        log: log_config(&settings.log),
        log_level: settings.log.level,
    }
}

/// Generates a random seed for keys.
pub(crate) fn seed() -> Seed {
    let mut bytes = [0; 32];
    rand::rng().fill(&mut bytes);
    let seed = Secret::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    seed
}

fn log_config(log: &api::HostLog) -> LogConfig {
    let kind = match log.kind {
        api::LogType::Local => LogType::Local,
        api::LogType::Syslog => LogType::Syslog,
    };
    LogConfig {
        kind,
        server: log.server.clone(),
        ..LogConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        placement::Placement,
        runtime::{Runtime, idle_platform::IdlePlatform},
    };
    use chainpool_agent::PlatformKind;
    use chainpool_health::HealthPolicy;
    use chainpool_networks::Registry;
    use chainpool_store::{Store, testing};
    use tempfile::TempDir;

    /// Operations that nothing runs, with a host and an accepted cluster without a spec.
    async fn accepted() -> (TempDir, Operations, HostRow, ClusterRow) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), None).await.unwrap();
        let platform = Arc::new(IdlePlatform::of(PlatformKind::new("docker")));
        let runtime = Runtime::new(
            store,
            Registry::default(),
            HealthPolicy::default(),
            vec![platform],
            false,
        );
        let operations = Operations::new(Arc::new(Placement::new(Arc::new(runtime))));
        let now = Timestamp::now();
        let host = testing::host(now);
        let network = operations.runtime.registry.get("cometbft").unwrap();
        let preset = network.preset("single");
        let parameters = network.validate(&preset, &serde_json::Map::new()).unwrap();
        let cluster = ClusterRow {
            preset,
            parameters: Json(parameters),
            ..testing::free(&host, "c1", now)
        };
        let mut tx = operations.store().begin().await.unwrap();
        tx.host_insert(host.clone()).await.unwrap();
        tx.cluster_insert(cluster.clone(), Vec::new()).await.unwrap();
        tx.commit("test").await.unwrap();
        (folder, operations, host, cluster)
    }

    #[tokio::test]
    async fn a_generation_is_rendered_once() {
        let (_folder, operations, _, cluster) = accepted().await;
        let twice = tokio::join!(
            operations.render_accepted(cluster.id, 1, Priority::Background),
            operations.render_accepted(cluster.id, 1, Priority::Background)
        );
        twice.0.unwrap();
        twice.1.unwrap();
        let read = operations.store().read();
        let rendered = read.revision(cluster.id, 1).await.unwrap().unwrap();
        operations
            .render_accepted(cluster.id, 1, Priority::Background)
            .await
            .unwrap();
        let again = read.revision(cluster.id, 1).await.unwrap().unwrap();
        assert_eq!(rendered.public, again.public);
        operations.store().close().await.unwrap();
    }

    #[tokio::test]
    async fn the_cached_spec_of_a_render_is_the_stored_one() {
        let (_folder, operations, _, cluster) = accepted().await;
        operations
            .render_accepted(cluster.id, 1, Priority::Background)
            .await
            .unwrap();
        let runtime = &operations.runtime;
        let cached = runtime.specs.get(cluster.id, 1).unwrap();
        runtime.specs.forget(cluster.id);
        let read = runtime.spec(cluster.id, 1).await.unwrap().unwrap();
        assert_eq!(cached, read);
        operations.store().close().await.unwrap();
    }

    #[tokio::test]
    async fn a_generation_that_is_no_longer_current_is_not_rendered() {
        let (_folder, operations, _, mut cluster) = accepted().await;
        cluster.generation = 2;
        let mut tx = operations.store().begin().await.unwrap();
        tx.cluster_save(cluster.clone()).await.unwrap();
        tx.commit("test").await.unwrap();
        operations
            .render_accepted(cluster.id, 1, Priority::Background)
            .await
            .unwrap();
        let read = operations.store().read();
        assert!(read.revision(cluster.id, 1).await.unwrap().is_none());
        operations
            .render_accepted(cluster.id, 2, Priority::Background)
            .await
            .unwrap();
        assert!(read.revision(cluster.id, 2).await.unwrap().is_some());
        operations.store().close().await.unwrap();
    }

    #[tokio::test]
    async fn a_render_that_was_overtaken_is_discarded() {
        type Change = fn(&mut ClusterRow, &mut HostRow);

        let (_folder, operations, host, cluster) = accepted().await;
        let network = operations.runtime.registry.get("cometbft").unwrap();
        let spec = network.render(&render_request(&host, &cluster, &[], network.as_ref()), &seed());
        let changes: [(Change, bool); 3] = [
            (|cluster, _| cluster.health_reason.push('x'), true),
            (|_, host| host.settings.0.public_address.push('1'), true),
            (|_, host| host.settings.0.capacity += 1, false),
        ];
        for (change, overtakes) in changes {
            let mut tx = operations.store().begin().await.unwrap();
            let read = (
                tx.cluster(cluster.id).await.unwrap().unwrap(),
                tx.host(host.id).await.unwrap().unwrap(),
            );
            let (mut row, mut on) = read.clone();
            change(&mut row, &mut on);
            if row != read.0 {
                tx.cluster_save(row).await.unwrap();
            }
            if on != read.1 {
                tx.host_save(on).await.unwrap();
            }
            let stored = operations
                .render_store(&mut tx, (&read.0, &read.1), spec.clone(), network.as_ref())
                .await
                .unwrap();
            assert_eq!(stored.is_none(), overtakes);
            if overtakes {
                tx.commit("test").await.unwrap();
            }
        }
        let read = operations.store().read();
        assert!(read.revision(cluster.id, 1).await.unwrap().is_none());
        operations.store().close().await.unwrap();
    }
}
