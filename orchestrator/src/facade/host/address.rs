//! Addresses of a host: of its engine, and those at which its clusters are reached.

use super::input::{PublicAddress, shortened};
use crate::{Error, Result};
use ipnet::Ipv4Net;
use std::net::IpAddr;

/// The maximum length of an address, which may list several swarm managers.
const ADDRESS: usize = 1024;
/// The default range for the networks of a host's clusters.
pub(super) const SUBNETS: &str = "10.213.0.0/16";

/// Validates that an address is one line of limited length, since it appears in lists and logs. The agent
/// validates its form.
pub(super) fn check_address(address: &str) -> Result<()> {
    if address.len() > ADDRESS || address.contains(|c: char| c.is_control() || c.is_whitespace()) {
        let why = format!(
            "{:?} is not a valid address; use at most {ADDRESS} characters without spaces and control characters",
            shortened(address)
        );
        return Err(Error::field("address", why));
    }
    Ok(())
}
/// Validates a public address with a bind address: ports bound to loopback are reachable only on the host
/// itself.
pub(super) fn public_of_bind(given: String, bind: IpAddr) -> Result<String> {
    let parsed = given
        .parse::<PublicAddress>()
        .map_err(|why| Error::field("public_address", format!("{:?} {why}", shortened(&given))))?;
    match (bind.is_loopback(), parsed.is_loopback()) {
        (true, false) => Err(Error::field(
            "public_address",
            format!(
                "ports are bound to {bind}, so clusters are reachable only on that machine; omit {given} or bind to 0.0.0.0"
            ),
        )),
        (true, true) => Ok("127.0.0.1".to_owned()),
        (false, _) => Ok(given),
    }
}

/// Reads a bind address.
pub(super) fn read_bind(bind: &str) -> Result<IpAddr> {
    bind.parse().map_err(|_| {
        Error::field(
            "bind",
            format!("{bind:?} is not an IP address; use 0.0.0.0 or an address of the host"),
        )
    })
}

/// Reads a range of networks.
pub(super) fn read_subnets(subnets: &str) -> Result<Ipv4Net> {
    subnets.parse().map_err(|_| {
        Error::field(
            "subnets",
            format!("{subnets:?} is not an IPv4 network; use one such as {SUBNETS}"),
        )
    })
}

/// The address at which users reach a host's clusters: the host part of its first network address, or the
/// server's own.
pub(super) fn public_address_of(address: &str) -> String {
    let first = address.split(',').next().unwrap_or(address);
    if let Some(rest) = first
        .strip_prefix("tcp://")
        .or_else(|| first.strip_prefix("https://"))
    {
        let rest = rest.split('/').next().unwrap_or(rest);
        let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
        return host.trim_start_matches('[').trim_end_matches(']').to_owned();
    }
    own_address().unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// The source address of the default route. Nothing is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_address_is_the_host_part_of_the_address() {
        for (address, public) in [
            ("tcp://[fd00::5]:2376", "fd00::5"),
            ("https://h.example/k8s/clusters/c-m-7xk2", "h.example"),
            ("https://h.example:6443", "h.example"),
        ] {
            assert_eq!(public_address_of(address), public);
        }
    }

    #[test]
    fn an_address_is_one_line() {
        assert!(
            check_address("unix:///x\n2026-01-01 ERROR").is_err()
                && check_address(&"a".repeat(ADDRESS + 1)).is_err()
        );
        assert!(check_address("tcp://a:1,tcp://b:1").is_ok());
    }
}
