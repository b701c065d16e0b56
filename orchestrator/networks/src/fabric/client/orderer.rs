//! Orderers: broadcasting envelopes and reading a channel's newest configuration.

use crate::{
    client::call::{ANSWER, CallError, within},
    fabric::{
        client::{
            access::Access,
            deliver::{Blocks, Seek, Service, status},
            grpc::Grpc,
        },
        config::block::{configuration, last_config},
        crypto::identity::Identity,
        proto::{
            common::{Block, Envelope, Status},
            configtx::Config,
            deliver::BroadcastResponse,
        },
    },
    retry::until,
};
use chainpool_agent::NodeName;
use futures::future::join_all;
use tokio::time::Instant;

/// A connection to an orderer.
pub(crate) struct Orderer {
    /// Its name.
    pub(crate) node: NodeName,
    grpc: Grpc,
}

/// A channel's configuration as of a block.
pub(crate) struct ChannelConfig {
    pub(crate) config: Config,
    /// Number of the block that holds it.
    pub(crate) number: u64,
    /// Number of the newest block at that time.
    pub(crate) newest: u64,
}

impl Orderer {
    /// Connects to an orderer.
    pub(crate) async fn connect(access: &Access, node: &NodeName) -> Result<Self, CallError> {
        Ok(Self {
            node: node.clone(),
            grpc: Grpc::connect(access, node).await?,
        })
    }

    /// Broadcasts an envelope. Acceptance does not mean that it is ordered.
    pub(crate) async fn broadcast(&self, envelope: &Envelope) -> Result<(), CallError> {
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
            // It is queued already. Fabric 3.1's gateway checks the same text:
            // `internal/pkg/gateway/submit.go`.
            _ if info.ends_with("request already exists") => Ok(()),
            _ => Err(CallError::Refused(format!("{}: {info}", status(code)))),
        }
    }

    /// Broadcasts an envelope, to all orderers if a quorum must accept it.
    pub(crate) async fn broadcast_with_quorum(
        &self,
        access: &Access,
        envelope: &Envelope,
    ) -> Result<(), CallError> {
        let orderers = access.orderers();
        match access.model.parameters.consensus.required_acks(orderers.len()) {
            1 => self.broadcast(envelope).await,
            _ => broadcast_to(access, orderers, envelope).await,
        }
    }

    /// A channel's current configuration.
    pub(crate) async fn config(
        &self,
        identity: &Identity,
        channel: &str,
    ) -> Result<ChannelConfig, CallError> {
        self.config_as_of(identity, channel, Seek::Newest).await
    }

    /// A channel's configuration as of a block.
    async fn config_as_of(
        &self,
        identity: &Identity,
        channel: &str,
        block: Seek,
    ) -> Result<ChannelConfig, CallError> {
        let newest = self.block(identity, channel, block).await?;
        let number = newest.header.as_ref().map_or(0, |header| header.number);
        let last = last_config(&newest)?;
        let block = if last == number {
            newest
        } else {
            self.block(identity, channel, Seek::Number(last)).await?
        };
        let config = configuration(&block).and_then(|envelope| envelope.config);
        let config =
            config.ok_or_else(|| CallError::Refused(format!("block {last} holds no configuration")))?;
        Ok(ChannelConfig {
            config,
            number: last,
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

/// Broadcasts an envelope with retries, because orderers accept none without a leader. Duplicates are
/// harmless.
pub(crate) async fn broadcast(access: &Access, envelope: &Envelope) -> Result<(), CallError> {
    until(Instant::now() + access.policy().broadcast_retry, || {
        broadcast_to(access, access.orderers(), envelope)
    })
    .await
}

/// Broadcasts an envelope to the first of these orderers that accepts it, or to all of them if a quorum must
/// accept it.
pub(crate) async fn broadcast_to(
    access: &Access,
    orderers: &[NodeName],
    envelope: &Envelope,
) -> Result<(), CallError> {
    let give = |node| async move {
        let taken = async { Orderer::connect(access, node).await?.broadcast(envelope).await };
        taken.await.map_err(|e| e.of(node))
    };
    let needed = access.model.parameters.consensus.required_acks(orderers.len());
    if needed > 1 {
        return check_acks(join_all(orderers.iter().map(give)).await, needed);
    }
    let mut last = CallError::Unavailable("the network has no orderer".to_owned());
    for node in orderers {
        match give(node).await {
            Ok(()) => return Ok(()),
            Err(e) => last = last.or(e),
        }
    }
    Err(last)
}

/// Checks the number of acknowledgements; otherwise returns one of the errors.
fn check_acks(answers: Vec<Result<(), CallError>>, needed: usize) -> Result<(), CallError> {
    if answers.iter().filter(|answer| answer.is_ok()).count() >= needed {
        return Ok(());
    }
    let none = CallError::Unavailable(format!(
        "{needed} orderers must accept it but only {} exist",
        answers.len()
    ));
    Err(answers
        .into_iter()
        .filter_map(Result::err)
        .reduce(CallError::or)
        .unwrap_or(none))
}

/// A channel's configuration from the responsive orderer with the most blocks.
pub(crate) async fn newest_config(access: &Access, channel: &str) -> Result<ChannelConfig, CallError> {
    let admin = &access.admin(&access.model.ordering)?;
    let ask = |node| async move {
        Orderer::connect(access, node)
            .await?
            .config(admin, channel)
            .await
            .map_err(|e| e.of(node))
    };
    let mut best: Result<ChannelConfig, CallError> =
        Err(CallError::Unavailable("the network has no orderer".to_owned()));
    for answer in join_all(access.orderers().iter().map(ask)).await {
        best = match (best, answer) {
            (Ok(one), Ok(other)) => Ok(if other.newest > one.newest { other } else { one }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(one), Err(other)) => Err(one.or(other)),
        };
    }
    best
}

/// A channel's configuration as of a block, from the first orderer that has the block.
pub(crate) async fn config_at(
    access: &Access,
    channel: &str,
    block: u64,
) -> Result<ChannelConfig, CallError> {
    let admin = &access.admin(&access.model.ordering)?;
    let mut last = CallError::Unavailable("the network has no orderer".to_owned());
    for node in access.orderers() {
        let found = async {
            Orderer::connect(access, node)
                .await?
                .config_as_of(admin, channel, Seek::Number(block))
                .await
        };
        match found.await {
            Ok(found) => return Ok(found),
            Err(e) => last = last.or(e.of(node)),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broadcast_succeeds_with_enough_acknowledgements() {
        let unavailable = |node: &str| Err(CallError::Unavailable(format!("{node}: no response")));
        assert_eq!(
            check_acks(vec![Ok(()), unavailable("orderer1"), Ok(()), Ok(())], 3),
            Ok(())
        );
        assert!(
            check_acks(
                vec![Ok(()), unavailable("orderer1"), Ok(()), unavailable("orderer3")],
                3
            )
            .is_err()
        );
        assert!(check_acks(vec![Ok(())], 2).is_err());
    }
}
