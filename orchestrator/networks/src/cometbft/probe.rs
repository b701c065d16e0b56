//! Asks all nodes at once for what they know.
//!
//! `/health` proves nothing: it says OK with the quorum lost. So every node is asked for its newest block and its peers,
//! and then all that answered for one and the same block.

use super::{
    facts::Facts,
    keys::Identity,
    render::{HEALTH, RPC},
    rpc::{Blockchain, NetInfo, Rpc, RpcError, Status, Validator, Validators},
};
use crate::{Nodes, process::word};
use chainpool_agent::{NodeName, NodeState, Observation};
use chainpool_api::{Evidence, NodeEvidence};
use futures::future::{Either, join_all, select};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::timeout;

/// How long the port for users may be silent before the other one is asked as well, and how long the answer there may take.
const HEAD_START: Duration = Duration::from_millis(500);
const FALLBACK_ANSWER: Duration = Duration::from_millis(1_500);

/// The most validators on a page of the list, and the most pages that are read.
const PAGE: usize = 100;
const MAX_PAGES: usize = 10;

/// A node that answered, with the connection for further questions.
struct Answer {
    rpc: Rpc,
    status: Status,
    net: NetInfo,
    /// Why the port for users did not.
    closed: Option<String>,
}

/// Asks the nodes. Those that do not run are not dialled.
pub(super) async fn probe(nodes: &Nodes, observed: &Observation) -> Evidence {
    let facts = match Facts::read(&nodes.spec) {
        Ok(facts) => facts,
        Err(e) => {
            tracing::error!(cluster = %nodes.key.cluster, "the stored spec has no facts of a cometbft network: {e}");
            return Evidence::default();
        }
    };
    let states = nodes
        .spec
        .nodes
        .iter()
        .map(|node| (&node.name, observed.node_state(nodes.key.generation, &node.name)));
    let asked = join_all(states.map(|(name, state)| {
        let facts = &facts;
        async move {
            let answer = match state {
                NodeState::Running => Some(ask(nodes, facts, name).await),
                _ => None,
            };
            (name, word(&state), answer)
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
    evidence.power = power(&facts, &mut evidence.nodes, &mut answers).await;
    evidence
}

/// The first questions to one node, at the port for users. Where that takes connections and answers none, because clients have used up what the
/// program serves, the other port tells whether the node takes part.
async fn ask(nodes: &Nodes, facts: &Facts, node: &NodeName) -> Result<Answer, RpcError> {
    let mut of_users = Box::pin(ask_at(nodes, facts, node, RPC));
    if let Ok(known) = timeout(HEAD_START, &mut of_users).await {
        return known;
    }
    let of_health = Box::pin(timeout(FALLBACK_ANSWER, ask_at(nodes, facts, node, HEALTH)));
    let (late, of_health) = match select(of_users, of_health).await {
        Either::Left((Err(RpcError::Late(late)), of_health)) => (late, of_health.await),
        Either::Left((known, _)) => return known,
        Either::Right((of_health, of_users)) => match of_users.await {
            Err(RpcError::Late(late)) => (late, of_health),
            known => return known,
        },
    };
    match of_health {
        Ok(Ok(answer)) => Ok(Answer {
            closed: Some(late),
            ..answer
        }),
        Ok(Err(_)) | Err(_) => Err(RpcError::Late(late)),
    }
}

/// The first questions at one port. An answer from another ledger or node is none: ports may have been taken over.
async fn ask_at(nodes: &Nodes, facts: &Facts, node: &NodeName, port: &str) -> Result<Answer, RpcError> {
    let mut rpc = Rpc::connect(nodes, node, port).await?;
    let status: Status = rpc.get("/status").await?;
    let (id, network) = (&status.node_info.id, &status.node_info.network);
    let expected = facts
        .validators
        .get(node)
        .map_or("", |identity| &identity.node_id);
    if *network != facts.chain_id || id != expected {
        return Err(RpcError::Silent(format!(
            "node {id} of ledger {network} answers in its place"
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
    let begun = sync.latest_block_height > 0;
    node.answers = true;
    node.height = begun.then_some(sync.latest_block_height);
    node.block_at = begun.then_some(sync.latest_block_time);
    node.peers = Some(answer.net.n_peers);
    node.catching_up = Some(sync.catching_up);
    node.closed_to_users.clone_from(&answer.closed);
}

/// Asks all nodes that have blocks for the newest one that each of them has. `None`: there was nothing to compare.
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
    let found: Vec<(NodeName, Result<Blockchain, RpcError>)> = join_all(with_blocks.map(|(name, answer)| {
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
                    .map_or_else(|| "it has no such block".to_owned(), |e| e.to_string());
                *node = NodeEvidence {
                    process: std::mem::take(&mut node.process),
                    silent: Some(format!("asked for block {height}: {why}")),
                    ..NodeEvidence::default()
                };
                answers.remove(&name);
            }
        }
    }
    (compared > 1).then_some(seen.len() == 1)
}

/// The power of the largest group of nodes that answer and are connected with each other, and the power of all validators.
///
/// The ledger's own list of validators counts, because users can change it by transactions: a node that is not on it has no power.
async fn power(
    facts: &Facts,
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
        facts
            .validators
            .get(name)
            .map(|v| powers.get(v.address.as_str()).copied().unwrap_or_default())
    };
    for name in facts.validators.keys() {
        if let Some(node) = nodes.get_mut(name.as_str()) {
            node.power = of(name);
        }
    }
    let links = answers
        .iter()
        .map(|(name, answer)| (name, peers(facts, answer)))
        .collect();
    let group = groups(&links)
        .into_iter()
        .map(|group| group.into_iter().filter_map(of).sum::<u64>());
    Some((group.max().unwrap_or(0), total))
}

/// All validators of the ledger.
async fn validators(rpc: &mut Rpc) -> Result<Vec<Validator>, RpcError> {
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

/// The nodes of this network that a node is connected to.
fn peers<'a>(facts: &'a Facts, answer: &Answer) -> BTreeSet<&'a NodeName> {
    let ids: BTreeSet<&str> = answer
        .net
        .peers
        .iter()
        .map(|peer| peer.node_info.id.as_str())
        .collect();
    facts
        .validators
        .iter()
        .filter(|(_, Identity { node_id, .. })| ids.contains(node_id.as_str()))
        .map(|(name, _)| name)
        .collect()
}

/// Splits nodes into groups within which each reaches each other, over others too. A connection counts when both sides tell of it.
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
