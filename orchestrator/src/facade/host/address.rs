//! Addresses of a host: of its engine, and those at which its clusters are reached.

use crate::{Error, Result};
use chainpool_api::host_text::shortened;

/// The maximum length of an address, which may list several swarm managers.
const ADDRESS: usize = 1024;

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
