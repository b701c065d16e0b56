//! The network of one generation of a cluster, over all machines.
//!
//! A swarm accepts a network with an overlapping subnet without an error, but never allocates it. So overlaps
//! are checked first, and a new network is checked for its allocation.

use super::manager::Manager;
use crate::{
    engine::{CallError, wait_for_retry},
    network::subnets,
};
use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use chainpool_agent::{ClusterKey, Error, Labels, NetworkSpec, Place, Result, network_name};
use ipnet::Ipv4Net;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Time limit of a network's address allocation, which happens at once or never.
const ADDRESSES: Duration = Duration::from_secs(10);

impl Manager<'_> {
    /// Creates the network, or adopts it. Network names are unique in a swarm.
    pub(super) async fn network_ensure(&self, key: &ClusterKey, spec: &NetworkSpec) -> Result<()> {
        let name = network_name(key);
        let ours = Labels::of_cluster(self.agent.instance, key);
        let deadline = Instant::now() + ADDRESSES;
        loop {
            let all = self.agent.networks(&HashMap::new()).await?;
            let (named, others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|n| n.name.as_deref() == Some(&name));
            if named
                .iter()
                .any(|n| n.labels.as_ref().and_then(Labels::from_map).as_ref() != Some(&ours))
            {
                return Err(Error::Foreign(format!("network {name}")));
            }
            match named.first() {
                Some(network) if fits(network, spec) => return Ok(()),
                Some(network) if has_addresses(network) => self.network_discard(network, &name).await?,
                // Its allocation is pending, permanently if the subnet overlaps.
                Some(network) => {
                    if let Some(error) = occupied(spec, &others) {
                        self.network_discard(network, &name).await?;
                        return Err(error);
                    }
                }
                None => {
                    if let Some(error) = occupied(spec, &others) {
                        return Err(error);
                    }
                    match self.network_create(spec, &name, &ours).await {
                        Ok(()) => continue,
                        Err(fault) if fault.has_code(409) || fault.message_contains("already exists") => {}
                        Err(fault) => return Err(fault.into_error(&format!("create the network {name}"))),
                    }
                }
            }
            if !wait_for_retry(deadline).await {
                return Err(Error::Busy(format!(
                    "the swarm has not allocated addresses to the network {name}"
                )));
            }
        }
    }

    async fn network_create(&self, spec: &NetworkSpec, name: &str, ours: &Labels) -> Result<(), CallError> {
        let docker = self.docker().await?;
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("overlay".to_owned()),
            ipam: spec.subnet.map(|subnet| Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.trunc().to_string()),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            labels: Some(ours.to_map()),
            ..NetworkCreateRequest::default()
        };
        self.call(docker.create_network(request)).await.map(drop)
    }

    async fn network_discard(&self, network: &Network, name: &str) -> Result<()> {
        let removed = self
            .agent
            .network_remove(network.id.as_deref().unwrap_or(name))
            .await;
        removed.map_err(|f| f.into_error(&format!("remove the network {name}, which has the wrong subnet")))
    }
}

fn has_addresses(network: &Network) -> bool {
    network.driver.as_deref().is_some_and(|driver| !driver.is_empty())
}

fn fits(network: &Network, spec: &NetworkSpec) -> bool {
    network.driver.as_deref() == Some("overlay")
        && spec
            .subnet
            .is_none_or(|subnet| subnets(network).eq([subnet.trunc()]))
}

/// The error if another network overlaps the subnet.
fn occupied(spec: &NetworkSpec, others: &[Network]) -> Option<Error> {
    let subnet = spec.subnet?.trunc();
    let overlaps = |other: Ipv4Net| other.contains(&subnet) || subnet.contains(&other);
    let holder = others.iter().find(|n| subnets(n).any(overlaps))?;
    Some(Error::Occupied {
        place: Place::Subnet(subnet),
        reason: format!(
            "the subnet {subnet} overlaps the network {} in this swarm: remove that network, or give the host other subnets",
            holder.name.as_deref().unwrap_or("another one")
        ),
    })
}
