//! Settings from the server: how browsers reach the dashboard, and the limits for requests without sign-in.

use crate::cookie::cookie;
use axum::extract::Request;
use http::HeaderMap;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Maximum body size without sign-in.
pub const ANONYMOUS_BODY_LIMIT: usize = 8 * 1024;

/// How browsers reach the dashboard. The server adds it to the extensions of each request, as an `Arc`.
#[derive(Debug, Default)]
pub struct Site {
    /// HTTPS, at the server or at a proxy.
    pub https: bool,
    /// Base path, such as `/pool`; empty at the root. Requests arrive without it.
    pub base: String,
    /// Instance ID. Browsers send a host's cookies to all its ports, so each instance needs its own cookie
    /// name.
    pub instance: String,
    /// Limit of concurrent forms without sign-in.
    pub anonymous: PerAddressLimit,
}

impl Site {
    /// True if a request came over HTTPS, also as reported by a proxy.
    pub(crate) fn is_https(&self, headers: &HeaderMap) -> bool {
        self.https
            || headers
                .get("x-forwarded-proto")
                .is_some_and(|proto| proto.as_bytes() == b"https")
    }

    /// The secret in a request's session cookie.
    pub fn session(&self, request: &Request) -> Option<String> {
        let headers = request.headers();
        cookie(headers, &self.session_cookie(self.is_https(headers)))
    }

    /// The name of the session cookie. Over HTTPS it has a prefix that browsers accept only from this host
    /// (RFC 6265bis, cookie name prefixes), so other ports and sibling domains cannot set it.
    pub(crate) fn session_cookie(&self, https: bool) -> String {
        let prefix = match (https, self.base.is_empty()) {
            (false, _) => "",
            (true, true) => "__Host-",
            (true, false) => "__Secure-",
        };
        let instance: String = self
            .instance
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let instance = &instance[instance.len().saturating_sub(12)..];
        if instance.is_empty() {
            format!("{prefix}chainpool_session")
        } else {
            format!("{prefix}chainpool_session_{instance}")
        }
    }

    /// The path of the cookies.
    pub(crate) fn cookie_path(&self) -> &str {
        if self.base.is_empty() { "/" } else { &self.base }
    }
}

/// A concurrency limit, in total and per client address.
#[derive(Debug, Clone)]
pub struct PerAddressLimit(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    total: usize,
    per_address: usize,
    in_use: Mutex<HashMap<IpAddr, usize>>,
}

/// A permit of a [`PerAddressLimit`], returned on drop.
#[derive(Debug)]
#[must_use = "the permit is returned on drop"]
pub struct Permit {
    limits: Arc<Limits>,
    network: IpAddr,
}

impl PerAddressLimit {
    /// A limit of `total` permits, and of `per_address` for each client network.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self(Arc::new(Limits {
            total,
            per_address,
            in_use: Mutex::default(),
        }))
    }

    /// Acquires a permit for an address; `None` if a limit is reached.
    pub fn acquire(&self, address: Option<IpAddr>) -> Option<Permit> {
        let network = address.map_or(Ipv4Addr::UNSPECIFIED.into(), client_network);
        let mut in_use = self.0.in_use();
        let own = in_use.get(&network).copied().unwrap_or_default();
        if own >= self.0.per_address || in_use.values().sum::<usize>() >= self.0.total {
            return None;
        }
        in_use.insert(network, own + 1);
        Some(Permit {
            limits: Arc::clone(&self.0),
            network,
        })
    }
}

impl Default for PerAddressLimit {
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }
}

impl Limits {
    fn in_use(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Every change is atomic, so the data behind a poisoned lock is consistent.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_use = self.limits.in_use();
        match in_use.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(in_use.remove(&self.network)),
        }
    }
}

/// The network that counts as one client: the address for IPv4, the /64 for IPv6.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_name_has_the_instance_and_a_prefix_over_https() {
        let site = |base: &str| Site {
            base: base.into(),
            instance: "0199a3f2-7c41-7d10-9a55-0123456789ab".into(),
            ..Site::default()
        };
        assert_eq!(site("").session_cookie(false), "chainpool_session_0123456789ab");
        assert_eq!(
            site("").session_cookie(true),
            "__Host-chainpool_session_0123456789ab"
        );
        assert_eq!(
            site("/pool").session_cookie(true),
            "__Secure-chainpool_session_0123456789ab"
        );
        assert_eq!(
            (site("").cookie_path(), site("/pool").cookie_path()),
            ("/", "/pool")
        );
    }

    #[test]
    fn permits_are_limited_in_total_and_per_address_and_returned_on_drop() {
        let ip = |text: &str| Some(text.parse().unwrap());
        let limit = PerAddressLimit::new(3, 2);
        let (one, two) = (
            limit.acquire(ip("203.0.113.1")),
            limit.acquire(ip("::ffff:203.0.113.1")),
        );
        assert!(one.is_some() && two.is_some() && limit.acquire(ip("203.0.113.1")).is_none());
        let other = limit.acquire(ip("2001:db8::1"));
        assert!(
            other.is_some() && limit.acquire(ip("2001:db8::2")).is_none(),
            "the total is reached"
        );
        drop(one);
        assert!(limit.acquire(ip("2001:db8::2")).is_some());
        drop((two, other));
        assert!(limit.0.in_use().is_empty());
    }
}
