//! Rate limits for sign-ins, in memory and bounded.
//!
//! - per address and account: 5 per minute;
//! - per address: 30 per minute over all accounts;
//! - per account: 100 in 10 minutes over all addresses, against distributed guessing. Others must not be able
//!   to lock an account out this way: loopback, and addresses from which the account has signed in, are
//!   neither limited nor counted here.
//!
//! An IPv6 address counts as its /64, because one machine usually gets a whole /64.

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

/// Attempts per address and account, and per address, in a minute.
const ADDRESS_AND_ACCOUNT: usize = 5;
const ADDRESS: usize = 30;
const MINUTE: Duration = Duration::from_mins(1);

/// Attempts per account from all unknown addresses.
const ACCOUNT: usize = 100;
const ACCOUNT_WINDOW: Duration = Duration::from_mins(10);

/// How long an address stays known to an account after a sign-in.
const KNOWN_WINDOW: Duration = Duration::from_hours(30 * 24);

/// The maximum number of keys per table.
const MAX_KEYS: usize = 10_000;

/// The source of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source(Option<IpAddr>);

impl Source {
    /// Parses an address; all invalid texts are one source, so that they cannot fill a table.
    pub(super) fn of(address: &str) -> Self {
        Self(address.parse().ok().map(|address: IpAddr| address.to_canonical()))
    }

    /// The source as counted in the tables.
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

/// Attempts by key within a sliding window.
struct Window<K> {
    limit: usize,
    length: Duration,
    attempts: HashMap<K, VecDeque<Instant>>,
}

impl<K: Hash + Eq + Clone> Window<K> {
    fn new(limit: usize, length: Duration) -> Self {
        Self {
            limit,
            length,
            attempts: HashMap::new(),
        }
    }

    /// The time until the next attempt is allowed; `None`: now.
    fn wait(&mut self, key: &K, now: Instant) -> Option<Duration> {
        let times = self.attempts.get_mut(key)?;
        while times
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= self.length)
        {
            times.pop_front();
        }
        let first = times.front().filter(|_| times.len() >= self.limit)?;
        Some(self.length.saturating_sub(now.saturating_duration_since(*first)))
    }

    fn add(&mut self, key: K, now: Instant) {
        if self.attempts.len() >= MAX_KEYS && !self.attempts.contains_key(&key) {
            self.shrink(now);
        }
        self.attempts.entry(key).or_default().push_back(now);
    }

    /// Evicts expired keys, then the quarter with the fewest attempts, so that a flood of new keys does not
    /// evict the key under attack.
    fn shrink(&mut self, now: Instant) {
        let window = self.length;
        self.attempts.retain(|_, times| {
            times
                .back()
                .is_some_and(|at| now.saturating_duration_since(*at) < window)
        });
        if self.attempts.len() < MAX_KEYS {
            return;
        }
        let mut keys: Vec<_> = self
            .attempts
            .iter()
            .map(|(key, times)| (times.len(), times.back().copied(), key.clone()))
            .collect();
        keys.sort_unstable_by_key(|(count, last, _)| (*count, *last));
        for (_, _, key) in keys.into_iter().take(MAX_KEYS / 4) {
            self.attempts.remove(&key);
        }
    }
}

/// Counts sign-ins.
pub(super) struct SignInLimit(Mutex<Tables>);

struct Tables {
    address_accounts: Window<(Source, String)>,
    addresses: Window<Source>,
    accounts: Window<String>,
    /// Addresses from which an account has signed in, with the latest time.
    known: HashMap<(Source, String), Instant>,
}

impl Default for SignInLimit {
    fn default() -> Self {
        Self(Mutex::new(Tables {
            address_accounts: Window::new(ADDRESS_AND_ACCOUNT, MINUTE),
            addresses: Window::new(ADDRESS, MINUTE),
            accounts: Window::new(ACCOUNT, ACCOUNT_WINDOW),
            known: HashMap::new(),
        }))
    }
}

impl SignInLimit {
    /// Counts an attempt, or refuses it with the time to wait. The caller bounds the length of `account`.
    pub(super) fn admit(&self, source: Source, account: &str, now: Instant) -> Result<()> {
        let source = source.network();
        let key = (source, account.to_owned());
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables
            .known
            .get(&key)
            .is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_WINDOW);
        let trusted = known || source.is_loopback();
        let mut waits = vec![
            tables.address_accounts.wait(&key, now),
            tables.addresses.wait(&source, now),
        ];
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
        tables.address_accounts.add(key, now);
        Ok(())
    }

    /// Records a successful sign-in from this source.
    pub(super) fn succeeded(&self, source: Source, account: &str, now: Instant) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.known.len() >= MAX_KEYS {
            let mut keys: Vec<_> = tables
                .known
                .iter()
                .map(|(key, at)| (Reverse(*at), key.clone()))
                .collect();
            keys.sort_unstable_by_key(|(at, _)| *at);
            for (_, key) in keys.into_iter().skip(MAX_KEYS - MAX_KEYS / 4) {
                tables.known.remove(&key);
            }
        }
        tables.known.insert((source.network(), account.to_owned()), now);
    }

    /// The total number of keys in the tables.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.address_accounts.attempts.len()
            + tables.addresses.attempts.len()
            + tables.accounts.attempts.len()
            + tables.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(limit: &SignInLimit, from: &str, account: &str, count: usize, now: Instant) -> usize {
        (0..count)
            .filter(|_| limit.admit(Source::of(from), account, now).is_ok())
            .count()
    }

    /// This many distinct addresses.
    fn distinct_addresses(count: u32) -> impl Iterator<Item = String> {
        (0..count).map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string())
    }

    #[test]
    fn the_sixth_attempt_in_a_minute_is_refused() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        assert_eq!(attempts(&limit, "10.0.0.1", "admin", 9, now), ADDRESS_AND_ACCOUNT);
        assert!(matches!(
            limit.admit(Source::of("10.0.0.1"), "admin", now),
            Err(Error::TooMany(61))
        ));
        assert_eq!(
            attempts(&limit, "10.0.0.2", "admin", 1, now),
            1,
            "another address"
        );
        assert_eq!(attempts(&limit, "10.0.0.1", "ann", 1, now), 1, "another account");
        assert_eq!(
            attempts(&limit, "10.0.0.1", "admin", 9, now + MINUTE),
            ADDRESS_AND_ACCOUNT
        );
    }

    #[test]
    fn an_address_has_a_limit_over_all_accounts() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        let admitted = (0..150)
            .filter(|n| limit.admit(Source::of("10.0.0.1"), &format!("a{n}"), now).is_ok())
            .count();
        assert_eq!(admitted, ADDRESS);
        assert_eq!(attempts(&limit, "10.0.0.2", "a1", 1, now), 1);
    }

    #[test]
    fn one_machine_counts_as_one_source() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        let addresses = (0..9).map(|n| format!("2001:db8:0:1::{n}"));
        assert_eq!(
            addresses
                .filter(|from| attempts(&limit, from, "admin", 1, now) == 1)
                .count(),
            ADDRESS_AND_ACCOUNT
        );
        assert_eq!(
            attempts(&limit, "2001:db8:0:2::1", "admin", 1, now),
            1,
            "another network"
        );
        assert_eq!(
            attempts(&limit, "::ffff:10.0.0.1", "admin", 3, now)
                + attempts(&limit, "10.0.0.1", "admin", 9, now),
            ADDRESS_AND_ACCOUNT
        );
        assert_eq!(
            (0..9)
                .filter(|n| attempts(&limit, &format!("no address {n}"), "admin", 1, now) == 1)
                .count(),
            ADDRESS_AND_ACCOUNT
        );
    }

    #[test]
    fn the_account_limit_does_not_lock_out_known_addresses() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        limit.succeeded(Source::of("192.0.2.7"), "admin", now);
        let admitted = distinct_addresses(300)
            .filter(|from| attempts(&limit, from, "admin", 1, now) == 1)
            .count();
        assert_eq!(admitted, ACCOUNT);
        assert_eq!(
            attempts(&limit, "192.0.2.7", "admin", 9, now),
            ADDRESS_AND_ACCOUNT,
            "from a known address"
        );
        assert_eq!(
            attempts(&limit, "127.0.0.1", "admin", 9, now),
            ADDRESS_AND_ACCOUNT,
            "from this machine"
        );
        assert_eq!(
            attempts(&limit, "::1", "admin", 9, now),
            ADDRESS_AND_ACCOUNT,
            "from this machine"
        );
        assert_eq!(attempts(&limit, "192.0.2.7", "ann", 1, now), 1, "another account");
        assert_eq!(attempts(&limit, "192.0.2.8", "admin", 1, now), 0);
        assert_eq!(attempts(&limit, "192.0.2.8", "admin", 1, now + ACCOUNT_WINDOW), 1);
        assert_eq!(
            attempts(&limit, "192.0.2.7", "admin", 9, now + KNOWN_WINDOW),
            ADDRESS_AND_ACCOUNT
        );
    }

    #[test]
    fn a_flood_of_names_and_addresses_is_bounded_and_keeps_the_account_under_attack() {
        let (limit, now) = (SignInLimit::default(), Instant::now());
        assert_eq!(
            distinct_addresses(300)
                .filter(|from| attempts(&limit, from, "admin", 1, now) == 1)
                .count(),
            ACCOUNT
        );
        for (n, from) in distinct_addresses(u32::try_from(2 * MAX_KEYS).unwrap()).enumerate() {
            drop(limit.admit(Source::of(&from), &format!("a{n}"), now));
            limit.succeeded(Source::of(&from), "ann", now);
        }
        assert!(limit.len() <= 4 * MAX_KEYS, "{}", limit.len());
        assert_eq!(attempts(&limit, "192.0.2.8", "admin", 1, now), 0);
    }
}
