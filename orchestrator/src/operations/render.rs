//! Rendering: from a row to the spec of its generation, with fresh keys, on machines of its host.

use crate::{Error, Orchestrator, Result, runtime::public_endpoints::public_endpoints};
use chainpool_agent::{LogConfig, LogType, NetworkSpec, NodeName, Secret};
use chainpool_api::{self as api, Timestamp};
use chainpool_networks::{NetworkType, PortNeed, RenderRequest, Seed};
use chainpool_store::{ClusterRow, HostRow, Json, PortRow, Tx};
use rand::Rng;

impl Orchestrator {
    /// Renders the spec of a row's generation with fresh keys, chooses machines for its nodes and jobs, and
    /// stores it sealed.
    pub(crate) async fn render_into(
        &self,
        tx: &mut Tx,
        host: &HostRow,
        row: &mut ClusterRow,
        ports: &[PortRow],
        network: &dyn NetworkType,
    ) -> Result<()> {
        let now = Timestamp::now();
        let mut spec = network.render(&render_request(host, row, ports, network), &seed());
        if self.inner.agents.of(host)?.agent.capabilities().machines {
            let nodes: Vec<NodeName> = spec.processes().map(|node| node.name.clone()).collect();
            // An amended generation had more nodes.
            row.machines.0.retain(|node, _| nodes.contains(node));
            row.machines = Json(
                self.machines(
                    tx,
                    host,
                    row,
                    &nodes,
                    &network.requirements(&row.parameters.0).colocated,
                )
                .await?,
            );
            spec = spec.placed(&row.machines.0);
        }
        let generation = u32::try_from(row.generation).map_err(Error::internal)?;
        tx.revision_insert(row.id, generation, spec, now).await?;
        Ok(())
    }
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
