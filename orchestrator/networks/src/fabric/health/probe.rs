//! Probes all nodes concurrently.
//!
//! Metrics of orderers give the leaders, signed queries to peers give the heights. Nodes that lack the newest
//! block or a leader are probed again for a moment: only a lasting lag is evidence.

use crate::{
    Nodes,
    fabric::{
        client::{
            access::Access,
            definitions::Definition,
            endorser::Peer,
            metrics::{OrdererStatus, leader},
        },
        crypto::tls,
        health::{
            answer::{Answer, Answers, ask},
            stall::{Stall, stalled_orderers},
        },
        model::{Chaincode, names},
        parameters::consensus::Consensus,
        proto::peer::BlockchainInfo,
    },
    process_state,
    retry::Pause,
};
use chainpool_agent::{NodeName, NodeState, Observation};
use chainpool_api::{ChannelEvidence, Evidence, NodeEvidence};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Probes all running nodes.
pub(crate) async fn probe(nodes: &Nodes, observed: &Observation) -> Evidence {
    let access = match Access::new(nodes) {
        Ok(access) => access,
        Err(e) => {
            tracing::error!(cluster = %nodes.key.cluster, "cannot probe the nodes: {e}");
            return Evidence::default();
        }
    };
    let states = nodes
        .spec
        .nodes
        .iter()
        .map(|node| (&node.name, observed.node_state(nodes.key.generation, &node.name)));
    let access = &access;
    let asked = join_all(states.map(|(name, state)| async move {
        let answer = match state {
            NodeState::Running => Some(ask(access, name).await),
            _ => None,
        };
        (name, process_state(&state), answer)
    }))
    .await;

    let mut evidence = Evidence::default();
    let mut answers = Answers::new();
    for (name, process, answer) in asked {
        let mut node = NodeEvidence {
            process,
            ..initial_evidence(access, name)
        };
        match answer {
            Some(Ok(answer)) => drop(answers.insert(name.clone(), answer)),
            Some(Err(why)) => node.silent = Some(why.to_string()),
            None => {}
        }
        evidence.nodes.insert(name.to_string(), node);
    }
    let newest = refresh_lagging(access, &mut answers).await;
    for (name, node) in &mut evidence.nodes {
        if let Some(answer) = answers
            .iter()
            .find(|(known, _)| known.as_str() == name)
            .map(|(_, answer)| answer)
        {
            describe(node, answer, &newest, access.model.parameters.consensus);
        }
    }
    for (channel, height) in &newest {
        mark_stalled(access, channel, *height, &answers, &mut evidence.nodes);
    }
    mark_missing_databases(access, &mut evidence.nodes);
    for channel in &access.model.channels {
        let seen = channel_evidence(access, &channel.name, &answers, &mut evidence.nodes).await;
        evidence.channels.insert(channel.name.clone(), seen);
    }
    summarize(access, &mut evidence);
    evidence
}

/// Evidence of a node from the model alone.
fn initial_evidence(access: &Access, name: &NodeName) -> NodeEvidence {
    let (kind, organisation) = access.model.kind(name);
    let organisation = organisation.map(|organisation| organisation.name.clone());
    NodeEvidence {
        role: Some(kind.as_str().to_owned()),
        organisation,
        ..NodeEvidence::default()
    }
}

/// Probes nodes that lack the newest block or a leader again until they have caught up or the time is over.
/// Returns the heights of the start: blocks that follow meanwhile do not count, or a busy channel would never
/// be in sync.
async fn refresh_lagging(access: &Access, answers: &mut Answers) -> BTreeMap<String, u64> {
    let height = |name: &String| answers.values().filter_map(|answer| answer.height(name)).max();
    let channels = access.model.channels.iter().map(|channel| &channel.name);
    let newest: BTreeMap<String, u64> = channels
        .filter_map(|channel| Some((channel.clone(), height(channel)?)))
        .collect();
    let consensus = access.model.parameters.consensus;
    let deadline = Instant::now() + access.policy().lag_retry;
    let mut pause = Pause::new();
    loop {
        let leaderless: BTreeSet<&String> = newest
            .keys()
            .filter(|channel| !is_led(access, channel, answers))
            .collect();
        let late = |answer: &Answer| {
            let is_behind = newest
                .iter()
                .any(|(channel, height)| answer.lacks(channel, *height, consensus));
            let is_unable = matches!(answer, Answer::Peer(_, _, Some(_)));
            is_behind
                || is_unable
                || newest.keys().any(|channel| {
                    answer
                        .status(channel)
                        .is_some_and(|status| !status.knows_leader || leaderless.contains(channel))
                })
        };
        let late: Vec<&mut Answer> = answers.values_mut().filter(|answer| late(answer)).collect();
        if late.is_empty() || Instant::now() >= deadline {
            return newest;
        }
        pause.wait().await;
        join_all(late.into_iter().map(|answer| answer.refresh(access))).await;
    }
}

/// Returns true if there is a leader, or too few orderers for one.
fn is_led(access: &Access, channel: &str, answers: &Answers) -> bool {
    let statuses: Vec<&OrdererStatus> = answers
        .values()
        .filter_map(|answer| answer.status(channel))
        .collect();
    let quorum = access.model.parameters.consensus.quorum(access.orderers().len());
    statuses.iter().any(|status| status.is_leader) || statuses.len() < quorum
}

/// Marks stalled orderers. Suspected ones still count as responsive.
fn mark_stalled(
    access: &Access,
    channel: &str,
    newest: u64,
    answers: &Answers,
    nodes: &mut BTreeMap<String, NodeEvidence>,
) {
    for (name, stall) in stalled_orderers(
        access.model.parameters.consensus,
        access.orderers().len(),
        newest,
        &statuses(channel, answers),
    ) {
        let Some(node) = nodes.get_mut(name.as_str()) else {
            continue;
        };
        node.stuck = true;
        if stall == Stall::NotParticipating && node.answers {
            node.answers = false;
            node.silent = Some(format!(
                "it does not participate in ordering channel {channel} although there is a leader"
            ));
        }
    }
}

/// Statuses of the orderers on a channel.
fn statuses<'a>(channel: &str, answers: &'a Answers) -> Vec<(&'a NodeName, OrdererStatus)> {
    answers
        .iter()
        .filter_map(|(name, answer)| Some((name, *answer.status(channel)?)))
        .collect()
}

fn describe(node: &mut NodeEvidence, answer: &Answer, newest: &BTreeMap<String, u64>, consensus: Consensus) {
    node.answers = true;
    node.certificate_ends = match answer {
        Answer::Orderer(metrics, _) => metrics.certificate_expiry(),
        Answer::Peer(peer, ..) => peer.grpc.certificate_expiry,
        Answer::Ca(expiry) => *expiry,
        Answer::Listens => None,
    };
    if matches!(answer, Answer::Ca(_) | Answer::Listens) {
        return;
    }
    if let Answer::Peer(_, _, unable) = answer {
        node.unable.clone_from(unable);
    }
    node.channels = newest
        .keys()
        .filter_map(|channel| Some((channel.clone(), answer.height(channel)?)))
        .collect();
    node.height = node.channels.values().copied().max();
    node.catching_up = Some(
        newest
            .iter()
            .any(|(channel, newest)| answer.lacks(channel, *newest, consensus)),
    );
}

/// Marks peers whose database is not running, even if they have not noticed.
fn mark_missing_databases(access: &Access, nodes: &mut BTreeMap<String, NodeEvidence>) {
    for (_, peer) in access.peers() {
        let name = names::database(peer);
        let ended = nodes
            .get(name.as_str())
            .filter(|database| !database.process.is_running())
            .map(|database| database.process.clone());
        if let (Some(process), Some(peer)) = (
            ended,
            nodes
                .get_mut(peer.as_str())
                .filter(|peer| peer.answers && peer.unable.is_none()),
        ) {
            peer.unable = Some(format!("{name} {process}"));
        }
    }
}

/// Evidence of one channel; also sets the hashes of the newest common block.
async fn channel_evidence(
    access: &Access,
    channel: &str,
    answers: &Answers,
    nodes: &mut BTreeMap<String, NodeEvidence>,
) -> ChannelEvidence {
    let leader = leader(&statuses(channel, answers));
    let peers: Vec<(&Peer, &BlockchainInfo)> = answers
        .values()
        .filter_map(|answer| joined(answer, channel))
        .collect();
    ChannelEvidence {
        height: answers.values().filter_map(|answer| answer.height(channel)).max(),
        leader: leader.map(|(name, _)| name.to_string()),
        active: leader.map(|(_, status)| status.active),
        agree: compare(channel, &peers, nodes).await,
        chaincodes: committed(channel, &peers, &access.model.chaincodes).await,
    }
}

fn joined<'a>(answer: &'a Answer, channel: &str) -> Option<(&'a Peer, &'a BlockchainInfo)> {
    match answer {
        Answer::Peer(peer, infos, _) => Some((peer, infos.get(channel)?)),
        _ => None,
    }
}

/// Compares the newest common block of all peers. `None`: there was nothing to compare.
async fn compare(
    channel: &str,
    peers: &[(&Peer, &BlockchainInfo)],
    nodes: &mut BTreeMap<String, NodeEvidence>,
) -> Option<bool> {
    let height = peers
        .iter()
        .map(|(_, info)| info.height)
        .min()
        .filter(|height| *height > 0)?;
    let asked = peers.iter().map(|(peer, info)| async move {
        let hash = match info.height - height {
            0 => Ok(info.current_block_hash.clone()),
            1 => Ok(info.previous_block_hash.clone()),
            _ => peer.hash(channel, height - 1).await,
        };
        (&peer.node, hash)
    });
    let mut hashes = BTreeMap::new();
    for (name, hash) in join_all(asked).await {
        match hash {
            Ok(hash) => drop(hashes.insert(name.as_str(), hex::encode(hash))),
            // It is responsive; a missing hash is not compared.
            Err(why) => tracing::debug!(node = %name, channel, %why, "cannot get a block hash from a peer"),
        }
    }
    let differ = hashes.values().collect::<BTreeSet<_>>().len() > 1;
    for (name, hash) in &hashes {
        // Shows the hash of the first channel, or of one on which the peers differ.
        if let Some(node) = nodes.get_mut(*name).filter(|node| differ || node.hash.is_none()) {
            node.hash = Some(hash.clone());
        }
    }
    (hashes.len() > 1).then_some(!differ)
}

/// Commit status of each chaincode by the peer with the most blocks: its version or a version of the users
/// counts. Empty without a responsive peer.
async fn committed(
    channel: &str,
    peers: &[(&Peer, &BlockchainInfo)],
    chaincodes: &[Chaincode],
) -> BTreeMap<String, bool> {
    let Some((peer, _)) = peers.iter().max_by_key(|(_, info)| info.height) else {
        return BTreeMap::new();
    };
    let asked = chaincodes
        .iter()
        .map(|chaincode| async move { (chaincode, peer.definition(channel, chaincode).await) });
    let is_current = |chaincode: &Chaincode, found: Option<Definition>| {
        found.is_some_and(|found| {
            found.version == chaincode.version || chaincode.is_user_defined(&found.version)
        })
    };
    let answers = join_all(asked).await.into_iter();
    answers
        .filter_map(|(chaincode, found)| Some((chaincode.name.clone(), is_current(chaincode, found.ok()?))))
        .collect()
}

/// Aggregates the evidence of channels and nodes.
fn summarize(access: &Access, evidence: &mut Evidence) {
    evidence.height = evidence
        .channels
        .values()
        .filter_map(|channel| channel.height)
        .max();
    let compared: Vec<bool> = evidence
        .channels
        .values()
        .filter_map(|channel| channel.agree)
        .collect();
    evidence.agree = (!compared.is_empty()).then(|| compared.iter().all(|agree| *agree));
    let orderers = || {
        evidence
            .nodes
            .values()
            .filter(|node| node.role.as_deref() == Some("orderer"))
    };
    let count = |nodes: usize| u64::try_from(nodes).unwrap_or(u64::MAX);
    evidence.power = Some((
        count(orderers().filter(|node| node.answers).count()),
        count(orderers().count()),
    ));
    let organisations = access.model.organisations.iter().chain([&access.model.ordering]);
    let stored = organisations
        .flat_map(|o| [&o.ca, &o.tls_ca, &o.admin, &o.user])
        .chain([&access.model.control]);
    let shown = evidence.nodes.values().filter_map(|node| node.certificate_ends);
    evidence.certificate_ends = stored
        .filter_map(|certificate| tls::pem_expiry(certificate))
        .chain(shown)
        .min();
}
