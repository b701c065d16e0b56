//! Limits on sign-ins, in memory and bounded.
//!
//! - an address and an account: 5 in a minute;
//! - an address: 30 in a minute, whatever the accounts;
//! - an account: 100 in 10 minutes over all addresses, against guesses from many. A stranger must not lock an account
//!   out by it: loopback, and addresses from which the account has signed in, neither count nor are counted there.
//!
//! An IPv6 address stands for its /64, because that is what one machine gets.

use crate::{Error, Result};
use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Tries of an address for one account, and of an address for all, in a minute.
const EACH: usize = 5;
const ADDRESS: usize = 30;
const MINUTE: Duration = Duration::from_mins(1);

/// Tries for an account from all addresses that it does not know.
const ACCOUNT: usize = 100;
const ACCOUNT_SPAN: Duration = Duration::from_mins(10);

/// How long an address is known to an account after a sign-in.
const KNOWN_SPAN: Duration = Duration::from_hours(30 * 24);

/// How many keys each of the tables has at most.
const MOST: usize = 10_000;

/// Where a sign-in comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source(Option<IpAddr>);

impl Source {
    /// The source that an address names; text that is none is one source, so that it cannot fill a table.
    pub(super) fn of(address: &str) -> Self {
        Self(address.parse().ok().map(|address: IpAddr| address.to_canonical()))
    }

    /// The source as the tables know it.
    fn network(self) -> Self {
        match self.0 {
            Some(IpAddr::V6(address)) if !address.is_loopback() => Self(Some(
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            )),
            other => Self(other),
        }
    }

    fn is_loopback(self) -> bool {
        self.0.is_some_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("an unknown address"),
        }
    }
}

/// Tries by key within a sliding span.
struct Window<K> {
    most: usize,
    span: Duration,
    tries: HashMap<K, VecDeque<Instant>>,
}

impl<K: Hash + Eq + Clone> Window<K> {
    fn new(most: usize, span: Duration) -> Self {
        Self {
            most,
            span,
            tries: HashMap::new(),
        }
    }

    /// How long until one more is allowed; `None`: at once.
    fn wait(&mut self, key: &K, now: Instant) -> Option<Duration> {
        let times = self.tries.get_mut(key)?;
        while times
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= self.span)
        {
            times.pop_front();
        }
        let first = times.front().filter(|_| times.len() >= self.most)?;
        Some(self.span.saturating_sub(now.saturating_duration_since(*first)))
    }

    fn add(&mut self, key: K, now: Instant) {
        if self.tries.len() >= MOST && !self.tries.contains_key(&key) {
            self.shrink(now);
        }
        self.tries.entry(key).or_default().push_back(now);
    }

    /// Makes room: first what is over, then the quarter with the fewest tries, so that a flood of new keys does not
    /// push out the one that is under attack.
    fn shrink(&mut self, now: Instant) {
        let span = self.span;
        self.tries.retain(|_, times| {
            times
                .back()
                .is_some_and(|at| now.saturating_duration_since(*at) < span)
        });
        if self.tries.len() < MOST {
            return;
        }
        let mut keys: Vec<_> = self
            .tries
            .iter()
            .map(|(key, times)| (times.len(), times.back().copied(), key.clone()))
            .collect();
        keys.sort_unstable_by_key(|(count, last, _)| (*count, *last));
        for (_, _, key) in keys.into_iter().take(MOST / 4) {
            self.tries.remove(&key);
        }
    }
}

/// Counts sign-ins.
pub(super) struct SignInLimit(Mutex<Tables>);

struct Tables {
    each: Window<(Source, String)>,
    addresses: Window<Source>,
    accounts: Window<String>,
    /// Addresses from which an account has signed in, and when last.
    known: HashMap<(Source, String), Instant>,
}

impl Default for SignInLimit {
    fn default() -> Self {
        Self(Mutex::new(Tables {
            each: Window::new(EACH, MINUTE),
            addresses: Window::new(ADDRESS, MINUTE),
            accounts: Window::new(ACCOUNT, ACCOUNT_SPAN),
            known: HashMap::new(),
        }))
    }
}

impl SignInLimit {
    /// Counts a try, or refuses it with the time to wait. The caller bounds the length of `account`.
    pub(super) fn admit(&self, source: Source, account: &str, now: Instant) -> Result<()> {
        let source = source.network();
        let key = (source, account.to_owned());
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables
            .known
            .get(&key)
            .is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_SPAN);
        let trusted = known || source.is_loopback();
        let mut waits = vec![tables.each.wait(&key, now), tables.addresses.wait(&source, now)];
        if !trusted {
            waits.push(tables.accounts.wait(&key.1, now));
        }
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(Error::TooMany(wait.as_secs() + 1));
        }
        if !trusted {
            tables.accounts.add(key.1.clone(), now);
        }
        tables.addresses.add(source, now);
        tables.each.add(key, now);
        Ok(())
    }

    /// Notes that an account has signed in from there.
    pub(super) fn succeeded(&self, source: Source, account: &str, now: Instant) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.known.len() >= MOST {
            let mut keys: Vec<_> = tables
                .known
                .iter()
                .map(|(key, at)| (Reverse(*at), key.clone()))
                .collect();
            keys.sort_unstable_by_key(|(at, _)| *at);
            for (_, key) in keys.into_iter().skip(MOST - MOST / 4) {
                tables.known.remove(&key);
            }
        }
        tables.known.insert((source.network(), account.to_owned()), now);
    }

    /// How many keys the tables have together.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.each.tries.len()
            + tables.addresses.tries.len()
            + tables.accounts.tries.len()
            + tables.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(limit: &SignInLimit, from: &str, account: &str, count: usize, now: Instant) -> usize {
        (0..count)
            .filter(|_| limit.admit(Source::of(from), account, now).is_ok())
            .count()
    }

    /// So many addresses of as many machines.
    fn strangers(count: u32) -> impl Iterator<Item = String> {
        (0..count).map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string())
    }

    #[test]
    fn the_sixth_try_in_a_minute_is_refused() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        assert_eq!(tries(&limit, "10.0.0.1", "admin", 9, now), EACH);
        assert!(matches!(
            limit.admit(Source::of("10.0.0.1"), "admin", now),
            Err(Error::TooMany(61))
        ));
        assert_eq!(tries(&limit, "10.0.0.2", "admin", 1, now), 1, "another address");
        assert_eq!(tries(&limit, "10.0.0.1", "ann", 1, now), 1, "another account");
        assert_eq!(tries(&limit, "10.0.0.1", "admin", 9, now + MINUTE), EACH);
    }

    #[test]
    fn an_address_has_a_limit_over_all_accounts() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        let admitted = (0..150)
            .filter(|n| limit.admit(Source::of("10.0.0.1"), &format!("a{n}"), now).is_ok())
            .count();
        assert_eq!(admitted, ADDRESS);
        assert_eq!(tries(&limit, "10.0.0.2", "a1", 1, now), 1);
    }

    #[test]
    fn one_machine_is_one_source_whatever_it_writes() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        let addresses = (0..9).map(|n| format!("2001:db8:0:1::{n}"));
        assert_eq!(
            addresses
                .filter(|from| tries(&limit, from, "admin", 1, now) == 1)
                .count(),
            EACH
        );
        assert_eq!(
            tries(&limit, "2001:db8:0:2::1", "admin", 1, now),
            1,
            "another network"
        );
        assert_eq!(
            tries(&limit, "::ffff:10.0.0.1", "admin", 3, now) + tries(&limit, "10.0.0.1", "admin", 9, now),
            EACH
        );
        assert_eq!(
            (0..9)
                .filter(|n| tries(&limit, &format!("no address {n}"), "admin", 1, now) == 1)
                .count(),
            EACH
        );
    }

    #[test]
    fn an_account_has_a_limit_over_all_addresses_that_strangers_cannot_turn_against_it() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        limit.succeeded(Source::of("192.0.2.7"), "admin", now);
        let admitted = strangers(300)
            .filter(|from| tries(&limit, from, "admin", 1, now) == 1)
            .count();
        assert_eq!(admitted, ACCOUNT);
        assert_eq!(
            tries(&limit, "192.0.2.7", "admin", 9, now),
            EACH,
            "from an address that it knows"
        );
        assert_eq!(
            tries(&limit, "127.0.0.1", "admin", 9, now),
            EACH,
            "from this machine"
        );
        assert_eq!(tries(&limit, "::1", "admin", 9, now), EACH, "from this machine");
        assert_eq!(tries(&limit, "192.0.2.7", "ann", 1, now), 1, "another account");
        assert_eq!(tries(&limit, "192.0.2.8", "admin", 1, now), 0);
        assert_eq!(tries(&limit, "192.0.2.8", "admin", 1, now + ACCOUNT_SPAN), 1);
        assert_eq!(tries(&limit, "192.0.2.7", "admin", 9, now + KNOWN_SPAN), EACH);
    }

    #[test]
    fn a_flood_of_names_and_addresses_is_bounded_and_does_not_push_out_the_account_under_attack() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        assert_eq!(
            strangers(300)
                .filter(|from| tries(&limit, from, "admin", 1, now) == 1)
                .count(),
            ACCOUNT
        );
        for (n, from) in strangers(u32::try_from(2 * MOST).unwrap()).enumerate() {
            drop(limit.admit(Source::of(&from), &format!("a{n}"), now));
            limit.succeeded(Source::of(&from), "ann", now);
        }
        assert!(limit.len() <= 4 * MOST, "{}", limit.len());
        assert_eq!(tries(&limit, "192.0.2.8", "admin", 1, now), 0);
    }
}
