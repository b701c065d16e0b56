//! Queries to one node, and its answer.

use crate::{
    NodesError,
    client::call::{CONNECT, CallError},
    fabric::{
        client::{
            access::Access,
            control::Control,
            endorser::Peer,
            metrics::{Metrics, OrdererStatus},
        },
        health::peer,
        model::{
            NodeKind,
            ports::{self, CHAINCODE},
        },
        parameters::{consensus::Consensus, state_database::StateDatabase},
        proto::peer::BlockchainInfo,
    },
};
use chainpool_agent::{ByteStream, NodeName};
use chainpool_api::Timestamp;
use http::StatusCode;
use std::{collections::BTreeMap, time::Duration};
use tokio::{io::AsyncReadExt, time::timeout};

/// Time in which a stream to a closed port ends.
const CLOSE_LIMIT: Duration = Duration::from_millis(300);

/// Answer of a node, with the connection for further queries.
pub(super) enum Answer {
    Orderer(Metrics, BTreeMap<String, OrdererStatus>),
    /// With a reason if the peer is not functional.
    Peer(Peer, BTreeMap<String, BlockchainInfo>, Option<String>),
    /// A Fabric CA, with the expiry of its certificate.
    Ca(Option<Timestamp>),
    /// A chaincode or a database: its port is open.
    Listens,
}

/// Answers by node.
pub(super) type Answers = BTreeMap<NodeName, Answer>;

/// First queries to a node; TLS authenticates it.
pub(super) async fn ask(access: &Access, name: &NodeName) -> Result<Answer, CallError> {
    match access.model.kind(name).0 {
        kind @ (NodeKind::Chaincode | NodeKind::Database) => {
            // Chaincodes share no query, and a database's health is reported by its peer, so an open port is
            // the only evidence. The port has no mutual TLS and is not published: if the platform reaches
            // only published ports, a running process must do.
            let port = if kind == NodeKind::Chaincode {
                CHAINCODE
            } else {
                ports::HTTP
            };
            let dial = timeout(CONNECT, access.nodes.dial(name, port)).await;
            let late = |_| CallError::TimedOut(format!("no connection within {} s", CONNECT.as_secs()));
            match dial.map_err(late)? {
                Ok(mut stream) => listens(&mut stream).await,
                Err(NodesError::Agent(chainpool_agent::Error::Unsupported(_))) => Ok(Answer::Listens),
                Err(error) => Err(CallError::Unavailable(error.to_string())),
            }
        }
        NodeKind::Orderer => {
            let mut metrics = Metrics::connect(access, name).await?;
            let statuses = metrics.statuses().await?;
            Ok(Answer::Orderer(metrics, statuses))
        }
        NodeKind::Ca => {
            let mut server = Control::connect(access, name, ports::HTTPS).await?;
            match server.http.get("/cainfo").await? {
                (StatusCode::OK, _) => Ok(Answer::Ca(server.certificate_expiry)),
                (status, _) => Err(CallError::Unavailable(format!(
                    "the node returned status {status}"
                ))),
            }
        }
        NodeKind::Peer => {
            let peer = Peer::connect(access, name).await?;
            let asked = async {
                match access.model.parameters.state_database {
                    StateDatabase::LevelDb => None,
                    StateDatabase::CouchDb => peer::unable(access, name).await,
                }
            };
            let (infos, unable) = futures::join!(infos(&peer), asked);
            Ok(Answer::Peer(peer, infos?, unable))
        }
    }
}

/// Checks that a port is open. Some platforms accept the stream in any case and close it if the port is
/// closed; a chaincode does not send anything first.
async fn listens(stream: &mut ByteStream) -> Result<Answer, CallError> {
    match timeout(CLOSE_LIMIT, stream.read(&mut [0])).await {
        Err(_) | Ok(Ok(1..)) => Ok(Answer::Listens),
        Ok(Ok(0)) => Err(CallError::Unavailable("its port is closed".to_owned())),
        Ok(Err(e)) => Err(CallError::Unavailable(e.to_string())),
    }
}

/// Heights of a peer on its joined channels.
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
    pub(super) fn height(&self, channel: &str) -> Option<u64> {
        match self {
            Self::Orderer(_, statuses) => statuses.get(channel).map(|status| status.height),
            Self::Peer(_, infos, _) => infos.get(channel).map(|info| info.height),
            Self::Ca(_) | Self::Listens => None,
        }
    }

    /// Returns true if the node has joined a channel and lacks blocks of the `newest` known.
    pub(super) fn lacks(&self, channel: &str, newest: u64, consensus: Consensus) -> bool {
        let spare = if matches!(self, Self::Orderer(..)) {
            consensus.tolerated_lag()
        } else {
            0
        };
        self.height(channel)
            .is_some_and(|own| own.saturating_add(spare) < newest)
    }

    pub(super) fn status(&self, channel: &str) -> Option<&OrdererStatus> {
        match self {
            Self::Orderer(_, statuses) => statuses.get(channel),
            _ => None,
        }
    }

    /// Probes again. On a failure the previous answer stays valid.
    pub(super) async fn refresh(&mut self, access: &Access) {
        match self {
            Self::Orderer(metrics, statuses) => {
                if let Ok(now) = metrics.statuses().await {
                    *statuses = now;
                }
            }
            Self::Peer(peer, known, unable) => {
                let again = async {
                    if unable.is_some() {
                        peer::unable(access, &peer.node).await
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
