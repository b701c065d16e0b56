//! Proxies in front of us: which of them may say who the client is and how it came.

use http::{HeaderMap, header::HeaderName};
use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Says for whom a proxy asks; each proxy adds the address that it saw.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What else a proxy may say of the client's request.
const FORWARDED: [HeaderName; 2] = [
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

/// A proxy's address, or the network that proxies are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork(IpNet);

impl FromStr for ProxyNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| Self(network.trunc())).map_err(|_| {
            format!("{text:?} is neither an address nor a network; write it like 10.0.0.5 or 10.0.0.0/24")
        })
    }
}

impl fmt::Display for ProxyNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proxies whose word counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    /// A proxy on this machine: it had to be named by nothing but an https public URL before there was a list.
    loopback: bool,
}

impl Proxies {
    /// The stated ones, and with `loopback` this machine's.
    pub(crate) fn new(networks: &[ProxyNetwork], loopback: bool) -> Self {
        Self {
            networks: networks.iter().map(|network| network.0).collect(),
            loopback,
        }
    }

    /// Whether somebody at this address is a proxy of ours.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        (self.loopback && address.is_loopback())
            || self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the peer, or what trusted proxies say, read from the last word back to the first that is not
    /// a trusted proxy's. What stands before that is hearsay.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .collect();
        let mut words = lines.iter().rev().flat_map(|line| line.rsplit(','));
        while self.trusts(client) {
            let Some(said) = words.next().and_then(address) else {
                break;
            };
            client = said.to_canonical();
        }
        client
    }

    /// Takes away what somebody says of the way here who has no say in it. A peer on this machine keeps the say on scheme
    /// and host, which concern its own session alone.
    pub(crate) fn forget_hearsay(&self, peer: IpAddr, headers: &mut HeaderMap) {
        if !self.trusts(peer) && !peer.to_canonical().is_loopback() {
            for name in FORWARDED {
                headers.remove(name);
            }
        }
    }
}

/// One word of the header: an address, with a port in some proxies' words.
fn address(word: &str) -> Option<IpAddr> {
    let word = word.trim();
    let bare = word
        .strip_prefix('[')
        .and_then(|word| word.strip_suffix(']'))
        .unwrap_or(word);
    bare.parse()
        .ok()
        .or_else(|| word.parse::<SocketAddr>().ok().map(|address| address.ip()))
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
    fn the_first_address_from_the_end_that_is_no_proxy_counts() {
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
    fn only_a_proxy_says_how_a_client_came() {
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
            proxies.forget_hearsay(ip(peer), &mut headers);
            assert_eq!(headers.len() == 2, kept, "{peer}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_a_range() {
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
