//! What changes, told to those who may read it; and when a stream has to end.
//!
//! An event is a wake-up with an id. A subscription passes on what its caller may read, so that nobody hears of what is
//! not there for it. A stream lasts as long as its sign-in, its role, and its hold on what it shows.

use crate::{Caller, Error, Orchestrator, Result, policy};
use chainpool_api::{self as api, LeaseFilter, LeaseState, Noun};
use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

/// How often a stream asks whether it may go on. Changes of leases are heard at once.
const CHECK: Duration = Duration::from_secs(2);

/// How many facts are kept at most.
const FACTS: usize = 10_000;

/// What never changes of operations: who asked for it and on which cluster. Kept, because each subscription asks at each
/// step of each operation.
#[derive(Default)]
pub(crate) struct Facts(Mutex<HashMap<Uuid, (String, Option<Uuid>)>>);

impl Facts {
    fn get(&self, operation: Uuid) -> Option<(String, Option<Uuid>)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
            .cloned()
    }

    fn put(&self, operation: Uuid, facts: (String, Option<Uuid>)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= FACTS {
            known.clear();
        }
        known.insert(operation, facts);
    }
}

/// What a subscription tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Something changed that the caller may read: read it again.
    Event(api::Event),
    /// So many changes were lost: read everything again.
    Missed(u64),
}

/// The changes that a caller may hear of.
pub struct Subscription {
    orchestrator: Orchestrator,
    caller: Caller,
    wakes: Receiver<api::Event>,
    /// Heard, and not judged yet: a reader that stopped waiting loses nothing.
    heard: Option<Change>,
    /// The clusters under the caller's leases; empty for those who see all.
    clusters: HashSet<Uuid>,
}

/// What a stream shows, and so when it ends beside the end of its sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOf {
    /// What its caller may read, judged each time.
    Changes,
    /// One cluster: the stream ends when the caller no longer holds it.
    Cluster(Uuid),
}

impl Orchestrator {
    /// Subscribes to what changes from now on.
    pub async fn subscribe(&self, caller: &Caller) -> Result<Subscription> {
        let wakes = self.store().events();
        let clusters = self.clusters_held(caller).await?;
        Ok(Subscription {
            orchestrator: self.clone(),
            caller: caller.clone(),
            wakes,
            heard: None,
            clusters,
        })
    }

    /// Resolves when a stream of this caller must end: its sign-in, token or account is over, its role is another, or it
    /// does not hold any more what the stream shows.
    pub fn stream_end(
        &self,
        caller: &Caller,
        secret: &str,
        of: StreamOf,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (this, caller, secret) = (self.clone(), caller.clone(), secret.to_owned());
        async move {
            let mut wakes = this.store().events();
            let mut clock = tokio::time::interval(CHECK);
            let mut lease = None;
            loop {
                match this.may_go_on(&caller, &secret, of, &mut lease).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    // Another failure is not about the caller: the stream sees it by itself, and each stream would say it here.
                    Err(error) => {
                        tracing::debug!(%error, cause = ?error, "it is not known whether a stream may go on")
                    }
                }
                tokio::select! {
                    _ = clock.tick() => {}
                    () = changed(&mut wakes, of) => {}
                }
            }
        }
    }

    /// Whether a stream may go on. `known` is the lease by which its caller reads the cluster: another one is another hold.
    async fn may_go_on(
        &self,
        caller: &Caller,
        secret: &str,
        of: StreamOf,
        known: &mut Option<Uuid>,
    ) -> Result<bool> {
        let now = match self.authenticate(secret).await {
            Err(Error::Unauthenticated) => return Ok(false),
            now => now?,
        };
        if (now.account_id, now.role, now.lease_any) != (caller.account_id, caller.role, caller.lease_any) {
            return Ok(false);
        }
        let StreamOf::Cluster(cluster) = of else {
            return Ok(true);
        };
        let lease = self.store().read().lease_of(cluster).await?;
        if !policy::may_use_cluster(&now, lease.as_ref()) {
            return Ok(false);
        }
        let lease = lease.map(|lease| lease.id);
        let same = policy::operates(&now) || known.is_none() || *known == lease;
        *known = lease;
        Ok(same)
    }

    /// The clusters under the caller's leases. Those who see all need no list.
    async fn clusters_held(&self, caller: &Caller) -> Result<HashSet<Uuid>> {
        let mut clusters = HashSet::new();
        if policy::operates(caller) {
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

    /// Who asked for an operation and on which cluster; `None`: there is none such.
    async fn facts(&self, operation: Uuid) -> Result<Option<(String, Option<Uuid>)>> {
        if let Some(facts) = self.inner.facts.get(operation) {
            return Ok(Some(facts));
        }
        let Some(row) = self.store().read().operation(operation).await? else {
            return Ok(None);
        };
        let facts = (row.author, row.cluster_id);
        self.inner.facts.put(operation, facts.clone());
        Ok(Some(facts))
    }
}

/// Resolves when something changed that may end a stream.
async fn changed(wakes: &mut Receiver<api::Event>, of: StreamOf) {
    let StreamOf::Cluster(cluster) = of else {
        return std::future::pending().await;
    };
    loop {
        match wakes.recv().await {
            Ok(event) if event.noun == Noun::Cluster && event.id == cluster => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // Nothing changes any more; the clock goes on.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

impl Subscription {
    /// The next change that the caller may hear of; `None` when nothing will change any more. May be dropped while it
    /// waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        loop {
            let change = match self.heard {
                Some(change) => change,
                None => match self.wakes.recv().await {
                    Ok(event) => Change::Event(event),
                    Err(RecvError::Lagged(missed)) => Change::Missed(missed),
                    Err(RecvError::Closed) => return Ok(None),
                },
            };
            self.heard = Some(change);
            let told = self.may_hear(change).await?;
            self.heard = None;
            if told {
                return Ok(Some(change));
            }
        }
    }

    /// Passes over what waits already: the caller reads everything anew.
    pub fn skip(&mut self) {
        self.heard = None;
        self.wakes = self.wakes.resubscribe();
    }

    async fn may_hear(&mut self, change: Change) -> Result<bool> {
        if policy::operates(&self.caller) {
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

    /// A lease's own event moves its cluster in and out of sight.
    async fn lease_changed(&mut self, lease: Uuid) -> Result<bool> {
        match self.orchestrator.lease_show(&self.caller, lease).await {
            Ok(lease) if lease.state == LeaseState::Active => {
                self.clusters.insert(lease.cluster_id);
                Ok(true)
            }
            // The cluster may be the caller's again by another lease: whether it is gets asked each time.
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the caller holds a cluster now. Only those that it held at some time are looked up.
    async fn holds(&mut self, cluster: Uuid) -> Result<bool> {
        if !self.clusters.contains(&cluster) {
            return Ok(false);
        }
        let lease = self.orchestrator.store().read().lease_of(cluster).await?;
        let holds = policy::may_use_cluster(&self.caller, lease.as_ref());
        if !holds {
            self.clusters.remove(&cluster);
        }
        Ok(holds)
    }

    async fn may_read(&self, operation: Uuid) -> Result<bool> {
        let Some((author, cluster)) = self.orchestrator.facts(operation).await? else {
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
