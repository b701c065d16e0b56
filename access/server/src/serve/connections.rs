//! Open connections: their number in total and per address, and their idle time.
//!
//! A connection costs a file and memory before authentication. So its first request has a time limit, and so
//! has its idle time. At the maximum number of connections, idle ones are closed, oldest first. A new
//! connection is rejected only if all others are busy.

use crate::{limits::Limits, proxy::Proxies};
use chainpool_dashboard::client_network;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// Minimum time between two log lines about too many connections.
const LOG_PERIOD: Duration = Duration::from_mins(1);

/// All connections of a listener.
pub(super) struct Connections {
    limits: Limits,
    proxies: Arc<Proxies>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Connection>>,
    by_address: HashMap<IpAddr, usize>,
    log: PressureLog,
}

/// Events since the last log line.
#[derive(Default)]
struct PressureLog {
    closed: usize,
    rejected: usize,
    at: Option<Instant>,
}

/// One connection.
pub(super) struct Connection {
    /// Address for the limit per address; absent if exempt.
    address: Option<IpAddr>,
    requests: watch::Sender<Requests>,
    /// Cancelled when the connection must close.
    pub(super) close: CancellationToken,
}

/// The requests of a connection.
#[derive(Debug, Clone, Copy)]
struct Requests {
    running: usize,
    any: bool,
    /// Start of the idle time.
    since: Instant,
}

/// The slot of an open connection, released on drop.
pub(super) struct Slot {
    id: u64,
    connections: Arc<Connections>,
    /// The connection.
    pub(super) connection: Arc<Connection>,
}

impl Connections {
    /// An empty table.
    pub(super) fn new(limits: Limits, proxies: Arc<Proxies>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            proxies,
            table: Mutex::default(),
        })
    }

    /// Admits a connection; `None` at the limit without an idle connection to close.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        // Proxies and local programs carry connections of many clients.
        let limited = !self.proxies.trusts(peer) && !peer.to_canonical().is_loopback();
        let address = limited.then(|| client_network(peer));
        let mut table = self.table();
        let of_address = address
            .and_then(|address| table.by_address.get(&address))
            .copied()
            .unwrap_or_default();
        let at_limit = of_address >= self.limits.connections_per_address;
        let admitted = (!at_limit || table.close_idle(of_address, |other| other.address == address))
            && (table.open.len() < self.limits.connections
                || table.close_idle(self.limits.connections, |_| true));
        table.log_pressure();
        if !admitted {
            table.log.rejected += 1;
            return None;
        }
        let requests = watch::Sender::new(Requests {
            running: 0,
            any: false,
            since: Instant::now(),
        });
        let connection = Arc::new(Connection {
            address,
            requests,
            close: CancellationToken::new(),
        });
        let id = table.next;
        table.next += 1;
        table.open.insert(id, Arc::clone(&connection));
        if let Some(address) = address {
            *table.by_address.entry(address).or_default() += 1;
        }
        Some(Slot {
            id,
            connections: Arc::clone(self),
            connection,
        })
    }

    /// Closes some idle connections, because the process is out of file descriptors.
    pub(super) fn close_some_idle(&self) {
        let mut table = self.table();
        let open = table.open.len();
        table.close_idle(open, |_| true);
        table.log_pressure();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic leaves at worst a count that is off by one, so a poisoned lock is usable.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes up to a sixteenth of `count` connections (at least one) among the idle ones: first those
    /// without any request, then by age. A batch avoids a full scan for each connection of a flood.
    fn close_idle(&mut self, count: usize, fits: impl Fn(&Connection) -> bool) -> bool {
        let mut idle: Vec<(bool, Instant, u64)> = Vec::new();
        for (id, connection) in &self.open {
            let Requests { running, any, since } = *connection.requests.borrow();
            if running == 0 && fits(connection) {
                idle.push((any, since, *id));
            }
        }
        idle.sort_unstable();
        idle.truncate((count / 16).max(1));
        self.log.closed += idle.len();
        for (_, _, id) in &idle {
            self.remove(*id);
        }
        !idle.is_empty()
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.open.remove(&id) else {
            return;
        };
        connection.close.cancel();
        if let Some(address) = connection.address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Logs too many connections, at most once per period.
    fn log_pressure(&mut self) {
        let now = Instant::now();
        let PressureLog { closed, rejected, at } = self.log;
        if closed + rejected == 0 || at.is_some_and(|at| now - at < LOG_PERIOD) {
            return;
        }
        tracing::warn!(
            open = self.open.len(),
            closed,
            rejected,
            "too many connections: closing idle ones, rejecting new ones"
        );
        self.log = PressureLog {
            closed: 0,
            rejected: 0,
            at: Some(now),
        };
    }
}

impl Connection {
    /// Counts a request as running until the guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.send_modify(|requests| {
            requests.running += 1;
            requests.any = true;
        });
        RequestGuard(Arc::clone(self))
    }

    /// Completes when no request arrived in time: the first within `first`, another within `idle`.
    pub(super) async fn overdue(&self, first: Duration, idle: Duration) {
        let mut requests = self.requests.subscribe();
        loop {
            let Requests { running, any, since } = *requests.borrow_and_update();
            let changed = requests.changed();
            if running > 0 {
                // This connection owns the sender, so a change will come.
                drop(changed.await);
            } else if timeout_at(since + if any { idle } else { first }, changed)
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// A running request, until its response is sent or aborted.
pub(super) struct RequestGuard(Arc<Connection>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.send_modify(|requests| {
            requests.running -= 1;
            requests.since = Instant::now();
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(connections: usize, connections_per_address: usize) -> Arc<Connections> {
        let limits = Limits {
            connections,
            connections_per_address,
            ..Limits::default()
        };
        Connections::new(
            limits,
            Arc::new(Proxies::new(&["10.0.0.5".parse().unwrap()], false)),
        )
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_closed(slot: &Slot) -> bool {
        slot.connection.close.is_cancelled()
    }

    #[tokio::test]
    async fn idle_connections_are_closed_first_those_without_any_request() {
        let all = connections(3, 100);
        let idle = all.admit(ip("203.0.113.1")).unwrap();
        drop(idle.connection.begin_request());
        let working = all.admit(ip("203.0.113.2")).unwrap();
        let running = working.connection.begin_request();
        let unused = all.admit(ip("203.0.113.3")).unwrap();
        let _next = all.admit(ip("203.0.113.4")).unwrap();
        assert_eq!(
            (is_closed(&unused), is_closed(&idle), is_closed(&working)),
            (true, false, false)
        );
        let _last = all.admit(ip("203.0.113.5")).unwrap();
        assert_eq!(all.table().open.len(), 3);
        drop(running);
        assert!(!is_closed(&working));
    }

    #[tokio::test]
    async fn new_connections_are_rejected_if_all_are_busy() {
        let all = connections(2, 100);
        let slots = [
            all.admit(ip("203.0.113.1")).unwrap(),
            all.admit(ip("127.0.0.1")).unwrap(),
        ];
        let running = slots.each_ref().map(|slot| slot.connection.begin_request());
        assert!(all.admit(ip("203.0.113.9")).is_none());
        drop(running);
        drop(slots);
        assert!(all.table().open.is_empty() && all.table().by_address.is_empty());
        assert!(all.admit(ip("203.0.113.9")).is_some());
    }

    #[tokio::test]
    async fn an_address_over_its_limit_closes_only_its_own_connections() {
        let all = connections(100, 2);
        let other = all.admit(ip("203.0.113.1")).unwrap();
        let own: Vec<_> = (0..2)
            .map(|n| all.admit(ip(&format!("2001:db8::{n}"))).unwrap())
            .collect();
        let third = all.admit(ip("2001:db8::ffff")).unwrap();
        assert!(
            !is_closed(&other) && own.iter().filter(|slot| is_closed(slot)).count() == 1,
            "a /64 is one address"
        );
        let busy: Vec<_> = own
            .iter()
            .chain([&third])
            .map(|slot| slot.connection.begin_request())
            .collect();
        assert!(all.admit(ip("2001:db8::4")).is_none());
        assert!(all.admit(ip("2001:db8:0:1::4")).is_some());
        drop(busy);
        for many in ["10.0.0.5", "127.0.0.1"] {
            let slots: Vec<_> = (0..10).map(|_| all.admit(ip(many)).unwrap()).collect();
            assert!(
                !slots.iter().any(is_closed),
                "{many} carries connections of many clients"
            );
        }
    }

    #[tokio::test]
    async fn first_request_and_idle_limits_spare_running_requests() {
        let all = connections(10, 10);
        let slot = all.admit(ip("127.0.0.1")).unwrap();
        let (now, never, hang) = (Duration::ZERO, Duration::from_hours(1), Duration::from_mins(1));
        let overdue = |first, idle, limit| {
            let connection = Arc::clone(&slot.connection);
            async move {
                tokio::time::timeout(limit, connection.overdue(first, idle))
                    .await
                    .is_ok()
            }
        };
        let a_moment = Duration::from_millis(50);
        assert!(
            overdue(now, never, hang).await && !overdue(never, now, a_moment).await,
            "the first request is missing"
        );
        let running = slot.connection.begin_request();
        assert!(
            !overdue(now, now, a_moment).await,
            "a running request is never overdue"
        );
        let ending = overdue(never, now, hang);
        drop(running);
        assert!(
            ending.await && !overdue(now, never, a_moment).await,
            "another request is missing"
        );
    }
}
