//! What is in use on the engine's host and not ours: networks and ports.

use crate::DockerAgent;
use bollard::models::{ContainerSummary, Network};
use chainpool_agent::{LABEL_INSTANCE, Taken};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

impl DockerAgent {
    /// From listings of all containers and networks. This machine's own routes and sockets count where the engine is this
    /// machine's. Our own published ports are in the database; the engine listens on them too, so they are left out.
    pub(crate) async fn taken(&self, containers: &[ContainerSummary], networks: &[Network]) -> Taken {
        let configs = networks
            .iter()
            .filter(|n| !self.owns(n.labels.as_ref()))
            .filter_map(|n| n.ipam.as_ref()?.config.as_ref())
            .flatten();
        let mut networks: Vec<Ipv4Net> = configs
            .filter_map(|config| config.subnet.as_ref()?.parse().ok())
            .collect();
        let (ours, others): (Vec<_>, Vec<_>) = containers.iter().partition(|c| self.owns(c.labels.as_ref()));
        let (ours, mut ports) = (published(&ours), published(&others));
        if self.engine.address().is_local() {
            // Another system keeps its tables elsewhere; the engine's own checks remain.
            networks.extend(routes(&table("route").await));
            for sockets in ["tcp", "tcp6"] {
                ports.extend(
                    listening(&table(sockets).await)
                        .into_iter()
                        .filter(|port| !ours.contains(port)),
                );
            }
        }
        Taken { networks, ports }
    }

    /// Whether these are the labels of an object of this instance.
    pub(crate) fn owns(&self, labels: Option<&HashMap<String, String>>) -> bool {
        labels.and_then(|l| l.get(LABEL_INSTANCE)) == Some(&self.instance.to_string())
    }
}

fn published(containers: &[&ContainerSummary]) -> BTreeSet<u16> {
    containers
        .iter()
        .filter_map(|c| c.ports.as_ref())
        .flatten()
        .filter_map(|p| p.public_port)
        .collect()
}

/// A table of the kernel's network; empty where there is none.
async fn table(name: &str) -> String {
    tokio::fs::read_to_string(format!("/proc/net/{name}"))
        .await
        .unwrap_or_default()
}

/// The ports that a Linux table of TCP sockets shows as listened on.
fn listening(table: &str) -> Vec<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        (state == "0A")
            .then(|| u16::from_str_radix(port, 16).ok())
            .flatten()
    };
    table.lines().skip(1).filter_map(port).collect()
}

/// The networks of a Linux routing table that lead neither everywhere nor to one of the engine's bridges.
fn routes(table: &str) -> Vec<Ipv4Net> {
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16)
            .ok()
            .map(|n| Ipv4Addr::from(n.swap_bytes()))
    };
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let (device, destination, mask) = (fields.next()?, fields.next()?, fields.nth(5)?);
        let net = Ipv4Net::with_netmask(address(destination)?, address(mask)?).ok()?;
        let bridge = device.starts_with("br-") || device.starts_with("docker");
        (net.prefix_len() > 0 && !bridge).then_some(net)
    };
    table.lines().skip(1).filter_map(route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_without_the_default_and_the_bridges() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            br-1\t0000D50A\t00000000\t0001\t0\t0\t0\tC0FFFFFF\t0\t0\t0\n";
        assert_eq!(
            routes(table),
            vec!["10.0.0.0/24".parse::<Ipv4Net>().expect("a net")]
        );
    }

    #[test]
    fn listening_ports_are_read_and_connections_are_not() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:4E20 00000000:0000 0A 0\n   1: 0100007F:4E21 0100007F:1F90 01 0\n";
        assert_eq!(listening(table), vec![20_000]);
    }
}
