//! Gathers evidence on a ledger: from the ledger itself, and from the platform's inventory.

use crate::{
    Error, Result,
    health::Health,
    operations::volumes,
    runtime::{agents::HostAgent, crash_loop::crash_loop_text, runtime_cache::RuntimeCache},
};
use chainpool_agent::{ClusterId, ClusterKey, NodeName, NodeState, Object, ObjectKind, Observation, Scope};
use chainpool_api::{self as api, Progress, Timestamp};
use chainpool_health::{Assessment, Evidence, HealthPolicy, History, LostVolumes, NodeExit, millis};
use chainpool_networks::{NetworkType, Nodes, is_client_saturated, node_reports};
use chainpool_store::{ClusterRow, HostRow};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use uuid::Uuid;

/// For how many times the usual lag an exit is compared with the inventory.
const CONTRADICTED_LAGS: u32 = 10;

/// The outcome of reading a platform's inventory.
pub(super) enum Listed {
    Current(Observation),
    /// It did not arrive in time.
    TimedOut,
    /// The platform cannot list its objects, with the reason.
    Unavailable(String),
}

/// A ledger under assessment: its network type, and access to its nodes.
pub(super) struct Ledger {
    network: Arc<dyn NetworkType>,
    nodes: Nodes,
    agent: HostAgent,
    host: Uuid,
    /// The furthest progress before this assessment; an operation may observe more meanwhile.
    progress: Option<Progress>,
}

impl Ledger {
    pub(super) fn cluster(&self) -> Uuid {
        self.nodes.key.cluster.0
    }

    pub(super) fn host(&self) -> Uuid {
        self.host
    }

    pub(super) fn generation(&self) -> u32 {
        self.nodes.key.generation
    }

    /// Reads the platform's inventory of the cluster, within a limit.
    pub(super) async fn list(&self, limit: Option<Duration>) -> Result<Listed> {
        let listed = self.agent.agent.observe(Scope::Cluster(self.nodes.key.cluster));
        let listed = match limit {
            None => listed.await,
            Some(limit) => match timeout(limit, listed).await {
                Ok(listed) => listed,
                Err(_) => return Ok(Listed::TimedOut),
            },
        };
        match listed {
            Ok(observed) => Ok(Listed::Current(observed)),
            Err(chainpool_agent::Error::Busy(why)) => Ok(Listed::Unavailable(why)),
            Err(error) => Err(error.into()),
        }
    }

    /// Probes the nodes that run according to the latest inventory and the latest exits.
    pub(super) async fn probe(&self, cache: &RuntimeCache, policy: &HealthPolicy) -> api::Evidence {
        let lag = policy.assessment.inventory_lag.saturating_mul(CONTRADICTED_LAGS);
        let known = cache.read(self.cluster(), self.generation(), |runtime| {
            let exits = runtime.health.exits().within(lag, Timestamp::now());
            // The latest exit of each node.
            let exits: BTreeMap<String, NodeExit> =
                exits.map(|exit| (exit.node.clone(), exit.clone())).collect();
            (runtime.observed.clone(), exits)
        });
        let (observed, exits) = known.unwrap_or_default();
        let mut observed = observed.unwrap_or_default();
        for exit in exits.into_values() {
            if self.overrides(&exit, &observed, policy).await {
                apply_exit(
                    Arc::make_mut(&mut observed),
                    self.generation(),
                    &exit.node,
                    exit.code,
                );
            }
        }
        let mut evidence = self.network.probe(&self.nodes, &observed).await;
        evidence.progress = self.network.progress(&evidence);
        evidence
    }
}

impl Ledger {
    /// Returns `true` if an exit is newer than the inventory. Beyond the usual lag the platform is asked about the
    /// node: that answer is never behind, and the platform may have restarted the node meanwhile.
    async fn overrides(&self, exit: &NodeExit, observed: &Observation, policy: &HealthPolicy) -> bool {
        let Assessment {
            inventory_lag,
            reprobe_timeout,
            ..
        } = policy.assessment;
        if Timestamp::now().millis_since(exit.at) < millis(inventory_lag) {
            return true;
        }
        let Ok(node) = NodeName::parse(&exit.node) else {
            return false;
        };
        if observed.node_state(self.generation(), &node) != NodeState::Running {
            return false;
        }
        let incarnation = self.agent.agent.incarnation(&self.nodes.key, &node);
        matches!(timeout(reprobe_timeout, incarnation).await, Ok(Ok(None)))
    }
}

/// Applies a process exit to the inventory: the platform's events are ahead of its inventory for a moment.
fn apply_exit(observed: &mut Observation, generation: u32, node: &str, code: i64) {
    let same = |object: &&mut Object| {
        object.kind == ObjectKind::Node
            && object.generation == generation
            && object.node.as_ref().is_some_and(|name| name.as_str() == node)
    };
    for object in observed.objects.iter_mut().filter(same) {
        object.state = Some(NodeState::Exited(code));
    }
}

impl Health {
    /// The ledger of a cluster.
    pub(super) async fn ledger(&self, row: &ClusterRow, host: &HostRow) -> Result<Ledger> {
        let agent = self.runtime.agents.of(host)?;
        let key = ClusterKey {
            cluster: ClusterId(row.id),
            generation: row.generation,
        };
        let spec = self
            .runtime
            .spec(row.id, key.generation)
            .await?
            .ok_or_else(|| Error::internal(format!("cluster {} has no spec", row.name)))?;
        let network = self
            .runtime
            .registry
            .get(&row.network_type)
            .map_err(Error::internal)?;
        let nodes = Nodes {
            agent: Arc::clone(&agent.agent),
            key,
            spec,
            policy: Arc::clone(&self.runtime.policy),
        };
        let progress = self.runtime.progress_seen(row);
        Ok(Ledger {
            network,
            nodes,
            agent,
            host: host.id,
            progress,
        })
    }

    /// A probe with the verdict of the network type.
    pub(super) async fn evidence_of(
        &self,
        ledger: &Ledger,
        row: &ClusterRow,
        probed: &api::Evidence,
    ) -> Evidence {
        let (network, policy, now) = (&ledger.network, &self.runtime.policy, Timestamp::now());
        let nodes = node_reports(probed);
        let known = self.runtime.cache.read(row.id, ledger.generation(), |runtime| {
            let listed = runtime.observed.clone();
            let reliable = listed.filter(|_| runtime.health.inventory_is_reliable());
            (runtime.health.history(&nodes, now), reliable)
        });
        let (history, listed) = known.unwrap_or_default();
        let history = History {
            progress: ledger.progress,
            ..history
        };
        let parameters = &row.parameters.0;
        let verdict = network.verdict(parameters, probed, &history, policy, now);
        let lost = listed.and_then(|listed| {
            let spec = &ledger.nodes.spec;
            let lost = volumes::lost_unresponsive(spec, ledger.generation(), &listed, probed);
            lost_volumes(network.loses_ledger(spec, &lost), &lost)
        });
        Evidence {
            nodes,
            saturated: is_client_saturated(verdict.state, probed, &row.stopped_nodes.0),
            verdict,
            progress: probed.progress,
            fault: network.ledger_regression(parameters, probed, &history),
            lost,
            crash_loop: self.crash_loop(ledger, row).await,
        }
    }

    /// Returns the reason of a crash loop. The reason stays the same while the loop lasts, because the log would
    /// differ each time.
    async fn crash_loop(&self, ledger: &Ledger, row: &ClusterRow) -> Option<String> {
        let policy = &self.runtime.policy.crash_loop;
        let since = Timestamp(Timestamp::now().0 - millis(policy.window));
        let known = self.runtime.cache.read(row.id, ledger.generation(), |runtime| {
            let looping = runtime.health.exits().crash_loop(since, policy);
            let looping = looping.map(|(node, exits)| (node.to_owned(), exits));
            (looping, runtime.crash_loop.clone())
        });
        let found = match known.unwrap_or_default() {
            (Some((node, _)), Some((known, reason))) if node == known.as_str() => return Some(reason),
            (Some((node, exits)), _) => {
                let node = NodeName::parse(&node).ok()?;
                let reason = crash_loop_text(&ledger.agent, &ledger.nodes.key, (&node, exits), policy).await;
                Some((node, reason))
            }
            (None, None) => return None,
            (None, Some(_)) => None,
        };
        self.runtime.cache.update(row.id, ledger.generation(), |runtime| {
            runtime.crash_loop.clone_from(&found);
        });
        found.map(|(_, reason)| reason)
    }
}

fn lost_volumes(ledger: bool, lost: &BTreeSet<NodeName>) -> Option<LostVolumes> {
    let text = if ledger {
        volumes::ledger_lost_text(lost)
    } else {
        volumes::lost_text(lost)?
    };
    Some(LostVolumes { ledger, text })
}
