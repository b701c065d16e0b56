//! The network of one generation of a cluster, over all machines.
//!
//! A swarm takes a network whose addresses others have without a word, and then never gives it any. So others are looked at
//! first, and a new one is seen to have got its addresses.

use super::manager::Manager;
use crate::{
    engine::{Fault, look_again},
    network::subnets,
};
use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use chainpool_agent::{ClusterKey, Error, Labels, NetworkSpec, Place, Result, network_name};
use ipnet::Ipv4Net;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How long a swarm may take to give a network its addresses. It does so at once, or never.
const ADDRESSES: Duration = Duration::from_secs(10);

impl Manager<'_> {
    /// Makes the network, or adopts it. Names of networks are unique in a swarm.
    pub(super) async fn network_ensure(&self, key: &ClusterKey, spec: &NetworkSpec) -> Result<()> {
        let name = network_name(key);
        let ours = Labels::of_cluster(self.hands.instance, key);
        let deadline = Instant::now() + ADDRESSES;
        loop {
            let all = self.hands.networks(&HashMap::new()).await?;
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
                // It waits for its addresses, and would for ever if others have them.
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
                        Err(fault) if fault.is(409) || fault.says("already exists") => {}
                        Err(fault) => return Err(fault.into_error(&format!("make the network {name}"))),
                    }
                }
            }
            if !look_again(deadline).await {
                return Err(Error::Busy(format!(
                    "the swarm gives the network {name} no addresses"
                )));
            }
        }
    }

    async fn network_create(&self, spec: &NetworkSpec, name: &str, ours: &Labels) -> Result<(), Fault> {
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
            .hands
            .network_remove(network.id.as_deref().unwrap_or(name))
            .await;
        removed.map_err(|f| {
            f.into_error(&format!(
                "remove the network {name}, whose addresses are not the wanted ones"
            ))
        })
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

/// The error that another network with these addresses is.
fn occupied(spec: &NetworkSpec, others: &[Network]) -> Option<Error> {
    let subnet = spec.subnet?.trunc();
    let overlaps = |other: Ipv4Net| other.contains(&subnet) || subnet.contains(&other);
    let holder = others.iter().find(|n| subnets(n).any(overlaps))?;
    Some(Error::Occupied {
        place: Place::Subnet(subnet),
        words: format!(
            "the subnet {subnet} overlaps the network {} in this swarm: remove that, or give the host other subnets",
            holder.name.as_deref().unwrap_or("another one")
        ),
    })
}
