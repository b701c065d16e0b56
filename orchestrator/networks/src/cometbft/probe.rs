//! Probes all nodes concurrently.
//!
//! `/health` is no evidence: it is OK even with the quorum lost. So every node is queried for its newest
//! block and its peers, and then all responsive nodes for the same block.

use super::{
    keys::Identity,
    network_model::NetworkModel,
    render::{HEALTH, RPC},
    rpc::{Blockchain, NetInfo, Rpc, Status, Validator, Validators},
};
use crate::{Nodes, client::call::CallError, process_state};
use chainpool_agent::{NodeName, NodeState, Observation};
use chainpool_api::{Evidence, NodeEvidence};
use futures::future::{Either, join_all, select};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::timeout;

/// Time until an unresponsive client port makes the probe try the health port too, and time limit of the
/// latter.
const HEAD_START: Duration = Duration::from_millis(500);
const FALLBACK_ANSWER: Duration = Duration::from_millis(1_500);

/// Maximum number of validators per page and of pages.
const PAGE: usize = 100;
const MAX_PAGES: usize = 10;

/// Answer of a node, with the connection for further queries.
struct Answer {
    rpc: Rpc,
    status: Status,
    net: NetInfo,
    /// Reason if the client port did not answer.
    closed: Option<String>,
}

/// Probes all running nodes.
pub(super) async fn probe(nodes: &Nodes, observed: &Observation) -> Evidence {
    let model = match NetworkModel::read(&nodes.spec) {
        Ok(model) => model,
        Err(e) => {
            tracing::error!(cluster = %nodes.key.cluster, "the stored spec is not a CometBFT spec: {e}");
            return Evidence::default();
        }
    };
    let states = nodes
        .spec
        .nodes
        .iter()
        .map(|node| (&node.name, observed.node_state(nodes.key.generation, &node.name)));
    let asked = join_all(states.map(|(name, state)| {
        let model = &model;
        async move {
            let answer = match state {
                NodeState::Running => Some(ask(nodes, model, name).await),
                _ => None,
            };
            (name, process_state(&state), answer)
        }
    }))
    .await;

    let mut evidence = Evidence::default();
    let mut answers = BTreeMap::new();
    for (name, process, answer) in asked {
        let mut node = NodeEvidence {
            process,
            ..NodeEvidence::default()
        };
        match answer {
            Some(Ok(answer)) => {
                describe(&mut node, &answer);
                answers.insert(name.clone(), answer);
            }
            Some(Err(why)) => node.silent = Some(why.to_string()),
            None => {}
        }
        evidence.nodes.insert(name.to_string(), node);
    }
    evidence.height = evidence.nodes.values().filter_map(|node| node.height).max();
    evidence.agree = compare(&mut evidence.nodes, &mut answers).await;
    evidence.power = power(&model, &mut evidence.nodes, &mut answers).await;
    evidence
}

/// First queries to a node at its client port. If clients have exhausted its connections, the health port
/// shows whether the node participates.
async fn ask(nodes: &Nodes, model: &NetworkModel, node: &NodeName) -> Result<Answer, CallError> {
    let mut user_port = Box::pin(ask_at(nodes, model, node, RPC));
    if let Ok(known) = timeout(HEAD_START, &mut user_port).await {
        return known;
    }
    let health_port = Box::pin(timeout(FALLBACK_ANSWER, ask_at(nodes, model, node, HEALTH)));
    let (late, health_port) = match select(user_port, health_port).await {
        Either::Left((Err(CallError::TimedOut(late)), health_port)) => (late, health_port.await),
        Either::Left((known, _)) => return known,
        Either::Right((health_port, user_port)) => match user_port.await {
            Err(CallError::TimedOut(late)) => (late, health_port),
            known => return known,
        },
    };
    match health_port {
        Ok(Ok(answer)) => Ok(Answer {
            closed: Some(late),
            ..answer
        }),
        Ok(Err(_)) | Err(_) => Err(CallError::TimedOut(late)),
    }
}

/// First queries at one port. A response of another ledger or node is an error: the port may belong to
/// another process.
async fn ask_at(
    nodes: &Nodes,
    model: &NetworkModel,
    node: &NodeName,
    port: &str,
) -> Result<Answer, CallError> {
    let mut rpc = Rpc::connect(nodes, node, port).await?;
    let status: Status = rpc.get("/status").await?;
    let (id, network) = (&status.node_info.id, &status.node_info.network);
    let expected = model
        .validators
        .get(node)
        .map_or("", |identity| &identity.node_id);
    if *network != model.chain_id || id != expected {
        return Err(CallError::Unavailable(format!(
            "the port belongs to node {id} of ledger {network}"
        )));
    }
    let net = rpc.get("/net_info").await?;
    Ok(Answer {
        rpc,
        status,
        net,
        closed: None,
    })
}

fn describe(node: &mut NodeEvidence, answer: &Answer) {
    let sync = &answer.status.sync_info;
    let has_blocks = sync.latest_block_height > 0;
    node.answers = true;
    node.height = has_blocks.then_some(sync.latest_block_height);
    node.block_at = has_blocks.then_some(sync.latest_block_time);
    node.peers = Some(answer.net.n_peers);
    node.catching_up = Some(sync.catching_up);
    node.closed_to_users.clone_from(&answer.closed);
}

/// Compares the newest common block of all nodes that have blocks. `None`: there was nothing to compare.
async fn compare(
    nodes: &mut BTreeMap<String, NodeEvidence>,
    answers: &mut BTreeMap<NodeName, Answer>,
) -> Option<bool> {
    let height = answers
        .values()
        .map(|answer| answer.status.sync_info.latest_block_height)
        .filter(|height| *height > 0)
        .min()?;
    let path = format!("/blockchain?minHeight={height}&maxHeight={height}");
    let with_blocks = answers
        .iter_mut()
        .filter(|(_, answer)| answer.status.sync_info.latest_block_height > 0);
    let found: Vec<(NodeName, Result<Blockchain, CallError>)> =
        join_all(with_blocks.map(|(name, answer)| {
            let path = &path;
            async move { (name.clone(), answer.rpc.get(path).await) }
        }))
        .await;

    let mut seen = BTreeSet::new();
    let mut compared = 0;
    for (name, found) in found {
        let Some(node) = nodes.get_mut(name.as_str()) else {
            continue;
        };
        match found.map(|chain| chain.block_metas.into_iter().next()) {
            Ok(Some(block)) => {
                seen.insert((block.block_id.hash.clone(), block.header.app_hash));
                node.hash = Some(block.block_id.hash);
                compared += 1;
            }
            failed => {
                let why = failed
                    .err()
                    .map_or_else(|| "the node has no such block".to_owned(), |e| e.to_string());
                *node = NodeEvidence {
                    process: std::mem::take(&mut node.process),
                    silent: Some(format!("query of block {height} failed: {why}")),
                    ..NodeEvidence::default()
                };
                answers.remove(&name);
            }
        }
    }
    (compared > 1).then_some(seen.len() == 1)
}

/// Voting power of the largest connected group of responsive nodes, and of all validators.
///
/// The ledger's own validator list counts, because transactions can change it: a node that is not on it has
/// no power.
async fn power(
    model: &NetworkModel,
    nodes: &mut BTreeMap<String, NodeEvidence>,
    answers: &mut BTreeMap<NodeName, Answer>,
) -> Option<(u64, u64)> {
    let newest = answers
        .values_mut()
        .max_by_key(|answer| answer.status.sync_info.latest_block_height)?;
    let validators = validators(&mut newest.rpc).await.ok()?;
    let powers: BTreeMap<&str, u64> = validators
        .iter()
        .map(|v| (v.address.as_str(), v.voting_power))
        .collect();
    let total = powers.values().sum();
    let of = |name: &NodeName| {
        model
            .validators
            .get(name)
            .map(|v| powers.get(v.address.as_str()).copied().unwrap_or_default())
    };
    for name in model.validators.keys() {
        if let Some(node) = nodes.get_mut(name.as_str()) {
            node.power = of(name);
        }
    }
    let links = answers
        .iter()
        .map(|(name, answer)| (name, peers(model, answer)))
        .collect();
    let group = groups(&links)
        .into_iter()
        .map(|group| group.into_iter().filter_map(of).sum::<u64>());
    Some((group.max().unwrap_or(0), total))
}

/// All validators of the ledger.
async fn validators(rpc: &mut Rpc) -> Result<Vec<Validator>, CallError> {
    let mut all = Vec::new();
    for page in 1..=MAX_PAGES {
        let Validators { validators, total } = rpc
            .get(&format!("/validators?page={page}&per_page={PAGE}"))
            .await?;
        all.extend(validators);
        if all.len() >= total {
            break;
        }
    }
    Ok(all)
}

/// Connected nodes of this network.
fn peers<'a>(model: &'a NetworkModel, answer: &Answer) -> BTreeSet<&'a NodeName> {
    let ids: BTreeSet<&str> = answer
        .net
        .peers
        .iter()
        .map(|peer| peer.node_info.id.as_str())
        .collect();
    model
        .validators
        .iter()
        .filter(|(_, Identity { node_id, .. })| ids.contains(node_id.as_str()))
        .map(|(name, _)| name)
        .collect()
}

/// Splits nodes into connected groups. A connection counts if both sides report it.
fn groups<'a>(links: &BTreeMap<&'a NodeName, BTreeSet<&'a NodeName>>) -> Vec<BTreeSet<&'a NodeName>> {
    let mutual = |a: &NodeName, b: &NodeName| {
        links.get(a).is_some_and(|l| l.contains(b)) && links.get(b).is_some_and(|l| l.contains(a))
    };
    let mut rest: BTreeSet<&NodeName> = links.keys().copied().collect();
    let mut groups = Vec::new();
    while let Some(first) = rest.pop_first() {
        let mut group = BTreeSet::from([first]);
        let mut edge = vec![first];
        while let Some(at) = edge.pop() {
            let found: Vec<&NodeName> = rest.iter().copied().filter(|other| mutual(at, other)).collect();
            for other in found {
                rest.remove(other);
                group.insert(other);
                edge.push(other);
            }
        }
        groups.push(group);
    }
    groups
}
