//! Asks all nodes at once for what they know.
//!
//! Orderers tell by their metrics who leads, peers tell by signed questions how far they are. Somebody who has not heard of the
//! newest block yet, or of the leader, is asked again for a moment: only what stays away then is evidence.

use super::{
    access::Access,
    ca,
    connect::{CallError, Http},
    consensus::Consensus,
    database::{self, StateDatabase},
    endorser::Peer,
    facts::{Chaincode, Duty},
    health,
    lifecycle::Definition,
    metrics::{Metrics, Part, leader},
    patience::Pause,
    proto::peer::BlockchainInfo,
    render::CHAINCODE,
    standstill::{Still, still},
    tls,
};
use crate::{Nodes, NodesError, process::word};
use chainpool_agent::{ByteStream, NodeName, NodeState, Observation};
use chainpool_api::{ChannelEvidence, Evidence, NodeEvidence, Timestamp};
use futures::future::join_all;
use http::StatusCode;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout},
};

/// How long those are asked again that have not heard of something yet.
const SPREAD: Duration = Duration::from_secs(1);
/// How long a stream to a port where nobody listens may take to end.
const ENDS: Duration = Duration::from_millis(300);
/// How long a chaincode's port may take to open.
const CONNECT: Duration = Duration::from_secs(1);

/// A node that answered, with the connection for further questions.
enum Answer {
    Orderer(Metrics, BTreeMap<String, Part>),
    /// With what it cannot do its part without, where it lacks it.
    Peer(Peer, BTreeMap<String, BlockchainInfo>, Option<String>),
    /// A Fabric CA, with the end of the certificate that it showed.
    Ca(Option<Timestamp>),
    /// A chaincode or a database: somebody listens there.
    Listens,
}

/// Who answered, by node.
type Answers = BTreeMap<NodeName, Answer>;

/// Asks the nodes. Those that do not run are not dialled.
pub(super) async fn probe(nodes: &Nodes, observed: &Observation) -> Evidence {
    let access = match Access::new(nodes) {
        Ok(access) => access,
        Err(e) => {
            tracing::error!(cluster = %nodes.key.cluster, "its nodes cannot be asked: {e}");
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
        (name, word(&state), answer)
    }))
    .await;

    let mut evidence = Evidence::default();
    let mut answers = Answers::new();
    for (name, process, answer) in asked {
        let mut node = NodeEvidence {
            process,
            ..of_role(access, name)
        };
        match answer {
            Some(Ok(answer)) => drop(answers.insert(name.clone(), answer)),
            Some(Err(why)) => node.silent = Some(why.to_string()),
            None => {}
        }
        evidence.nodes.insert(name.to_string(), node);
    }
    let newest = hear_out(access, &mut answers).await;
    for (name, node) in &mut evidence.nodes {
        if let Some(answer) = answers
            .iter()
            .find(|(known, _)| known.as_str() == name)
            .map(|(_, answer)| answer)
        {
            describe(node, answer, &newest, access.facts.parameters.consensus);
        }
    }
    for (channel, height) in &newest {
        note_still(access, channel, *height, &answers, &mut evidence.nodes);
    }
    miss_databases(access, &mut evidence.nodes);
    for channel in &access.facts.channels {
        let seen = channel_evidence(access, &channel.name, &answers, &mut evidence.nodes).await;
        evidence.channels.insert(channel.name.clone(), seen);
    }
    sum_up(access, &mut evidence);
    evidence
}

/// What a node is by the facts, before anything is asked.
fn of_role(access: &Access, name: &NodeName) -> NodeEvidence {
    let (duty, organisation) = access.facts.duty(name);
    let organisation = organisation.map(|organisation| organisation.name.clone());
    NodeEvidence {
        role: Some(duty.as_str().to_owned()),
        organisation,
        ..NodeEvidence::default()
    }
}

/// The first questions to one node. TLS has made sure that it is this node.
async fn ask(access: &Access, name: &NodeName) -> Result<Answer, CallError> {
    match access.facts.duty(name).0 {
        duty @ (Duty::Chaincode | Duty::Database) => {
            // A chaincode has no question that all of them understand, and whether a database answers its peer says; that it listens is
            // what there is to know. Its port knows no mutual TLS and so is not published: where the platform reaches published ports
            // alone, that it runs must do.
            let port = if duty == Duty::Chaincode {
                CHAINCODE
            } else {
                database::HTTP
            };
            let dial = timeout(CONNECT, access.nodes.dial(name, port)).await;
            let late = |_| CallError::Silent(format!("no connection within {} s", CONNECT.as_secs()));
            match dial.map_err(late)? {
                Ok(mut stream) => listens(&mut stream).await,
                Err(NodesError::Agent(chainpool_agent::Error::Unsupported(_))) => Ok(Answer::Listens),
                Err(error) => Err(CallError::Silent(error.to_string())),
            }
        }
        Duty::Orderer => {
            let mut metrics = Metrics::connect(access, name).await?;
            let parts = metrics.parts().await?;
            Ok(Answer::Orderer(metrics, parts))
        }
        Duty::Ca => {
            let mut server = Http::connect(access, name, ca::HTTPS).await?;
            match server.get("/cainfo").await? {
                (StatusCode::OK, _) => Ok(Answer::Ca(server.ends)),
                (status, _) => Err(CallError::Silent(format!("it answers {status}"))),
            }
        }
        Duty::Peer => {
            let peer = Peer::connect(access, name).await?;
            let asked = async {
                match access.facts.parameters.state_database {
                    StateDatabase::LevelDb => None,
                    StateDatabase::CouchDb => health::unable(access, name).await,
                }
            };
            let (infos, unable) = futures::join!(infos(&peer), asked);
            Ok(Answer::Peer(peer, infos?, unable))
        }
    }
}

/// Whether somebody listens at the other end of a stream. Some platforms open it in any case and end it when nobody does; a
/// chaincode says nothing before it is spoken to.
async fn listens(stream: &mut ByteStream) -> Result<Answer, CallError> {
    match timeout(ENDS, stream.read(&mut [0])).await {
        Err(_) | Ok(Ok(1..)) => Ok(Answer::Listens),
        Ok(Ok(0)) => Err(CallError::Silent("nobody listens on its port".to_owned())),
        Ok(Err(e)) => Err(CallError::Silent(e.to_string())),
    }
}

/// How far a peer is on each channel that it has joined.
async fn infos(peer: &Peer) -> Result<BTreeMap<String, BlockchainInfo>, CallError> {
    let channels = peer.channels().await?;
    let infos = channels
        .into_iter()
        .map(|channel| async move { Ok((channel.clone(), peer.info(&channel).await?)) });
    futures::future::try_join_all(infos)
        .await
        .map(|infos| infos.into_iter().collect())
}

impl Answer {
    fn height(&self, channel: &str) -> Option<u64> {
        match self {
            Self::Orderer(_, parts) => parts.get(channel).map(|part| part.height),
            Self::Peer(_, infos, _) => infos.get(channel).map(|info| info.height),
            Self::Ca(_) | Self::Listens => None,
        }
    }

    /// Whether it has joined a channel and lacks blocks of it; this many are there.
    fn lacks(&self, channel: &str, newest: u64, consensus: Consensus) -> bool {
        let spare = if matches!(self, Self::Orderer(..)) {
            consensus.may_lack()
        } else {
            0
        };
        self.height(channel)
            .is_some_and(|own| own.saturating_add(spare) < newest)
    }

    fn part(&self, channel: &str) -> Option<&Part> {
        match self {
            Self::Orderer(_, parts) => parts.get(channel),
            _ => None,
        }
    }

    /// Asks once more. A node that does not answer now keeps what it said: it answered.
    async fn again(&mut self, access: &Access) {
        match self {
            Self::Orderer(metrics, parts) => {
                if let Ok(now) = metrics.parts().await {
                    *parts = now;
                }
            }
            Self::Peer(peer, known, unable) => {
                let again = async {
                    if unable.is_some() {
                        health::unable(access, &peer.node).await
                    } else {
                        None
                    }
                };
                let (now, still_unable) = futures::join!(infos(peer), again);
                if let Ok(now) = now {
                    *known = now;
                }
                *unable = still_unable;
            }
            Self::Ca(_) | Self::Listens => {}
        }
    }
}

/// Asks those again who have not heard of the newest block or of a leader, until they have or the time is over. Returns the heights
/// that they were asked for: blocks that come meanwhile do not count, else a busy channel would never come to rest.
async fn hear_out(access: &Access, answers: &mut Answers) -> BTreeMap<String, u64> {
    let height = |name: &String| answers.values().filter_map(|answer| answer.height(name)).max();
    let channels = access.facts.channels.iter().map(|channel| &channel.name);
    let newest: BTreeMap<String, u64> = channels
        .filter_map(|channel| Some((channel.clone(), height(channel)?)))
        .collect();
    let consensus = access.facts.parameters.consensus;
    let deadline = Instant::now() + SPREAD;
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
                        .part(channel)
                        .is_some_and(|part| !part.heard || leaderless.contains(channel))
                })
        };
        let late: Vec<&mut Answer> = answers.values_mut().filter(|answer| late(answer)).collect();
        if late.is_empty() || Instant::now() >= deadline {
            return newest;
        }
        pause.wait().await;
        join_all(late.into_iter().map(|answer| answer.again(access))).await;
    }
}

/// Whether somebody leads, or nobody can: too few take part.
fn is_led(access: &Access, channel: &str, answers: &Answers) -> bool {
    let parts: Vec<&Part> = answers
        .values()
        .filter_map(|answer| answer.part(channel))
        .collect();
    let quorum = access.facts.parameters.consensus.quorum(access.orderers().len());
    parts.iter().any(|part| part.leads) || parts.len() < quorum
}

/// Notes the orderers that stand still. One that is only suspected answers, and counts.
fn note_still(
    access: &Access,
    channel: &str,
    newest: u64,
    answers: &Answers,
    nodes: &mut BTreeMap<String, NodeEvidence>,
) {
    for (name, still) in still(
        access.facts.parameters.consensus,
        access.orderers().len(),
        newest,
        &parts(channel, answers),
    ) {
        let Some(node) = nodes.get_mut(name.as_str()) else {
            continue;
        };
        node.stuck = true;
        if still == Still::Apart && node.answers {
            node.answers = false;
            node.silent = Some(format!(
                "it takes no part in ordering channel {channel}, although there is a leader"
            ));
        }
    }
}

/// The orderers' parts in a channel.
fn parts<'a>(channel: &str, answers: &'a Answers) -> Vec<(&'a NodeName, Part)> {
    answers
        .iter()
        .filter_map(|(name, answer)| Some((name, *answer.part(channel)?)))
        .collect()
}

fn describe(node: &mut NodeEvidence, answer: &Answer, newest: &BTreeMap<String, u64>, consensus: Consensus) {
    node.answers = true;
    node.certificate_ends = match answer {
        Answer::Orderer(metrics, _) => metrics.ends(),
        Answer::Peer(peer, ..) => peer.grpc.ends,
        Answer::Ca(ends) => *ends,
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

/// A peer whose database does not run lacks it, whether it has noticed or not.
fn miss_databases(access: &Access, nodes: &mut BTreeMap<String, NodeEvidence>) {
    for (_, peer) in access.peers() {
        let name = database::name(peer);
        let ended = nodes
            .get(name.as_str())
            .filter(|database| database.process != "running")
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

/// What is known of one channel, and the hashes of the newest block that all its peers have.
async fn channel_evidence(
    access: &Access,
    channel: &str,
    answers: &Answers,
    nodes: &mut BTreeMap<String, NodeEvidence>,
) -> ChannelEvidence {
    let leader = leader(&parts(channel, answers));
    let peers: Vec<(&Peer, &BlockchainInfo)> = answers
        .values()
        .filter_map(|answer| joined(answer, channel))
        .collect();
    ChannelEvidence {
        height: answers.values().filter_map(|answer| answer.height(channel)).max(),
        leader: leader.map(|(name, _)| name.to_string()),
        active: leader.map(|(_, part)| part.active),
        agree: compare(channel, &peers, nodes).await,
        chaincodes: committed(channel, &peers, &access.facts.chaincodes).await,
    }
}

fn joined<'a>(answer: &'a Answer, channel: &str) -> Option<(&'a Peer, &'a BlockchainInfo)> {
    match answer {
        Answer::Peer(peer, infos, _) => Some((peer, infos.get(channel)?)),
        _ => None,
    }
}

/// Whether all peers have the same newest common block. `None`: there was nothing to compare.
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
            // It answers, and what it did not tell is not compared.
            Err(why) => tracing::debug!(node = %name, channel, %why, "a peer did not tell a block's hash"),
        }
    }
    let differ = hashes.values().collect::<BTreeSet<_>>().len() > 1;
    for (name, hash) in &hashes {
        // Of several channels the first one's hash is shown, unless they differ on another.
        if let Some(node) = nodes.get_mut(*name).filter(|node| differ || node.hash.is_none()) {
            node.hash = Some(hash.clone());
        }
    }
    (hashes.len() > 1).then_some(!differ)
}

/// Whether each chaincode is committed in its version, or in one of its users' own, as the peer that is furthest knows it. Empty where
/// nobody answered.
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
        found
            .is_some_and(|found| found.version == chaincode.version || chaincode.is_users_own(&found.version))
    };
    let answers = join_all(asked).await.into_iter();
    answers
        .filter_map(|(chaincode, found)| Some((chaincode.name.clone(), is_current(chaincode, found.ok()?))))
        .collect()
}

/// What follows for the whole from its channels and nodes.
fn sum_up(access: &Access, evidence: &mut Evidence) {
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
    let organisations = access.facts.organisations.iter().chain([&access.facts.ordering]);
    let stored = organisations
        .flat_map(|o| [&o.ca, &o.tls_ca, &o.admin, &o.user])
        .chain([&access.facts.control]);
    let shown = evidence.nodes.values().filter_map(|node| node.certificate_ends);
    evidence.certificate_ends = stored
        .filter_map(|certificate| tls::pem_ends(certificate))
        .chain(shown)
        .min();
}
