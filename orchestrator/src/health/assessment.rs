//! One assessment of a cluster: gathers evidence until the machine concludes, and performs its requests.

use super::evidence::{Ledger, Listed};
use crate::{Error, Result, health::Health};
use chainpool_agent::Observation;
use chainpool_api::{self as api, ClusterState, HostState, Timestamp};
use chainpool_health::{Effect, HostInput, HostReport, Input, Inventory, Record};
use chainpool_store::{ClusterRow, HostRow};
use futures::{
    FutureExt,
    future::{Either, ready, select},
};
use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;
use uuid::Uuid;

/// The cluster and its host as they were when the assessment began, for requests that rest on it.
pub(super) struct Assessed {
    pub(super) row: ClusterRow,
    pub(super) host: Arc<HostRow>,
    /// When the host had started its last node.
    pub(super) quiet_since: Option<Timestamp>,
}

/// A listing that the assessment waits for.
#[derive(Clone, Copy)]
struct Listing {
    limit: Duration,
    /// Probe the ledger again meanwhile.
    probe_again: bool,
}

impl Listing {
    /// The listing that the machine asks for, if it does.
    fn wanted(effects: &[Effect]) -> Option<Self> {
        let limit = effects.iter().find_map(|effect| match effect {
            Effect::ListNow { limit } => *limit,
            _ => None,
        })?;
        let probe_again = effects
            .iter()
            .any(|effect| matches!(effect, Effect::ProbeAgain { .. }));
        Some(Self { limit, probe_again })
    }
}

/// A late inventory that is awaited.
struct Awaited<'a>(&'a Mutex<HashSet<Uuid>>, Uuid);

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

impl Health {
    /// Gathers evidence on a cluster and acts on the verdict. `list` reads the platform's inventory first.
    pub(super) async fn assess_cluster(self: &Arc<Self>, cluster: Uuid, list: bool) -> Result<()> {
        let Some(mut assessed) = self.assessed(cluster).await? else {
            return Ok(());
        };
        let effects = self.report(&assessed.row, Input::Record(self.record_of(&assessed).await?));
        self.perform(&mut assessed, effects, None).await?;
        let report = self.host_report(&assessed.host);
        let unavailable = matches!(report, HostReport::Unavailable(_));
        if let HostReport::Reachable { quiet_since } = report {
            assessed.quiet_since = quiet_since;
        }
        let effects = self.report(&assessed.row, Input::Host(report));
        self.perform(&mut assessed, effects, None).await?;
        if unavailable {
            return Ok(());
        }
        let (runtime, generation) = (Arc::clone(&self.runtime), assessed.row.generation);
        let is_due = move || runtime.cache.is_due(cluster, generation);
        let _turn = self.assessors.turns(assessed.host.id).take(is_due).await;
        // Its own allocation, as thousands of assessments may wait for their turns.
        match Box::pin(self.gather(&mut assessed, list)).await {
            // The host's own assessment determines what is known, and assesses its clusters.
            Err(Error::Unavailable(_)) => {
                self.post_host(assessed.host.id, None);
                Ok(())
            }
            done => done,
        }
    }

    async fn gather(self: &Arc<Self>, assessed: &mut Assessed, list: bool) -> Result<()> {
        let ledger = Arc::new(self.ledger(&assessed.row, &assessed.host).await?);
        let cache = &self.runtime.cache;
        let (cluster, generation) = (ledger.cluster(), ledger.generation());
        let known = cache.observed(cluster, generation);
        let limit = self.runtime.policy.assessment.inventory_timeout;
        let mut listing = (list || known.is_none()).then_some(Listing {
            limit,
            probe_again: false,
        });
        let mut evidence: Option<api::Evidence> = None;
        loop {
            if let Some(listing) = listing {
                evidence = Box::pin(self.list_and_probe(&ledger, listing, evidence)).await?;
            }
            let probed = match evidence.take() {
                Some(probed) => probed,
                None => ledger.probe(cache, &self.runtime.policy).await,
            };
            let effects = self.conclude(&ledger, &assessed.row, &probed).await;
            listing = Listing::wanted(&effects);
            if effects.contains(&Effect::ListNow { limit: None }) {
                self.await_inventory(&ledger);
            }
            self.perform(assessed, effects, Some(&probed)).await?;
            evidence = listing.is_some().then_some(probed);
            if listing.is_none() {
                break;
            }
        }
        let reconnected_at = cache.read(cluster, generation, |runtime| runtime.health.reconnected_at());
        if let Some(at) = reconnected_at.flatten() {
            cache.advance_host(ledger.host(), HostInput::NodeUp(at));
        }
        Ok(())
    }

    /// Reads the platform's inventory and, if asked for, probes the ledger again meanwhile. Returns the evidence to
    /// conclude from; `None`: probe the ledger with the new inventory.
    async fn list_and_probe(
        &self,
        ledger: &Ledger,
        listing: Listing,
        probed: Option<api::Evidence>,
    ) -> Result<Option<api::Evidence>> {
        let cache = &self.runtime.cache;
        let before = cache.observed(ledger.cluster(), ledger.generation());
        let policy = &self.runtime.policy;
        let again = pin!(async {
            if listing.probe_again {
                let probe = ledger.probe(cache, policy);
                timeout(policy.assessment.reprobe_timeout, probe).await.ok()
            } else {
                None
            }
        });
        let list = pin!(ledger.list(Some(listing.limit)));
        let (listed, again) = match select(list, again).await {
            Either::Left((listed, again)) => (listed?, again.left_future()),
            Either::Right((again, list)) => (list.await?, ready(again).right_future()),
        };
        let changed = self.take_listed(ledger, listed, before.as_deref());
        if changed || probed.is_none() {
            return Ok(None);
        }
        Ok(again.await.or(probed))
    }

    /// Awaits an inventory that is late, beside the assessments, and has the cluster assessed when it arrives.
    fn await_inventory(self: &Arc<Self>, ledger: &Arc<Ledger>) {
        let late = &self.assessors.late;
        if !late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(ledger.cluster())
        {
            return;
        }
        let (this, ledger) = (Arc::clone(self), Arc::clone(ledger));
        self.assessors.tasks.spawn(async move {
            let _awaited = Awaited(&this.assessors.late, ledger.cluster());
            let list = this.runtime.stop.run_until_cancelled(ledger.list(None));
            match list.await {
                None => return,
                Some(Ok(listed)) => {
                    this.take_listed(&ledger, listed, None);
                }
                // The host's own assessment determines what is known.
                Some(Err(Error::Unavailable(_))) => return this.host_changed(ledger.host()),
                Some(Err(error)) => {
                    this.take_listed(&ledger, Listed::Unavailable(error.to_string()), None);
                }
            }
            this.post_cluster(ledger.cluster(), false, None);
        });
    }

    /// Stores an inventory and reports its arrival to the machine. Returns `true` if it differs from the previous one.
    fn take_listed(&self, ledger: &Ledger, listed: Listed, before: Option<&Observation>) -> bool {
        let cache = &self.runtime.cache;
        let (cluster, generation) = (ledger.cluster(), ledger.generation());
        let (inventory, changed) = match listed {
            Listed::Current(observed) => {
                let changed = before != Some(&observed);
                cache.update(cluster, generation, |runtime| runtime.observe(observed));
                (Inventory::Current, changed)
            }
            Listed::TimedOut => (Inventory::TimedOut, false),
            Listed::Unavailable(why) => (Inventory::Unavailable(why), false),
        };
        cache.advance(cluster, generation, Input::Inventory(inventory));
        changed
    }

    /// Reports a probe to the machine, with the verdict of the network type.
    async fn conclude(&self, ledger: &Ledger, row: &ClusterRow, probed: &api::Evidence) -> Vec<Effect> {
        let evidence = self.evidence_of(ledger, row, probed).await;
        let effects = self.report(row, Input::Evidence(Box::new(evidence)));
        // Without a conclusion, more is asked for and nothing is recorded.
        let asks = |effect: &Effect| matches!(effect, Effect::ListNow { .. } | Effect::ProbeAgain { .. });
        let concluded = effects.is_empty() || !effects.iter().all(asks);
        if concluded {
            self.runtime.cache.update(row.id, ledger.generation(), |runtime| {
                runtime.note_evidence(probed.clone(), Timestamp::now());
            });
        }
        effects
    }

    /// The cluster to assess; `None`: it is not ready or gone.
    async fn assessed(&self, cluster: Uuid) -> Result<Option<Assessed>> {
        let read = self.store().read();
        let Some(row) = read
            .cluster(cluster)
            .await?
            .filter(|row| row.deleted_at.is_none() && row.state.0 == ClusterState::Ready)
        else {
            return Ok(None);
        };
        let fleet = self.placement.fleet().await?;
        let host = fleet.host(row.host_id).map(|host| Arc::clone(&host.row));
        Ok(host.map(|host| Assessed {
            row,
            host,
            quiet_since: None,
        }))
    }

    fn report(&self, row: &ClusterRow, input: Input) -> Vec<Effect> {
        self.runtime.cache.advance(row.id, row.generation, input)
    }

    /// The record of a cluster, for its machine.
    async fn record_of(&self, Assessed { row, host, .. }: &Assessed) -> Result<Record> {
        let operation = match row.operation_id {
            Some(id) => self.store().read().operation(id).await?.map(|live| live.kind.0),
            None => None,
        };
        Ok(Record {
            health: row.health.0,
            stopped: row.state.0 == ClusterState::Stopped,
            leased: row.leased,
            maintenance: in_maintenance(row, host, Timestamp::now()),
            paused: self.runtime.is_paused(),
            operation,
            stopped_nodes: row.stopped_nodes.0.clone(),
            started_at: row.last_started_at.0,
            fault: row.ledger_fault.clone(),
        })
    }

    fn host_report(&self, host: &HostRow) -> HostReport {
        match host.state.0 {
            HostState::Active => HostReport::Reachable {
                quiet_since: self.runtime.cache.host(host.id).quiet_since(),
            },
            HostState::Unreachable => HostReport::Unavailable(format!(
                "host {} has been unreachable since {}",
                host.name, host.since.0
            )),
            // Another engine may respond there; its state says nothing about this ledger.
            HostState::Paused => {
                HostReport::Unavailable(format!("host {} is paused: {}", host.name, host.reason))
            }
        }
    }
}

/// `true` during maintenance of a cluster or its host.
pub(super) fn in_maintenance(row: &ClusterRow, host: &HostRow, now: Timestamp) -> bool {
    [row.maintenance_until, host.maintenance_until]
        .iter()
        .flatten()
        .any(|until| until.0 > now)
}
