//! Gathers evidence on a ledger: from the ledger itself, and from the platform's inventory where needed.

use crate::{
    Error, Orchestrator, Result,
    number::number,
    operations::volumes,
    runtime::{
        agents::HostAgent,
        cluster_runtime::ClusterRuntime,
        crash_loop::{crash_loop, crash_loop_text},
    },
};
use chainpool_agent::{ClusterId, ClusterKey, NodeState, Object, ObjectKind, Observation, Scope};
use chainpool_api::{self as api, HealthState, Timestamp};
use chainpool_health::{Assessment, millis};
use chainpool_networks::{History, NetworkType, Nodes, Verdict};
use chainpool_store::ClusterRow;
use futures::{
    FutureExt,
    future::{Either, ready, select},
};
use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The assessment of a ledger.
pub(crate) struct LedgerAssessment {
    pub(crate) evidence: api::Evidence,
    pub(crate) verdict: Verdict,
    pub(crate) inventory: Inventory,
    /// The ledger is lost and must not be started.
    pub(crate) ledger_lost: bool,
    /// A permanent fault that only a reset clears.
    pub(crate) fault: Option<String>,
}

/// The source of the platform's inventory in an assessment.
#[derive(PartialEq, Eq)]
pub(crate) enum Inventory {
    /// The cached inventory sufficed.
    Cached,
    Current,
    /// The inventory timed out; the cached one was used.
    TimedOut,
    /// The platform could not list its objects, with the reason.
    Unavailable(String),
}

impl Inventory {
    /// Returns `true` if the inventory is reliable.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Cached | Self::Current)
    }
}

impl Orchestrator {
    /// Returns the type of a ledger and the access to its nodes.
    async fn ledger(&self, row: &ClusterRow, agent: &HostAgent) -> Result<(Arc<dyn NetworkType>, Nodes)> {
        let key = ClusterKey {
            cluster: ClusterId(row.id),
            generation: number(row.generation),
        };
        let spec = self
            .spec(row.id, key.generation)
            .await?
            .ok_or_else(|| Error::internal(format!("cluster {} has no spec", row.name)))?;
        let network = self
            .inner
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let nodes = Nodes {
            agent: Arc::clone(&agent.agent),
            key,
            spec,
            policy: Arc::clone(&self.inner.policy),
        };
        Ok((network, nodes))
    }

    /// Assesses a ledger. `None`: the platform's inventory timed out and no node responds.
    #[expect(
        clippy::too_many_lines,
        reason = "one assessment in its order of calls; the health machine replaces it"
    )]
    pub(crate) async fn evidence(
        &self,
        row: &ClusterRow,
        agent: &HostAgent,
        refresh: bool,
        inventory_timeout: Option<Duration>,
    ) -> Result<Option<LedgerAssessment>> {
        let (network, nodes) = self.ledger(row, agent).await?;
        let (generation, key) = (nodes.key.generation, nodes.key);
        let policy = &self.inner.policy;
        let mut runtime = self.inner.runtime_cache.cluster(row.id, generation);
        let mut inventory = Inventory::Cached;
        if refresh || runtime.observed.is_none() {
            inventory = store_inventory(
                read_inventory(agent, key.cluster, inventory_timeout).await?,
                &mut runtime,
            );
        }
        apply_exits(&mut runtime, &policy.assessment);
        let known = runtime.observed.clone().unwrap_or_default();
        // The highest block before this probe; a concurrent operation may observe later ones.
        let height = self.height_seen(row).and_then(|h| u64::try_from(h).ok());
        let mut evidence = network.probe(&nodes, &known).await;
        // On a busy machine a node may respond late once: probe it again before reporting it.
        let newly_unresponsive = runtime.newly_unresponsive(&evidence);
        let fits = evidence.nodes.values().all(|node| node.answers);
        if !fits && inventory == Inventory::Cached {
            // Something differs from the last observed state: a paused, removed or started node. Read the
            // inventory, then probe again.
            let ask_again = pin!(async {
                if newly_unresponsive {
                    timeout(policy.assessment.reprobe_timeout, network.probe(&nodes, &known))
                        .await
                        .ok()
                } else {
                    None
                }
            });
            let (answer, again) = match select(
                pin!(read_inventory(agent, key.cluster, inventory_timeout)),
                ask_again,
            )
            .await
            {
                Either::Left((answer, again)) => (answer, again.left_future()),
                Either::Right((probed, answer)) => (answer.await, ready(probed).right_future()),
            };
            inventory = store_inventory(answer?, &mut runtime);
            apply_exits(&mut runtime, &policy.assessment);
            if let Some(now) = runtime.observed.as_ref().filter(|now| **now != known) {
                evidence = network.probe(&nodes, now).await;
            } else {
                evidence = again.await.unwrap_or(evidence);
            }
        }
        let responds = runtime.observed.is_some() && evidence.nodes.values().any(|node| node.answers);
        match &inventory {
            Inventory::TimedOut if !responds => return Ok(None),
            Inventory::Unavailable(why) if !responds => {
                let reason = format!("no node responds, and the platform's inventory is unavailable: {why}");
                let verdict = Verdict {
                    state: HealthState::Unknown,
                    reason,
                };
                return Ok(Some(LedgerAssessment {
                    evidence,
                    verdict,
                    inventory,
                    ledger_lost: false,
                    fault: None,
                }));
            }
            _ => {}
        }
        let now = Timestamp::now();
        runtime.note_transitions(&evidence, now);
        let history = History {
            height,
            height_since: runtime.height.map(|(_, since)| since),
            recovering: matches!(
                row.health.0,
                HealthState::Degraded | HealthState::Broken | HealthState::Unknown
            ),
            started_at: Some(row.last_started_at.0),
            reconnected_at: runtime.reconnected_at,
            disconnected_at: runtime.disconnected_at,
        };
        let mut verdict = network.verdict(&row.parameters.0, &evidence, &history, policy, now);
        let listed = runtime.observed.as_ref().filter(|_| inventory.is_known());
        self.note_evidence(row, generation, listed, &evidence, now);
        if let Some(reason) = self.crash_loop(row, agent, &key).await {
            verdict = Verdict {
                state: HealthState::Broken,
                reason,
            };
        }
        let fault = row
            .ledger_fault
            .clone()
            .or_else(|| network.ledger_regression(&row.parameters.0, &evidence, &history));
        let lost = match &runtime.observed {
            Some(listed) if inventory.is_known() => {
                volumes::lost_unresponsive(&nodes.spec, generation, listed, &evidence)
            }
            _ => BTreeSet::new(),
        };
        let ledger_lost = network.loses_ledger(&nodes.spec, &lost);
        if ledger_lost {
            verdict = Verdict {
                state: HealthState::Broken,
                reason: volumes::ledger_lost_text(&lost),
            };
        } else if let Some(reason) = fault.clone() {
            verdict = Verdict {
                state: HealthState::Broken,
                reason,
            };
        } else if verdict.state != HealthState::Healthy {
            let blocked_by = runtime
                .blocked_by
                .as_ref()
                .map(|why| format!("it cannot be repaired now: {why}"));
            for more in volumes::lost_text(&lost).into_iter().chain(blocked_by) {
                verdict.reason = format!("{}; {more}", verdict.reason);
            }
        }
        let stopped: Vec<&str> = row.stopped_nodes.0.iter().map(String::as_str).collect();
        if !stopped.is_empty() && verdict.state != HealthState::Healthy {
            verdict.reason = format!("{} (stopped on request: {})", verdict.reason, stopped.join(", "));
        }
        Ok(Some(LedgerAssessment {
            evidence,
            verdict,
            inventory,
            ledger_lost,
            fault,
        }))
    }

    /// Returns the reason of a crash loop. The reason stays the same while the loop lasts, because the log
    /// would differ each time.
    async fn crash_loop(&self, row: &ClusterRow, agent: &HostAgent, key: &ClusterKey) -> Option<String> {
        let runtime = self.inner.runtime_cache.cluster(row.id, key.generation);
        let policy = &self.inner.policy.crash_loop;
        let found = match (crash_loop(&runtime, policy), runtime.crash_loop) {
            (Some((node, _)), Some((known, reason))) if node == known => return Some(reason),
            (Some((node, exits)), _) => {
                let reason = crash_loop_text(agent, key, (&node, exits), policy).await;
                Some((node, reason))
            }
            (None, None) => return None,
            (None, Some(_)) => None,
        };
        self.inner
            .runtime_cache
            .update(row.id, key.generation, |runtime| {
                runtime.crash_loop.clone_from(&found);
            });
        found.map(|(_, reason)| reason)
    }
}

/// Reads the platform's inventory of a cluster, within a timeout.
async fn read_inventory(
    agent: &HostAgent,
    cluster: ClusterId,
    inventory_timeout: Option<Duration>,
) -> Result<(Inventory, Option<Observation>)> {
    let listed = agent.agent.observe(Scope::Cluster(cluster));
    let listed = match inventory_timeout {
        None => listed.await,
        Some(limit) => match timeout(limit, listed).await {
            Ok(listed) => listed,
            Err(_) => return Ok((Inventory::TimedOut, None)),
        },
    };
    match listed {
        Ok(observed) => Ok((Inventory::Current, Some(observed))),
        Err(chainpool_agent::Error::Busy(why)) => Ok((Inventory::Unavailable(why), None)),
        Err(error) => Err(error.into()),
    }
}

/// Stores a received inventory.
fn store_inventory(
    (inventory, observed): (Inventory, Option<Observation>),
    runtime: &mut ClusterRuntime,
) -> Inventory {
    runtime.observed = observed.or(runtime.observed.take());
    inventory
}

/// Applies the latest process exits to the inventory: the platform's events are ahead of its inventory for a
/// moment.
fn apply_exits(runtime: &mut ClusterRuntime, policy: &Assessment) {
    let now = Timestamp::now();
    let ClusterRuntime {
        exits,
        observed: Some(observed),
        generation,
        ..
    } = runtime
    else {
        return;
    };
    let lag = millis(policy.inventory_lag);
    for exit in exits.iter().filter(|exit| now.millis_since(exit.at) < lag) {
        let same = |object: &&mut Object| {
            object.generation == *generation && object.node.as_ref() == Some(&exit.node)
        };
        for object in observed
            .objects
            .iter_mut()
            .filter(|o| o.kind == ObjectKind::Node)
            .filter(same)
        {
            object.state = Some(NodeState::Exited(exit.code));
        }
    }
}
