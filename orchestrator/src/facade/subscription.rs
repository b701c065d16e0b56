//! Change notifications for callers that may read them, and the end of streams.
//!
//! An event is a hint with an id. A subscription passes on only events that its caller may read, so that
//! hidden resources stay hidden. A stream lasts as long as its sign-in, its role, and its lease on what it
//! shows.

pub(super) mod operation_owners;

use crate::{Caller, Error, Orchestrator, Result, permissions};
use chainpool_api::{self as api, LeaseFilter, LeaseState, Noun};
use chainpool_store::SequencedEvent;
use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

/// How often a stream rechecks its permission. Lease changes are noticed at once.
const CHECK: Duration = Duration::from_secs(2);

/// The maximum number of missed events that are read again one by one; beyond it the caller reads everything.
const MAX_BACKLOG: u64 = 10_000;

/// A change notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A resource changed: read it again.
    Event(api::Event),
    /// This many changes were lost: read everything again.
    Missed(u64),
}

/// The changes visible to a caller.
pub struct Subscription {
    orchestrator: Orchestrator,
    caller: Caller,
    wakes: Receiver<SequencedEvent>,
    /// The sequence of the latest event that was passed on; a gap after it is read from the outbox.
    latest: Option<i64>,
    /// Received after a gap.
    ahead: Option<SequencedEvent>,
    /// The events of a gap.
    backlog: VecDeque<SequencedEvent>,
    /// Received but not yet checked: a cancelled reader loses nothing.
    pending: Option<Change>,
    /// The clusters leased by the caller; empty for callers that see all.
    clusters: HashSet<Uuid>,
}

/// The content of a stream, which determines when it ends besides the end of its sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamScope {
    /// All changes that the caller may read, checked each time.
    Changes,
    /// One cluster: the stream ends when the caller's lease ends.
    Cluster(Uuid),
}

impl Orchestrator {
    /// Subscribes to changes.
    pub async fn subscribe(&self, caller: &Caller) -> Result<Subscription> {
        let wakes = self.store().events();
        let clusters = self.clusters_held(caller).await?;
        Ok(Subscription {
            orchestrator: self.clone(),
            caller: caller.clone(),
            wakes,
            latest: None,
            ahead: None,
            backlog: VecDeque::new(),
            pending: None,
            clusters,
        })
    }

    /// Resolves when a stream of this caller must end: its sign-in, token or account has ended, its role
    /// changed, or its lease on the content ended.
    pub fn stream_end(
        &self,
        caller: &Caller,
        secret: &str,
        of: StreamScope,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (this, caller, secret) = (self.clone(), caller.clone(), secret.to_owned());
        async move {
            let mut wakes = this.store().events();
            let mut timer = tokio::time::interval(CHECK);
            let mut lease = None;
            loop {
                match this.may_continue(&caller, &secret, of, &mut lease).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    // Other failures do not concern the caller: the stream itself reports them.
                    Err(error) => {
                        tracing::debug!(%error, cause = ?error, "the permission of a stream could not be checked");
                    }
                }
                tokio::select! {
                    _ = timer.tick() => {}
                    () = changed(&mut wakes, of) => {}
                }
            }
        }
    }

    /// Returns `true` if a stream may continue. `known` is the lease by which the caller reads the cluster;
    /// another lease ends the stream.
    async fn may_continue(
        &self,
        caller: &Caller,
        secret: &str,
        of: StreamScope,
        known: &mut Option<Uuid>,
    ) -> Result<bool> {
        let now = match self.authenticate(secret).await {
            Err(Error::Unauthenticated) => return Ok(false),
            now => now?,
        };
        if (now.account_id, now.role, now.lease_any) != (caller.account_id, caller.role, caller.lease_any) {
            return Ok(false);
        }
        let StreamScope::Cluster(cluster) = of else {
            return Ok(true);
        };
        let lease = self.store().read().lease_of(cluster).await?;
        if !permissions::may_use_cluster(&now, lease.as_ref()) {
            return Ok(false);
        }
        let lease = lease.map(|lease| lease.id);
        let same = permissions::operates(&now) || known.is_none() || *known == lease;
        *known = lease;
        Ok(same)
    }

    /// Reads the clusters leased by the caller; empty for callers that see all.
    async fn clusters_held(&self, caller: &Caller) -> Result<HashSet<Uuid>> {
        let mut clusters = HashSet::new();
        if permissions::operates(caller) {
            return Ok(clusters);
        }
        let mut filter = LeaseFilter {
            state: Some(LeaseState::Active),
            limit: Some(500),
            ..LeaseFilter::default()
        };
        loop {
            let page = self.lease_list(caller, &filter).await?;
            clusters.extend(page.items.into_iter().map(|lease| lease.cluster_id));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => return Ok(clusters),
            }
        }
    }
}

/// Resolves at a change that may end a stream.
async fn changed(wakes: &mut Receiver<SequencedEvent>, of: StreamScope) {
    let StreamScope::Cluster(cluster) = of else {
        return std::future::pending().await;
    };
    loop {
        match wakes.recv().await {
            Ok(SequencedEvent { event, .. }) if event.noun == Noun::Cluster && event.id == cluster => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // No more changes; the timer continues.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

impl Subscription {
    /// Returns the next change visible to the caller; `None` if there will be none. Cancel-safe: nothing is
    /// lost.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        loop {
            let change = match self.pending {
                Some(change) => change,
                None => match self.receive().await? {
                    Some(change) => change,
                    None => return Ok(None),
                },
            };
            self.pending = Some(change);
            let visible = self.is_visible(change).await?;
            self.pending = None;
            if visible {
                return Ok(Some(change));
            }
        }
    }

    /// Receives the next change. A reader that fell behind reads what it missed from the outbox.
    async fn receive(&mut self) -> Result<Option<Change>> {
        loop {
            if let Some(missed) = self.backlog.pop_front() {
                self.latest = Some(missed.sequence);
                return Ok(Some(Change::Event(missed.event)));
            }
            let received = match self.ahead {
                Some(received) => received,
                None => match self.wakes.recv().await {
                    Ok(received) => received,
                    Err(RecvError::Lagged(missed)) if self.latest.is_none() => {
                        return Ok(Some(Change::Missed(missed)));
                    }
                    // The next event shows the gap.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return Ok(None),
                },
            };
            self.ahead = Some(received);
            let before = self.latest.unwrap_or(received.sequence - 1);
            let missed = u64::try_from(received.sequence - before - 1);
            match missed {
                // It was in the backlog.
                Err(_) => self.ahead = None,
                Ok(0) => {
                    (self.latest, self.ahead) = (Some(received.sequence), None);
                    return Ok(Some(Change::Event(received.event)));
                }
                Ok(missed) => match self.gap(before, missed).await? {
                    Some(events) => self.backlog = events.into(),
                    None => {
                        self.latest = Some(received.sequence - 1);
                        return Ok(Some(Change::Missed(missed)));
                    }
                },
            }
        }
    }

    /// Reads this many events after a sequence; `None` if they are too many or no longer kept.
    async fn gap(&self, after: i64, missed: u64) -> Result<Option<Vec<SequencedEvent>>> {
        if missed > MAX_BACKLOG {
            return Ok(None);
        }
        let events = self
            .orchestrator
            .store()
            .read()
            .events_after(after, missed)
            .await?;
        // A later sequence was received, so they exist unless they are no longer kept.
        Ok(events.filter(|events| !events.is_empty()))
    }

    /// Skips pending changes: the caller reads everything again.
    pub fn skip(&mut self) {
        self.pending = None;
        (self.latest, self.ahead) = (None, None);
        self.backlog.clear();
        self.wakes = self.wakes.resubscribe();
    }

    async fn is_visible(&mut self, change: Change) -> Result<bool> {
        if permissions::operates(&self.caller) {
            return Ok(true);
        }
        match change {
            Change::Missed(_) => {
                self.clusters = self.orchestrator.clusters_held(&self.caller).await?;
                Ok(true)
            }
            Change::Event(api::Event { noun: Noun::Host, .. }) => Ok(false),
            Change::Event(api::Event {
                noun: Noun::Cluster,
                id,
            }) => self.holds(id).await,
            Change::Event(api::Event {
                noun: Noun::Operation,
                id,
            }) => self.may_read(id).await,
            Change::Event(api::Event {
                noun: Noun::Lease,
                id,
            }) => self.lease_changed(id).await,
        }
    }

    /// A lease event changes the visibility of its cluster.
    async fn lease_changed(&mut self, lease: Uuid) -> Result<bool> {
        match self.orchestrator.lease_show(&self.caller, lease).await {
            Ok(lease) if lease.state == LeaseState::Active => {
                self.clusters.insert(lease.cluster_id);
                Ok(true)
            }
            // The caller may hold the cluster again by another lease; that is checked each time.
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if the caller holds the cluster now. Only clusters that it has held are looked up.
    async fn holds(&mut self, cluster: Uuid) -> Result<bool> {
        if !self.clusters.contains(&cluster) {
            return Ok(false);
        }
        let lease = self.orchestrator.store().read().lease_of(cluster).await?;
        let holds = permissions::may_use_cluster(&self.caller, lease.as_ref());
        if !holds {
            self.clusters.remove(&cluster);
        }
        Ok(holds)
    }

    async fn may_read(&self, operation: Uuid) -> Result<bool> {
        let Some((author, cluster)) = self.orchestrator.operation_owners.of(operation).await? else {
            return Ok(false);
        };
        if author != self.caller.account && !cluster.is_some_and(|cluster| self.clusters.contains(&cluster)) {
            return Ok(false);
        }
        match self.orchestrator.store().read().operation(operation).await? {
            Some(row) => self.orchestrator.may_read(&self.caller, &row).await,
            None => Ok(false),
        }
    }
}
