//! The network of one generation of a cluster.

use crate::{
    DockerAgent,
    engine::{CALL, CallError, wait_for_retry},
};
use bollard::{
    models::{Ipam, IpamConfig, Network, NetworkCreateRequest},
    query_parameters::ListNetworksOptionsBuilder,
};
use chainpool_agent::{ClusterKey, Error, Labels, NetworkSpec, Place, Result, absent_is_fine, network_name};
use ipnet::Ipv4Net;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Time limit until a network from a concurrent call is visible.
const TWIN: Duration = Duration::from_secs(10);

impl DockerAgent {
    /// Creates the network, or adopts it. Engines allow two networks of one name, so the name is looked up
    /// first.
    pub(crate) async fn network_ensure(&self, key: &ClusterKey, spec: &NetworkSpec) -> Result<()> {
        let name = network_name(key);
        let deadline = Instant::now() + TWIN;
        loop {
            if self.network_settled(key, spec, &name).await? {
                return Ok(());
            }
            match self.network_create(key, spec, &name).await {
                // With a subnet, the engine admits only one of two. Without one, check for a concurrent twin.
                Ok(()) if spec.subnet.is_some() => return Ok(()),
                Ok(()) => {}
                Err(fault) if fault.message_contains("overlap") => {
                    let refused = self.overlap(spec, &name, fault).await?;
                    if !wait_for_retry(deadline).await {
                        return Err(refused);
                    }
                }
                Err(fault) => return Err(fault.into_error(&format!("create the network {name}"))),
            }
        }
    }

    /// Returns true if exactly one matching network of this name exists. Removes wrong and surplus ones of
    /// ours.
    async fn network_settled(&self, key: &ClusterKey, spec: &NetworkSpec, name: &str) -> Result<bool> {
        let found = self.networks_named(name).await?;
        let ours = Labels::of_cluster(self.instance, key);
        if found
            .iter()
            .any(|n| n.labels.as_ref().and_then(Labels::from_map).as_ref() != Some(&ours))
        {
            return Err(Error::Foreign(format!("network {name}")));
        }
        let (mut right, mut surplus): (Vec<_>, Vec<_>) = found.into_iter().partition(|n| fits(n, spec));
        // Keep the oldest: its creator may use it already.
        right.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        surplus.extend(right.drain(1.min(right.len())..));
        for network in surplus {
            self.network_remove(network.id.as_deref().unwrap_or(name))
                .await
                .map_err(|f| {
                    f.into_error(&format!("remove the network {name}, which has the wrong subnet"))
                })?;
        }
        Ok(!right.is_empty())
    }

    async fn network_create(
        &self,
        key: &ClusterKey,
        spec: &NetworkSpec,
        name: &str,
    ) -> Result<(), CallError> {
        let docker = self.engine.docker().await?;
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: spec.subnet.map(|subnet| Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.trunc().to_string()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            labels: Some(Labels::of_cluster(self.instance, key).to_map()),
            ..NetworkCreateRequest::default()
        };
        self.engine
            .call(CALL, docker.create_network(request))
            .await
            .map(drop)
    }

    pub(crate) async fn network_remove(&self, id: &str) -> Result<(), CallError> {
        let docker = self.engine.docker().await?;
        absent_is_fine(self.engine.call(CALL, docker.remove_network(id)).await)
    }

    pub(crate) async fn networks_named(&self, name: &str) -> Result<Vec<Network>> {
        let mut list = self
            .networks(&HashMap::from([("name", vec![name.to_owned()])]))
            .await?;
        list.retain(|n| n.name.as_deref() == Some(name)); // the engine's filter also matches parts of names
        Ok(list)
    }

    pub(crate) async fn networks(&self, filters: &HashMap<&str, Vec<String>>) -> Result<Vec<Network>> {
        let docker = self.engine.docker().await?;
        let options = ListNetworksOptionsBuilder::default().filters(filters).build();
        self.engine
            .call(CALL, docker.list_networks(Some(options)))
            .await
            .map_err(|f| f.into_error("list its networks"))
    }

    /// Fails at once if another network has the subnet. A concurrent twin of ours is fine; in that case, and
    /// while no holder is visible, returns the error for use after the deadline.
    async fn overlap(&self, spec: &NetworkSpec, name: &str, fault: CallError) -> Result<Error> {
        let Some(subnet) = spec.subnet.map(|s| s.trunc()) else {
            return Err(fault.into_error(&format!("create the network {name}")));
        };
        let refused = |holder: &str| Error::Occupied {
            place: Place::Subnet(subnet),
            reason: format!(
                "the subnet {subnet} overlaps {holder} on this engine: remove that network, or give the host other subnets"
            ),
        };
        let all = self.networks(&HashMap::new()).await?;
        let overlaps =
            |n: &&Network| subnets(n).any(|other| other.contains(&subnet) || subnet.contains(&other));
        match all.iter().find(overlaps).and_then(|n| n.name.as_deref()) {
            Some(holder) if holder != name => Err(refused(&format!("the network {holder}"))),
            _ => Ok(refused("another network")),
        }
    }
}

pub(crate) fn subnets(network: &Network) -> impl Iterator<Item = Ipv4Net> {
    let configs = network
        .ipam
        .as_ref()
        .and_then(|i| i.config.as_deref())
        .unwrap_or_default();
    configs.iter().filter_map(|c| c.subnet.as_deref()?.parse().ok())
}

fn fits(network: &Network, spec: &NetworkSpec) -> bool {
    network.driver.as_deref() == Some("bridge")
        && spec
            .subnet
            .is_none_or(|subnet| subnets(network).eq([subnet.trunc()]))
}
