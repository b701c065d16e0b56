//! Proves that every channel commits: a configuration change is ordered and read back from a peer of each
//! organisation.
//!
//! The change is minimal: 1 ms more batch timeout. It needs no chaincode. If there are chaincodes, all peers
//! must have discovered their endorsers by then.

use crate::{
    Nodes, ProveError,
    client::call::{CallError, within},
    fabric::{
        client::{
            access::Access,
            deliver::{Blocks, Seek, Service},
            discovery,
            endorser::Peer,
            orderer::{ChannelConfig, Orderer},
        },
        config::{
            block::configuration,
            consenters::edit,
            duration,
            names::{BATCH_TIMEOUT, ORDERER},
            update,
        },
        model::Organisation,
        proto::{
            common::{ChannelHeader, Envelope, Payload},
            configtx::{Config, ConfigEnvelope, ConfigGroup, ConfigValue},
            lossless::Lossless,
            orderer::BatchTimeout,
        },
    },
    retry::Pause,
};
use chainpool_agent::NodeName;
use chainpool_api::{Proof, Timestamp};
use futures::future::try_join_all;
use prost::Message;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const STEP: Duration = Duration::from_millis(1);

/// Proves that the network commits; returns the proof of the first channel.
pub(crate) async fn prove(nodes: &Nodes) -> Result<Proof, ProveError> {
    let access = Access::new(nodes).map_err(|e| ProveError(e.to_string()))?;
    let deadline = Instant::now() + access.policy().proof_timeout + access.config_update_delay();
    let channels = access
        .model
        .channels
        .iter()
        .map(|channel| prove_channel(&access, &channel.name, deadline));
    let proofs = try_join_all(channels)
        .await
        .map_err(|e| ProveError(e.to_string()))?;
    discovery::wait_until_endorsable(&access, deadline)
        .await
        .map_err(|e| ProveError(e.to_string()))?;
    proofs
        .into_iter()
        .next()
        .ok_or_else(|| ProveError("the network has no channel".to_owned()))
}

async fn prove_channel(access: &Access, channel: &str, deadline: Instant) -> Result<Proof, CallError> {
    let mut pause = Pause::new();
    let mut last = CallError::Unavailable(format!("{channel}: no orderer responded in time"));
    loop {
        for orderer in access.orderers() {
            match timeout_at(deadline, attempt(access, channel, orderer)).await {
                Ok(Ok(proof)) => return Ok(proof),
                Ok(Err(e)) => last = last.or(e.of(&channel)),
                Err(_) => return Err(last),
            }
        }
        if Instant::now() >= deadline {
            return Err(last);
        }
        pause.wait().await;
    }
}

/// One change through one orderer.
async fn attempt(access: &Access, channel: &str, node: &NodeName) -> Result<Proof, CallError> {
    let admin = access.admin(&access.model.ordering)?;
    let through = async {
        let orderer = Orderer::connect(access, node).await?;
        let configured = orderer.config(&admin, channel).await?;
        let (after, value) = raised(&configured.config)?;
        let before = configured.config.channel_group.clone().unwrap_or_default();
        let envelope =
            update::update(channel, &before, &after).and_then(|update| update::signed(&update, &[&admin]));
        let envelope = envelope
            .ok_or_else(|| CallError::Refused("the channel configuration cannot be changed".to_owned()))?;
        orderer.broadcast_with_quorum(access, &envelope).await?;
        Ok((configured, envelope, value, orderer.node.clone()))
    };
    let (ChannelConfig { newest, .. }, envelope, value, writer) =
        through.await.map_err(|e: CallError| e.of(node))?;
    let organisations = access.model.organisations.iter();
    let change = Change {
        channel,
        envelope: &envelope,
        value: &value,
        from: newest + 1,
    };
    let found =
        try_join_all(organisations.map(|organisation| read_back(access, organisation, &change))).await?;
    let readers = found
        .iter()
        .map(|(reader, _)| reader.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    Ok(Proof {
        transaction: transaction(&envelope),
        height: found.first().map_or(newest, |(_, number)| *number),
        key: format!("{channel}/{ORDERER}/{BATCH_TIMEOUT}"),
        value,
        written_to: writer.to_string(),
        read_from: readers,
        at: Timestamp::now(),
    })
}

/// Raises the batch timeout by 1 ms; returns the configuration and the new value.
fn raised(config: &Config) -> Result<(Lossless<ConfigGroup>, String), CallError> {
    let unreadable = || {
        CallError::Refused(format!(
            "the channel configuration has no readable {BATCH_TIMEOUT}"
        ))
    };
    let mut group = config.channel_group.clone().ok_or_else(unreadable)?;
    let orderer = group.groups.get_mut(ORDERER).ok_or_else(unreadable)?;
    let present = orderer
        .values
        .get(BATCH_TIMEOUT)
        .and_then(timeout)
        .and_then(|timeout| duration::read(&timeout))
        .ok_or_else(unreadable)?;
    let timeout = duration::write(present + STEP);
    edit::<BatchTimeout>(orderer, BATCH_TIMEOUT, |value| value.timeout.clone_from(&timeout))?;
    Ok((group, timeout))
}

fn timeout(entry: &Lossless<ConfigValue>) -> Option<String> {
    Some(BatchTimeout::decode(&entry.value[..]).ok()?.timeout)
}

/// A change that an orderer accepted.
struct Change<'a> {
    channel: &'a str,
    envelope: &'a Envelope,
    /// The new batch timeout.
    value: &'a str,
    /// Minimum number of its block.
    from: u64,
}

impl Change<'_> {
    /// Returns true if a configuration block results from this change.
    fn is_in(&self, block: &ConfigEnvelope) -> Result<bool, CallError> {
        if block
            .last_update
            .as_ref()
            .is_some_and(|update| update.payload == self.envelope.payload)
        {
            return Ok(true);
        }
        // Of two concurrent changes of the same version of the value, the second is invalid.
        let root = block
            .config
            .as_ref()
            .and_then(|config| config.channel_group.as_ref());
        let entry = root.and_then(|root| root.groups.get(ORDERER)?.values.get(BATCH_TIMEOUT));
        if entry.and_then(timeout).as_deref() == Some(self.value) {
            return Err(CallError::Refused(
                "a concurrent proof was committed first; retry".to_owned(),
            ));
        }
        Ok(false)
    }
}

/// Waits until a peer of the organisation has the change in a block.
async fn read_back<'a>(
    access: &Access,
    organisation: &'a Organisation,
    change: &Change<'_>,
) -> Result<(&'a NodeName, u64), CallError> {
    let mut last = CallError::Unavailable(format!("{} has no peer", organisation.name));
    for node in &organisation.nodes {
        let found = async {
            let peer = Peer::connect(access, node).await?;
            // A peer that is behind waits only for its next block.
            let next = change.from.min(peer.info(change.channel).await?.height);
            let mut blocks = Blocks::open(
                &peer.grpc,
                Service::Peer,
                &peer.identity,
                change.channel,
                Seek::From(next),
            )
            .await?;
            loop {
                let block = blocks.block().await?;
                let number = block.header.as_ref().map_or(change.from, |header| header.number);
                if let Some(config) = configuration(&block)
                    && number >= change.from
                    && change.is_in(&config)?
                {
                    return Ok((node, number));
                }
            }
        };
        match within(
            access.policy().proof_read_back + access.config_update_delay(),
            found,
        )
        .await
        {
            Ok(found) => return Ok(found),
            Err(e) => last = e.of(node),
        }
    }
    Err(last)
}

/// The transaction id of an envelope.
fn transaction(envelope: &Envelope) -> String {
    let header = Payload::decode(&envelope.payload[..])
        .ok()
        .and_then(|payload| payload.header);
    let channel = header.and_then(|header| ChannelHeader::decode(&header.channel_header[..]).ok());
    channel.map(|channel| channel.tx_id).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::proto::lossless::tests::{mark, unknown_field};

    fn config(timeout: &str) -> Config {
        let value = BatchTimeout {
            timeout: timeout.to_owned(),
        }
        .encode_to_vec();
        let value = ConfigValue {
            version: 4,
            value,
            mod_policy: "Admins".to_owned(),
        };
        let orderer = ConfigGroup {
            values: [(BATCH_TIMEOUT.to_owned(), value.into())].into(),
            ..ConfigGroup::default()
        };
        Config {
            sequence: 1,
            channel_group: Some(
                ConfigGroup {
                    groups: [(ORDERER.to_owned(), orderer.into())].into(),
                    ..ConfigGroup::default()
                }
                .into(),
            ),
        }
    }

    #[test]
    fn only_the_batch_timeout_is_raised_by_one_millisecond() {
        let before = config("2s");
        let (after, value) = raised(&before).expect("it can be read");
        assert_eq!(value, "2001ms");
        assert_eq!(Some(&after), config("2001ms").channel_group.as_ref());
        let update =
            update::update("ch1", &before.channel_group.expect("it is set"), &after).expect("a change");
        assert_eq!(
            update.write_set.expect("it is set").groups[ORDERER].values[BATCH_TIMEOUT].version,
            5
        );
    }

    #[test]
    fn unknown_fields_of_the_batch_timeout_stay() {
        let mut before = config("2s");
        let group = before.channel_group.as_mut().expect("it is set");
        let orderer = group.groups.get_mut(ORDERER).expect("it is there");
        let value = orderer.values.get_mut(BATCH_TIMEOUT).expect("it is there");
        value.value.extend(unknown_field());
        mark(value);
        let unknown = value.unknown().to_vec();
        let (after, _) = raised(&before).expect("it can be read");
        let value = &after.groups[ORDERER].values[BATCH_TIMEOUT];
        let expected = BatchTimeout {
            timeout: "2001ms".to_owned(),
        };
        assert_eq!(value.value, [expected.encode_to_vec(), unknown_field()].concat());
        assert_eq!(value.unknown(), unknown);
    }

    #[test]
    fn a_concurrent_proof_is_an_error() {
        let envelope = |text: &str| Envelope {
            payload: text.as_bytes().to_vec(),
            signature: vec![],
        };
        let ours = envelope("ours");
        let change = Change {
            channel: "ch1",
            envelope: &ours,
            value: "2001ms",
            from: 3,
        };
        let block = |timeout: &str, update: &str| ConfigEnvelope {
            config: Some(config(timeout)),
            last_update: Some(envelope(update)),
        };
        assert_eq!(change.is_in(&block("2001ms", "ours")), Ok(true));
        // A member was added meanwhile: this change may still follow.
        assert_eq!(change.is_in(&block("2s", "a member")), Ok(false));
        assert!(matches!(
            change.is_in(&block("2001ms", "another proof")),
            Err(CallError::Refused(_))
        ));
    }

    #[test]
    fn a_configuration_without_the_value_is_refused() {
        for config in [Config::default(), config("soon")] {
            assert!(matches!(raised(&config), Err(CallError::Refused(_))));
        }
    }
}
