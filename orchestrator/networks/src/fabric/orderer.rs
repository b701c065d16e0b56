//! Orderers: they take envelopes and know a channel's newest configuration.

use super::{
    access::Access,
    connect::{ANSWER, CallError, Grpc, within},
    deliver::{Blocks, Seek, Service, status},
    identity::Identity,
    patience::until,
    proto::{
        common::{Block, Envelope, Metadata, OrdererBlockMetadata, Payload, Status},
        configtx::{Config, ConfigEnvelope},
        deliver::BroadcastResponse,
    },
};
use chainpool_agent::NodeName;
use futures::future::join_all;
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;

/// How long orderers are given to elect a leader.
const ELECTION: Duration = Duration::from_secs(12);

/// A connection to an orderer.
pub(super) struct Orderer {
    /// Its name.
    pub(super) node: NodeName,
    grpc: Grpc,
}

/// A channel's configuration, and the number of the newest block then.
pub(super) struct Configured {
    pub(super) config: Config,
    pub(super) newest: u64,
}

impl Orderer {
    /// Connects to an orderer.
    pub(super) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        Ok(Self {
            node: node.clone(),
            grpc: Grpc::connect(access, node).await?,
        })
    }

    /// Hands an envelope over. That it was taken does not yet mean that it was ordered.
    pub(super) async fn broadcast(&self, envelope: &Envelope) -> Result<(), CallError> {
        let answer = within(ANSWER, async {
            let mut answers = self
                .grpc
                .stream("/orderer.AtomicBroadcast/Broadcast", envelope.clone())
                .await?;
            answers.next().await
        });
        let BroadcastResponse { status: code, info } = answer.await?;
        match Status::try_from(code) {
            Ok(Status::Success) => Ok(()),
            // It waits for its turn there. Fabric 3.1's gateway reads the same words: `internal/pkg/gateway/submit.go`.
            _ if info.ends_with("request already exists") => Ok(()),
            _ => Err(CallError::Refused(format!("{}: {info}", status(code)))),
        }
    }

    /// The same where more than one must have it: all get it.
    pub(super) async fn hand_over(&self, access: &Access, envelope: &Envelope) -> Result<(), CallError> {
        let orderers = access.orderers();
        match access.facts.parameters.consensus.takers(orderers.len()) {
            1 => self.broadcast(envelope).await,
            _ => offer(access, orderers, envelope).await,
        }
    }

    /// A channel's configuration as it is now.
    pub(super) async fn config(&self, identity: &Identity, channel: &str) -> Result<Configured, CallError> {
        let newest = self.block(identity, channel, Seek::Newest).await?;
        let number = newest.header.as_ref().map_or(0, |header| header.number);
        let last = last_config(&newest)?;
        let block = if last == number {
            newest
        } else {
            self.block(identity, channel, Seek::Number(last)).await?
        };
        let config = configuration(&block).and_then(|envelope| envelope.config);
        let config =
            config.ok_or_else(|| CallError::Refused(format!("its block {last} holds no configuration")))?;
        Ok(Configured {
            config,
            newest: number,
        })
    }

    async fn block(&self, identity: &Identity, channel: &str, seek: Seek) -> Result<Block, CallError> {
        within(ANSWER, async {
            Blocks::open(&self.grpc, Service::Orderer, identity, channel, seek)
                .await?
                .block()
                .await
        })
        .await
    }
}

/// Hands an envelope to the first orderer that takes it. While there is no leader none does: they are tried again for a while.
/// An envelope that is ordered twice counts once.
pub(super) async fn broadcast(access: &Access, envelope: &Envelope) -> Result<(), CallError> {
    until(Instant::now() + ELECTION, || {
        offer(access, access.orderers(), envelope)
    })
    .await
}

/// Hands an envelope to the first of these orderers that takes it; where more than one must have it, to all of them at once.
pub(super) async fn offer(
    access: &Access,
    orderers: &[NodeName],
    envelope: &Envelope,
) -> Result<(), CallError> {
    let give = |node| async move {
        let taken = async { Orderer::connect(access, node).await?.broadcast(envelope).await };
        taken.await.map_err(|e| e.of(node))
    };
    let needed = access.facts.parameters.consensus.takers(orderers.len());
    if needed > 1 {
        return enough(join_all(orderers.iter().map(give)).await, needed);
    }
    let mut last = CallError::Silent("there is no orderer".to_owned());
    for node in orderers {
        match give(node).await {
            Ok(()) => return Ok(()),
            Err(e) => last = last.or(e),
        }
    }
    Err(last)
}

/// Whether so many have taken it; else why one of the others has not.
fn enough(answers: Vec<Result<(), CallError>>, needed: usize) -> Result<(), CallError> {
    if answers.iter().filter(|answer| answer.is_ok()).count() >= needed {
        return Ok(());
    }
    let none = CallError::Silent(format!(
        "{needed} orderers must take it, and there are {}",
        answers.len()
    ));
    Err(answers
        .into_iter()
        .filter_map(Result::err)
        .reduce(CallError::or)
        .unwrap_or(none))
}

/// A channel's configuration as the furthest orderer that answers knows it.
pub(super) async fn configured(access: &Access, channel: &str) -> Result<Configured, CallError> {
    let admin = &access.admin(&access.facts.ordering)?;
    let ask = |node| async move {
        Orderer::connect(access, node)
            .await?
            .config(admin, channel)
            .await
            .map_err(|e| e.of(node))
    };
    let mut best: Result<Configured, CallError> = Err(CallError::Silent("there is no orderer".to_owned()));
    for answer in join_all(access.orderers().iter().map(ask)).await {
        best = match (best, answer) {
            (Ok(one), Ok(other)) => Ok(if other.newest > one.newest { other } else { one }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(one), Err(other)) => Err(one.or(other)),
        };
    }
    best
}

/// The number of the newest configuration's block, by what the orderers signed below a block.
fn last_config(block: &Block) -> Result<u64, CallError> {
    let unreadable =
        || CallError::Refused("its newest block does not tell where the configuration is".to_owned());
    let signatures = block
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.metadata.first())
        .ok_or_else(unreadable)?;
    let metadata = Metadata::decode(&signatures[..]).map_err(|_| unreadable())?;
    let orderer = OrdererBlockMetadata::decode(&metadata.value[..]).map_err(|_| unreadable())?;
    Ok(orderer.last_config.ok_or_else(unreadable)?.index)
}

/// The configuration that a block holds. `None`: it holds transactions.
pub(super) fn configuration(block: &Block) -> Option<ConfigEnvelope> {
    let [only] = &block.data.as_ref()?.data[..] else {
        return None;
    };
    let payload = Payload::decode(&Envelope::decode(&only[..]).ok()?.payload[..]).ok()?;
    let header = super::proto::common::ChannelHeader::decode(&payload.header?.channel_header[..]).ok()?;
    if header.r#type != i32::from(super::proto::common::HeaderType::Config) {
        return None;
    }
    ConfigEnvelope::decode(&payload.data[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{
        envelope::{Stamp, seal, tests::somebody},
        proto::common::{BlockData, BlockMetadata, HeaderType, LastConfig},
    };

    fn block_of(kind: HeaderType) -> Block {
        let (identity, _) = somebody();
        let config = Config {
            sequence: 3,
            channel_group: None,
        };
        let data = ConfigEnvelope {
            config: Some(config),
            last_update: None,
        }
        .encode_to_vec();
        let envelope = seal(&identity, Stamp::new(&identity).header(kind, "ch1", vec![]), data);
        let value = OrdererBlockMetadata {
            last_config: Some(LastConfig { index: 7 }),
            consenter_metadata: vec![],
        }
        .encode_to_vec();
        let signatures = Metadata {
            value,
            signatures: vec![],
        }
        .encode_to_vec();
        Block {
            header: None,
            data: Some(BlockData {
                data: vec![envelope.encode_to_vec()],
            }),
            metadata: Some(BlockMetadata {
                metadata: vec![signatures],
            }),
        }
    }

    #[test]
    fn what_more_than_one_must_have_is_handed_over_when_enough_have_it() {
        let silent = |node: &str| Err(CallError::Silent(format!("{node}: no answer")));
        assert_eq!(
            enough(vec![Ok(()), silent("orderer1"), Ok(()), Ok(())], 3),
            Ok(())
        );
        assert!(enough(vec![Ok(()), silent("orderer1"), Ok(()), silent("orderer3")], 3).is_err());
        assert!(enough(vec![Ok(())], 2).is_err());
    }

    #[test]
    fn a_block_tells_where_the_newest_configuration_is() {
        assert_eq!(last_config(&block_of(HeaderType::Config)), Ok(7));
        assert!(last_config(&Block::default()).is_err());
    }

    #[test]
    fn a_configuration_is_told_from_transactions() {
        let found = configuration(&block_of(HeaderType::Config)).and_then(|envelope| envelope.config);
        assert_eq!(found.map(|config| config.sequence), Some(3));
        assert_eq!(configuration(&block_of(HeaderType::EndorserTransaction)), None);
        assert_eq!(configuration(&Block::default()), None);
    }
}
