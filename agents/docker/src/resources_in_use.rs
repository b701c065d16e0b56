//! Networks and ports in use by others on the engine's host.

use crate::DockerAgent;
use bollard::models::{ContainerSummary, Network};
use chainpool_agent::{LABEL_INSTANCE, ResourcesInUse};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

impl DockerAgent {
    /// Collected from listings of all containers and networks, and from this machine's routes and sockets if
    /// the engine is local. Our own published ports are in the database and excluded here.
    pub(crate) async fn resources_in_use(
        &self,
        containers: &[ContainerSummary],
        networks: &[Network],
    ) -> ResourcesInUse {
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
            // Other operating systems have no such tables; the engine's own checks remain.
            networks.extend(routes(&table("route").await));
            for sockets in ["tcp", "tcp6"] {
                ports.extend(
                    listening(&table(sockets).await)
                        .into_iter()
                        .filter(|port| !ours.contains(port)),
                );
            }
        }
        ResourcesInUse { networks, ports }
    }

    /// Returns true if these are labels of this instance.
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

/// A network table of the kernel; empty if absent.
async fn table(name: &str) -> String {
    tokio::fs::read_to_string(format!("/proc/net/{name}"))
        .await
        .unwrap_or_default()
}

/// The listening ports in a Linux table of TCP sockets.
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

/// The networks of a Linux routing table, without the default route and the engine's bridges.
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
    fn routes_exclude_the_default_and_bridges() {
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
    fn listening_ports_exclude_connections() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:4E20 00000000:0000 0A 0\n   1: 0100007F:4E21 0100007F:1F90 01 0\n";
        assert_eq!(listening(table), vec![20_000]);
    }
}
