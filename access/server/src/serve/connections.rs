//! Who is connected: how many in all and from one address, and for how long without a request.
//!
//! A connection costs a file and memory before anybody has said who it is. So each has a time by which its first request
//! must have come, and one that it may be idle after that; and where there are too many, those that ask for nothing make
//! room, oldest first. Only where all of them are at work a new one is turned away.

use super::limits::Limits;
use crate::proxy::Proxies;
use chainpool_dashboard::holder;
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

/// How often a full house is logged at most.
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
    log: Log,
}

/// What happened since it was last logged.
#[derive(Default)]
struct Log {
    closed: usize,
    refused: usize,
    at: Option<Instant>,
}

/// One connection.
pub(super) struct Connection {
    /// Counted for this address; absent for those that no bound by address holds for.
    address: Option<IpAddr>,
    requests: watch::Sender<Requests>,
    /// It must make room for another.
    pub(super) close: CancellationToken,
}

/// The requests of a connection.
#[derive(Debug, Clone, Copy)]
struct Requests {
    running: usize,
    any: bool,
    /// Since when none is running.
    since: Instant,
}

/// A connection's place among those that are open; given back when it goes.
pub(super) struct Place {
    id: u64,
    connections: Arc<Connections>,
    /// The connection.
    pub(super) connection: Arc<Connection>,
}

impl Connections {
    /// None yet.
    pub(super) fn new(limits: Limits, proxies: Arc<Proxies>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            proxies,
            table: Mutex::default(),
        })
    }

    /// Takes a connection in; `None`: there is no room, and nobody who asks for nothing could make some.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        // Proxies and programs of this machine bring the connections of many.
        let bounded = !self.proxies.trusts(peer) && !peer.to_canonical().is_loopback();
        let address = bounded.then(|| holder(peer));
        let mut table = self.table();
        let of_address = address
            .and_then(|address| table.by_address.get(&address))
            .copied()
            .unwrap_or_default();
        let crowded = of_address >= self.limits.connections_per_address;
        let room = (!crowded || table.make_room(of_address, |other| other.address == address))
            && (table.open.len() < self.limits.connections
                || table.make_room(self.limits.connections, |_| true));
        table.tell();
        if !room {
            table.log.refused += 1;
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
        Some(Place {
            id,
            connections: Arc::clone(self),
            connection,
        })
    }

    /// Closes some that ask for nothing: the process has no file left for another.
    pub(super) fn spare_some(&self) {
        let mut table = self.table();
        let open = table.open.len();
        table.make_room(open, |_| true);
        table.tell();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic inside leaves at worst a count that is off by one, so a poisoned lock is as good as any.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes a sixteenth of `count` connections, or one, of those that ask for nothing: first the ones that never asked,
    /// then by age. More than one, so that a flood does not make us look through all of them each time.
    fn make_room(&mut self, count: usize, fits: impl Fn(&Connection) -> bool) -> bool {
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
            self.leave(*id);
        }
        !idle.is_empty()
    }

    fn leave(&mut self, id: u64) {
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

    /// Logs that there is no room, once in a while.
    fn tell(&mut self) {
        let now = Instant::now();
        let Log { closed, refused, at } = self.log;
        if closed + refused == 0 || at.is_some_and(|at| now - at < LOG_PERIOD) {
            return;
        }
        tracing::warn!(
            open = self.open.len(),
            closed,
            refused,
            "too many connections: idle ones are closed, others refused"
        );
        self.log = Log {
            closed: 0,
            refused: 0,
            at: Some(now),
        };
    }
}

impl Connection {
    /// Notes that a request runs, until what is given is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.requests.send_modify(|requests| {
            requests.running += 1;
            requests.any = true;
        });
        Running(Arc::clone(self))
    }

    /// Ends when no request came in time: the first after `first`, another after `idle`.
    pub(super) async fn overdue(&self, first: Duration, idle: Duration) {
        let mut requests = self.requests.subscribe();
        loop {
            let Requests { running, any, since } = *requests.borrow_and_update();
            let changed = requests.changed();
            if running > 0 {
                // The sender is our own, so there will be a change or we are dropped.
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

/// A request that runs until its answer was sent or given up.
pub(super) struct Running(Arc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.requests.send_modify(|requests| {
            requests.running -= 1;
            requests.since = Instant::now();
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().leave(self.id);
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

    fn is_closed(place: &Place) -> bool {
        place.connection.close.is_cancelled()
    }

    #[tokio::test]
    async fn idle_connections_make_room_silent_ones_first() {
        let all = connections(3, 100);
        let idle = all.admit(ip("203.0.113.1")).unwrap();
        drop(idle.connection.begin());
        let working = all.admit(ip("203.0.113.2")).unwrap();
        let running = working.connection.begin();
        let silent = all.admit(ip("203.0.113.3")).unwrap();
        let _next = all.admit(ip("203.0.113.4")).unwrap();
        assert_eq!(
            (is_closed(&silent), is_closed(&idle), is_closed(&working)),
            (true, false, false)
        );
        let _last = all.admit(ip("203.0.113.5")).unwrap();
        assert_eq!(all.table().open.len(), 3);
        drop(running);
        assert!(!is_closed(&working));
    }

    #[tokio::test]
    async fn new_connections_are_refused_where_all_are_busy() {
        let all = connections(2, 100);
        let places = [
            all.admit(ip("203.0.113.1")).unwrap(),
            all.admit(ip("127.0.0.1")).unwrap(),
        ];
        let running = places.each_ref().map(|place| place.connection.begin());
        assert!(all.admit(ip("203.0.113.9")).is_none());
        drop(running);
        drop(places);
        assert!(all.table().open.is_empty() && all.table().by_address.is_empty());
        assert!(all.admit(ip("203.0.113.9")).is_some());
    }

    #[tokio::test]
    async fn an_address_over_its_cap_evicts_only_its_own_connections() {
        let all = connections(100, 2);
        let other = all.admit(ip("203.0.113.1")).unwrap();
        let own: Vec<_> = (0..2)
            .map(|n| all.admit(ip(&format!("2001:db8::{n}"))).unwrap())
            .collect();
        let third = all.admit(ip("2001:db8::ffff")).unwrap();
        assert!(
            !is_closed(&other) && own.iter().filter(|place| is_closed(place)).count() == 1,
            "a /64 is one address"
        );
        let busy: Vec<_> = own
            .iter()
            .chain([&third])
            .map(|place| place.connection.begin())
            .collect();
        assert!(all.admit(ip("2001:db8::4")).is_none());
        assert!(all.admit(ip("2001:db8:0:1::4")).is_some());
        drop(busy);
        for many in ["10.0.0.5", "127.0.0.1"] {
            let places: Vec<_> = (0..10).map(|_| all.admit(ip(many)).unwrap()).collect();
            assert!(
                !places.iter().any(is_closed),
                "{many} brings the connections of many"
            );
        }
    }

    #[tokio::test]
    async fn first_request_and_idle_limits_spare_running_requests() {
        let all = connections(10, 10);
        let place = all.admit(ip("127.0.0.1")).unwrap();
        let (now, never, hang) = (Duration::ZERO, Duration::from_hours(1), Duration::from_mins(1));
        let overdue = |first, idle, limit| {
            let connection = Arc::clone(&place.connection);
            async move {
                tokio::time::timeout(limit, connection.overdue(first, idle))
                    .await
                    .is_ok()
            }
        };
        let a_moment = Duration::from_millis(50);
        assert!(
            overdue(now, never, hang).await && !overdue(never, now, a_moment).await,
            "the first has not come"
        );
        let running = place.connection.begin();
        assert!(!overdue(now, now, a_moment).await, "a request may last");
        let ending = overdue(never, now, hang);
        drop(running);
        assert!(
            ending.await && !overdue(now, never, a_moment).await,
            "another has not come"
        );
    }
}
