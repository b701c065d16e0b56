//! What the server around the pages knows: how browsers reach them, and what people who are not signed in may cost.

use crate::session::cookie;
use axum::extract::Request;
use http::HeaderMap;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The largest body of somebody who is not signed in.
pub const ANONYMOUS_BODY_LIMIT: usize = 8 * 1024;

/// How browsers reach the pages. The server puts it into each request's extensions, as an `Arc`.
#[derive(Debug, Default)]
pub struct Site {
    /// By https, to us or to a proxy in front.
    pub https: bool,
    /// The path below which everything stands, such as `/pool`; empty at the root. Requests come without it.
    pub base: String,
    /// This installation's identity. Browsers send a host's cookies to all of its ports, so each needs a name of its own.
    pub instance: String,
    /// Bodies of people who are not signed in.
    pub anonymous: Shares,
}

impl Site {
    /// Whether a request came by https; a proxy may say so.
    pub(crate) fn is_https(&self, headers: &HeaderMap) -> bool {
        self.https
            || headers
                .get("x-forwarded-proto")
                .is_some_and(|said| said.as_bytes() == b"https")
    }

    /// The secret in a request's session cookie.
    pub fn session(&self, request: &Request) -> Option<String> {
        let headers = request.headers();
        cookie(headers, &self.session_cookie(self.is_https(headers)))
    }

    /// The session cookie's name. By https it begins with a word that browsers take from this host alone (RFC 6265bis,
    /// cookie name prefixes), so nobody at another port or at a name beside ours can set it.
    pub(crate) fn session_cookie(&self, https: bool) -> String {
        let guard = match (https, self.base.is_empty()) {
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
            format!("{guard}chainpool_session")
        } else {
            format!("{guard}chainpool_session_{instance}")
        }
    }

    /// The path that cookies are for.
    pub(crate) fn cookie_path(&self) -> &str {
        if self.base.is_empty() { "/" } else { &self.base }
    }
}

/// So many of something at once, and so many of each address.
#[derive(Debug, Clone)]
pub struct Shares(Arc<Bound>);

#[derive(Debug)]
struct Bound {
    all: usize,
    each: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One of the [`Shares`], given back when it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Share {
    bound: Arc<Bound>,
    holder: IpAddr,
}

impl Shares {
    /// So many in all, so many of each address.
    pub fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Bound {
            all,
            each,
            taken: Mutex::default(),
        }))
    }

    /// Takes one for an address; `None`: it has too many already, or all of them together have.
    pub fn take(&self, address: Option<IpAddr>) -> Option<Share> {
        let holder = address.map_or(Ipv4Addr::UNSPECIFIED.into(), holder);
        let mut taken = self.0.taken();
        let own = taken.get(&holder).copied().unwrap_or_default();
        if own >= self.0.each || taken.values().sum::<usize>() >= self.0.all {
            return None;
        }
        taken.insert(holder, own + 1);
        Some(Share {
            bound: Arc::clone(&self.0),
            holder,
        })
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }
}

impl Bound {
    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Each change is one step, so a poisoned lock is as good as any.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.bound.taken();
        match taken.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.holder)),
        }
    }
}

/// Whom an address belongs to: with IPv6 a whole /64 is one customer's.
pub fn holder(address: IpAddr) -> IpAddr {
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
    fn the_cookie_is_of_one_installation_and_guarded_where_browsers_can() {
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
    fn shares_are_bounded_for_each_and_for_all_and_come_back() {
        let ip = |text: &str| Some(text.parse().unwrap());
        let shares = Shares::new(3, 2);
        let (one, two) = (
            shares.take(ip("203.0.113.1")),
            shares.take(ip("::ffff:203.0.113.1")),
        );
        assert!(one.is_some() && two.is_some() && shares.take(ip("203.0.113.1")).is_none());
        let other = shares.take(ip("2001:db8::1"));
        assert!(
            other.is_some() && shares.take(ip("2001:db8::2")).is_none(),
            "all are taken"
        );
        drop(one);
        assert!(shares.take(ip("2001:db8::2")).is_some());
        drop((two, other));
        assert!(shares.0.taken().is_empty());
    }
}
