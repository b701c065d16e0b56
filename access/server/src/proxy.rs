//! Trusted reverse proxies, whose forwarding headers determine the client's address.

use http::{HeaderMap, header::HeaderName};
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Client address; each proxy appends the address of its peer.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Scheme and host of the client's request.
const FORWARDED: [HeaderName; 2] = [
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

/// Address or network of trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork(IpNet);

impl FromStr for ProxyNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| Self(network.trunc())).map_err(|_| {
            format!("{text:?} is not an address or network; use the form 10.0.0.5 or 10.0.0.0/24")
        })
    }
}

impl fmt::Display for ProxyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Trusted proxies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    /// Trust loopback: with an https public URL, a proxy on this machine needs no entry (older
    /// configurations).
    loopback: bool,
}

impl Proxies {
    /// The given networks, and with `loopback` this machine.
    pub(crate) fn new(networks: &[ProxyNetwork], loopback: bool) -> Self {
        Self {
            networks: networks.iter().map(|network| network.0).collect(),
            loopback,
        }
    }

    /// `true` if the address belongs to a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        (self.loopback && address.is_loopback())
            || self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer, or the last address in the header that is not a trusted proxy's.
    /// Earlier entries are untrusted.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .collect();
        let mut entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
        while self.trusts(client) {
            let Some(forwarded) = entries.next().and_then(address) else {
                break;
            };
            client = forwarded.to_canonical();
        }
        client
    }

    /// Removes forwarding headers of untrusted peers. A peer on this machine may set scheme and host, which
    /// affect only its own session.
    pub(crate) fn strip_untrusted_headers(&self, peer: IpAddr, headers: &mut HeaderMap) {
        if !self.trusts(peer) && !peer.to_canonical().is_loopback() {
            for name in FORWARDED {
                headers.remove(name);
            }
        }
    }
}

/// Parses one entry of the header: an address, with a port from some proxies.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry
        .strip_prefix('[')
        .and_then(|entry| entry.strip_suffix(']'))
        .unwrap_or(entry);
    bare.parse()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (FORWARDED_FOR, line.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_last_untrusted_address_is_the_client() {
        let proxies = Proxies::new(
            &["10.0.0.0/24".parse().unwrap(), "fd00::5".parse().unwrap()],
            false,
        );
        for (peer, lines, client) in [
            ("10.0.0.5", &["6.6.6.6, 203.0.113.9"][..], "203.0.113.9"),
            ("10.0.0.5", &["6.6.6.6, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
            ("10.0.0.5", &["6.6.6.6", "203.0.113.9", "fd00::5"], "203.0.113.9"),
            ("10.0.0.5", &["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.5", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.5", &["203.0.113.9, unknown"], "10.0.0.5"),
            ("10.0.0.5", &[], "10.0.0.5"),
            ("::ffff:10.0.0.5", &["203.0.113.9"], "203.0.113.9"),
            ("203.0.113.50", &["6.6.6.6"], "203.0.113.50"),
            ("127.0.0.1", &["6.6.6.6"], "127.0.0.1"),
        ] {
            assert_eq!(
                proxies.client(ip(peer), &headers(lines)),
                ip(client),
                "{peer} {lines:?}"
            );
        }
        let local = Proxies::new(&[], true);
        assert_eq!(
            local.client(ip("127.0.0.1"), &headers(&["6.6.6.6, 203.0.113.9"])),
            ip("203.0.113.9")
        );
        assert_eq!(
            local.client(ip("10.0.0.5"), &headers(&["6.6.6.6"])),
            ip("10.0.0.5")
        );
    }

    #[test]
    fn forwarding_headers_of_untrusted_peers_are_removed() {
        let proxies = Proxies::new(&["10.0.0.5".parse().unwrap()], false);
        for (peer, kept) in [
            ("10.0.0.5", true),
            ("127.0.0.1", true),
            ("10.0.0.6", false),
            ("203.0.113.9", false),
        ] {
            let mut headers: HeaderMap = FORWARDED
                .into_iter()
                .map(|name| (name, "https".parse().unwrap()))
                .collect();
            proxies.strip_untrusted_headers(ip(peer), &mut headers);
            assert_eq!(headers.len() == 2, kept, "{peer}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        assert_eq!(
            "10.0.0.5".parse::<ProxyNetwork>().unwrap().to_string(),
            "10.0.0.5/32"
        );
        assert_eq!(
            "10.0.0.5/24".parse::<ProxyNetwork>().unwrap().to_string(),
            "10.0.0.0/24"
        );
        for bad in ["", "10.0.0", "10.0.0.0/33", "proxy.example.org"] {
            assert!(
                bad.parse::<ProxyNetwork>().unwrap_err().contains("10.0.0.0/24"),
                "{bad}"
            );
        }
    }
}
