//! What was last seen, kept in memory: a throw-away cache that a full pass fills again after a restart.

use crate::{looks::Looks, seen::Seen};
use chainpool_agent::ClusterSpec;
use chainpool_api::Timestamp;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// How long after a host's return a node that comes up there is one of those that its platform starts, in milliseconds.
const COMING_UP_MS: i64 = 300_000;

/// Since when a host answers, as far as this process knows.
#[derive(Default)]
struct Back {
    /// `None`: it does not answer, or was not heard for a while and has not answered since.
    since: Option<Timestamp>,
    /// It had been away: its platform may start everything at once.
    from_away: bool,
    /// When it came back, or the last node came up there after that.
    settled: Timestamp,
}

/// What was last seen of all clusters and hosts.
#[derive(Default)]
pub(crate) struct Live {
    clusters: Mutex<HashMap<Uuid, Seen>>,
    specs: Mutex<Specs>,
    judging: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
    /// The clusters of which a process end is looked into.
    pub(crate) deaths: Looks,
    hosts_back: Mutex<HashMap<Uuid, Back>>,
}

/// Specs that were read before.
#[derive(Default)]
struct Specs {
    known: HashMap<(Uuid, u32), Arc<ClusterSpec>>,
    amending: BTreeSet<Uuid>,
    epoch: u64,
}

impl Specs {
    fn forget(&mut self, cluster: Uuid) {
        self.known.retain(|(id, _), _| *id != cluster);
    }
}

/// The commit of an amendment. Dropped before its end is known, no spec of that cluster is kept until its next amendment.
pub(crate) struct Amending<'a> {
    live: &'a Live,
    cluster: Uuid,
}

impl Amending<'_> {
    /// It was committed.
    pub(crate) fn done(self) {
        let mut specs = self.live.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.amending.remove(&self.cluster);
        specs.epoch += 1;
    }
}

impl Live {
    /// What was last seen of a cluster in this generation.
    pub(crate) fn seen(&self, cluster: Uuid, generation: u32) -> Seen {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters
            .get(&cluster)
            .filter(|seen| seen.generation == generation)
            .cloned()
            .unwrap_or_else(|| Seen {
                generation,
                ..Seen::default()
            })
    }

    /// Changes what is known of a cluster in this generation.
    pub(crate) fn note<T>(&self, cluster: Uuid, generation: u32, change: impl FnOnce(&mut Seen) -> T) -> T {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = clusters.entry(cluster).or_default();
        if seen.generation != generation {
            *seen = Seen {
                generation,
                ..Seen::default()
            };
        }
        change(seen)
    }

    /// Changes what is known of a cluster, if anything is.
    pub(crate) fn note_known(&self, cluster: Uuid, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self
            .clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&cluster)
        {
            change(seen);
        }
    }

    /// Forgets a cluster.
    pub(crate) fn forget(&self, cluster: Uuid) {
        self.clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&cluster);
        self.judging
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&cluster);
        self.specs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget(cluster);
    }

    /// The clusters whose evidence was gathered since.
    pub(crate) fn checked_since(&self, since: Timestamp) -> Vec<Uuid> {
        let clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        clusters
            .iter()
            .filter(|(_, seen)| seen.checked_at.is_some_and(|at| at >= since))
            .map(|(id, _)| *id)
            .collect()
    }

    /// A spec that was read before: with its keys, without the nodes' secret contents.
    pub(crate) fn spec(&self, cluster: Uuid, generation: u32) -> Option<Arc<ClusterSpec>> {
        self.specs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .get(&(cluster, generation))
            .cloned()
    }

    /// How many amendments have ended so far: what was read before the last of them may be of old.
    pub(crate) fn spec_epoch(&self) -> u64 {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// Keeps a spec that was read in this epoch; older generations go.
    pub(crate) fn spec_put(&self, cluster: Uuid, generation: u32, spec: Arc<ClusterSpec>, epoch: u64) {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        if specs.epoch != epoch || specs.amending.contains(&cluster) {
            return;
        }
        let specs = &mut specs.known;
        specs.retain(|(id, known), _| *id != cluster || *known >= generation);
        specs.insert((cluster, generation), spec);
    }

    /// Keeps no spec of a cluster while its amendment is committed, so that whoever asks afterwards gets the amended one.
    pub(crate) fn amending(&self, cluster: Uuid) -> Amending<'_> {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        specs.forget(cluster);
        specs.amending.insert(cluster);
        Amending { live: self, cluster }
    }

    /// Since when a host has answered and, after it was away, no node has come up on it, as far as this process knows.
    pub(crate) fn host_settled(&self, host: Uuid) -> Option<Timestamp> {
        self.hosts()
            .get(&host)
            .and_then(|back| back.since.map(|_| back.settled))
    }

    /// Notes that a node began to answer on a host, which may be the last of those that its platform starts after its return.
    pub(crate) fn node_came_up(&self, host: Uuid, at: Timestamp) {
        if let Some(back) = self.hosts().get_mut(&host)
            && back.from_away
            && back
                .since
                .is_some_and(|since| at.millis_since(since) <= COMING_UP_MS)
        {
            back.settled = back.settled.max(at);
        }
    }

    /// Notes that a host answers.
    pub(crate) fn host_answers(&self, host: Uuid, now: Timestamp) {
        let mut hosts = self.hosts();
        let back = hosts.entry(host).or_default();
        match back.since {
            None => (back.since, back.settled) = (Some(now), now),
            Some(since) => back.from_away &= now.millis_since(since) <= COMING_UP_MS,
        }
    }

    /// Notes that a host does not answer: its next answer is its return.
    pub(crate) fn host_away(&self, host: Uuid) {
        self.hosts().insert(
            host,
            Back {
                from_away: true,
                ..Back::default()
            },
        );
    }

    /// Notes that a host was not heard for a while: it may have been away.
    pub(crate) fn host_unheard(&self, host: Uuid) {
        self.hosts().entry(host).or_default().since = None;
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Uuid, Back>> {
        self.hosts_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One judgement of a cluster at a time.
    pub(crate) fn judging(&self, cluster: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(
            self.judging
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(cluster)
                .or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_was_read_before_an_amendment_is_not_kept() {
        let (live, cluster) = (Live::default(), Uuid::now_v7());
        let network = chainpool_agent::NetworkSpec { subnet: None };
        let spec = || {
            Arc::new(ClusterSpec {
                nodes: vec![],
                jobs: vec![],
                boot: vec![],
                network: network.clone(),
                facts: serde_json::Value::Null,
                keys: std::collections::BTreeMap::new(),
            })
        };
        let before = live.spec_epoch();
        live.spec_put(cluster, 1, spec(), before);
        assert!(live.spec(cluster, 1).is_some());
        let amending = live.amending(cluster);
        live.spec_put(cluster, 1, spec(), live.spec_epoch());
        assert!(live.spec(cluster, 1).is_none(), "read before the commit");
        amending.done();
        live.spec_put(cluster, 1, spec(), before);
        assert!(
            live.spec(cluster, 1).is_none(),
            "read before the commit, kept after it"
        );
        live.spec_put(cluster, 1, spec(), live.spec_epoch());
        assert!(live.spec(cluster, 1).is_some());
    }

    #[test]
    fn a_host_is_settled_since_it_first_answered_again() {
        let (live, host) = (Live::default(), Uuid::now_v7());
        assert_eq!(live.host_settled(host), None);
        live.host_answers(host, Timestamp(1));
        live.host_answers(host, Timestamp(2));
        live.node_came_up(host, Timestamp(3));
        assert_eq!(live.host_settled(host), Some(Timestamp(1)), "it was not away");
        live.host_unheard(host);
        assert_eq!(live.host_settled(host), None);
        live.host_answers(host, Timestamp(4));
        live.node_came_up(host, Timestamp(5));
        assert_eq!(
            live.host_settled(host),
            Some(Timestamp(4)),
            "nobody knows that it was away"
        );
        live.host_away(host);
        assert_eq!(live.host_settled(host), None);
        live.host_answers(host, Timestamp(6));
        assert_eq!(live.host_settled(host), Some(Timestamp(6)));
    }

    #[test]
    fn a_host_that_was_away_is_settled_when_the_last_of_its_nodes_came_up_but_not_for_ever() {
        let (live, host) = (Live::default(), Uuid::now_v7());
        live.host_away(host);
        live.node_came_up(host, Timestamp(1));
        assert_eq!(live.host_settled(host), None, "it does not answer");
        live.host_answers(host, Timestamp(1));
        // The stream of changes is open again a little later.
        live.host_unheard(host);
        live.host_answers(host, Timestamp(2));
        live.node_came_up(Uuid::now_v7(), Timestamp(5));
        assert_eq!(live.host_settled(host), Some(Timestamp(2)), "another host's node");
        live.node_came_up(host, Timestamp(9));
        live.node_came_up(host, Timestamp(8));
        assert_eq!(live.host_settled(host), Some(Timestamp(9)));
        live.node_came_up(host, Timestamp(2 + COMING_UP_MS));
        live.node_came_up(host, Timestamp(3 + COMING_UP_MS));
        assert_eq!(live.host_settled(host), Some(Timestamp(2 + COMING_UP_MS)));
        // Long after its return it is a host like any other.
        live.host_answers(host, Timestamp(3 + COMING_UP_MS));
        live.host_unheard(host);
        live.host_answers(host, Timestamp(4 + COMING_UP_MS));
        live.node_came_up(host, Timestamp(5 + COMING_UP_MS));
        assert_eq!(live.host_settled(host), Some(Timestamp(4 + COMING_UP_MS)));
    }
}
