//! Probes all nodes at once, over their ports.

use super::{
    RPC,
    protocol::{Answer, Request},
    render::Facts,
};
use chainpool_agent::{ByteStream, NodeName, NodeState, Observation};
use chainpool_api::{Evidence, NodeEvidence};
use chainpool_networks::{Nodes, process_state};
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};

/// Time limit of an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Sends a request to one node. A refusal is an error with its reason.
pub(super) async fn ask(nodes: &Nodes, node: &NodeName, request: &Request) -> Result<Answer, String> {
    let exchange = async {
        let stream = nodes.dial(node, RPC).await.map_err(|error| error.to_string())?;
        answer(stream, request).await.map_err(|error| error.to_string())
    };
    match timeout(TIMEOUT, exchange).await {
        Ok(Ok(Answer::Refused { why })) => Err(why),
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn answer(stream: ByteStream, request: &Request) -> std::io::Result<Answer> {
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    line.clear();
    stream.read_line(&mut line).await?;
    if line.is_empty() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "it closed the connection",
        ));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Probes the running nodes.
pub(super) async fn probe(nodes: &Nodes, observed: &Observation) -> Evidence {
    let facts = Facts::read(&nodes.spec);
    let asked = join_all(nodes.spec.nodes.iter().map(async |spec| {
        let state = observed.node_state(nodes.key.generation, &spec.name);
        let runs = state == NodeState::Running;
        let answer = if runs {
            Some(ask(nodes, &spec.name, &Request::Status).await)
        } else {
            None
        };
        (spec.name.clone(), process_state(&state), answer)
    }));
    let mut evidence = Evidence::default();
    let mut heights: BTreeMap<NodeName, u64> = BTreeMap::new();
    let mut powers = BTreeMap::new();
    for (name, process, answer) in asked.await {
        let mut node = NodeEvidence {
            process,
            ..NodeEvidence::default()
        };
        match answer {
            Some(Ok(Answer::Status {
                chain_id,
                height,
                peers,
                power,
            })) if chain_id == facts.chain_id => {
                node.answers = true;
                node.height = (height > 0).then_some(height);
                node.peers = u32::try_from(peers).ok();
                heights.insert(name.clone(), height);
                powers.insert(height, power);
            }
            Some(Ok(other)) => node.silent = Some(format!("another ledger answers on its port: {other:?}")),
            Some(Err(why)) => node.silent = Some(why),
            None => {}
        }
        evidence.nodes.insert(name.to_string(), node);
    }
    evidence.height = heights.values().copied().filter(|height| *height > 0).max();
    let count = |part: usize| u64::try_from(part).unwrap_or(u64::MAX);
    evidence.power = powers
        .pop_last()
        .map(|(_, (part, all))| (count(part), count(all)));
    evidence.agree = compare(nodes, &mut evidence.nodes, &heights).await;
    evidence
}

/// Compares the newest block that all nodes with blocks have; `None`: nothing to compare.
async fn compare(
    nodes: &Nodes,
    evidence: &mut BTreeMap<String, NodeEvidence>,
    heights: &BTreeMap<NodeName, u64>,
) -> Option<bool> {
    let with_blocks = heights.iter().filter(|(_, own)| **own > 0);
    if with_blocks.clone().count() < 2 {
        return None;
    }
    let height = with_blocks.clone().map(|(_, own)| *own).min()?;
    let found = join_all(
        with_blocks.map(async |(name, _)| (name, ask(nodes, name, &Request::Block { height }).await)),
    )
    .await;
    let mut hashes = BTreeSet::new();
    let mut compared = 0;
    for (name, answer) in found {
        if let (Some(node), Ok(Answer::Block { hash })) = (evidence.get_mut(name.as_str()), answer) {
            node.hash = Some(hash.clone());
            hashes.insert(hash);
            compared += 1;
        }
    }
    (compared > 1).then_some(hashes.len() == 1)
}
