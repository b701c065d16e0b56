//! Proves that every channel commits: a change of its configuration is ordered and read back on a peer of each organisation.
//!
//! The change is as small as there is one: 1 ms more until a block is cut that is not full. No chaincode is needed for it;
//! where there are some, all peers must know by then who could endorse for them.

use super::{
    access::Access,
    configupdate,
    connect::{CallError, within},
    deliver::{Blocks, Seek, Service},
    discovery, duration,
    endorser::Peer,
    facts::Organisation,
    genesis::{BATCH_TIMEOUT, ORDERER},
    orderer::{Configured, Orderer, configuration},
    patience::Pause,
    proto::{
        common::{ChannelHeader, Envelope, Payload},
        configtx::{Config, ConfigEnvelope, ConfigGroup, ConfigValue},
        orderer::BatchTimeout,
    },
};
use crate::{Nodes, ProveError};
use chainpool_agent::NodeName;
use chainpool_api::{Proof, Timestamp};
use futures::future::try_join_all;
use prost::Message;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long the peers are given to have what an orderer took, beside the time after which a block is cut for it.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long the whole may take, beside the same; then the caller decides.
const DEADLINE: Duration = Duration::from_secs(12);
const STEP: Duration = Duration::from_millis(1);

/// Proves that the network commits; the first channel's transaction stands for it.
pub(super) async fn prove(nodes: &Nodes) -> Result<Proof, ProveError> {
    let access = Access::new(nodes).map_err(|e| ProveError(e.to_string()))?;
    let deadline = Instant::now() + DEADLINE + access.cut_after();
    let channels = access
        .facts
        .channels
        .iter()
        .map(|channel| prove_channel(&access, &channel.name, deadline));
    let proofs = try_join_all(channels)
        .await
        .map_err(|e| ProveError(e.to_string()))?;
    discovery::endorsable(&access, deadline)
        .await
        .map_err(|e| ProveError(e.to_string()))?;
    proofs
        .into_iter()
        .next()
        .ok_or_else(|| ProveError("the network has no channel".to_owned()))
}

async fn prove_channel(access: &Access, channel: &str, deadline: Instant) -> Result<Proof, CallError> {
    let mut pause = Pause::new();
    let mut last = CallError::Silent(format!("{channel}: nobody answered in time"));
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
    let admin = access.admin(&access.facts.ordering)?;
    let through = async {
        let orderer = Orderer::connect(access, node).await?;
        let configured = orderer.config(&admin, channel).await?;
        let (after, value) = raised(&configured.config)?;
        let before = configured.config.channel_group.clone().unwrap_or_default();
        let envelope = configupdate::update(channel, &before, &after)
            .and_then(|update| configupdate::signed(&update, &[&admin]));
        let envelope =
            envelope.ok_or_else(|| CallError::Refused("its configuration cannot be changed".to_owned()))?;
        orderer.hand_over(access, &envelope).await?;
        Ok((configured, envelope, value, orderer.node.clone()))
    };
    let (Configured { newest, .. }, envelope, value, writer) =
        through.await.map_err(|e: CallError| e.of(node))?;
    let organisations = access.facts.organisations.iter();
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

/// The same configuration with the value 1 ms higher, and that value.
fn raised(config: &Config) -> Result<(ConfigGroup, String), CallError> {
    let unreadable = || {
        CallError::Refused(format!(
            "its configuration has no {BATCH_TIMEOUT} that can be read"
        ))
    };
    let mut group = config.channel_group.clone().ok_or_else(unreadable)?;
    let entry = group
        .groups
        .get_mut(ORDERER)
        .and_then(|orderer| orderer.values.get_mut(BATCH_TIMEOUT))
        .ok_or_else(unreadable)?;
    let present = timeout(entry)
        .and_then(|timeout| duration::read(&timeout))
        .ok_or_else(unreadable)?;
    let timeout = duration::write(present + STEP);
    *entry = ConfigValue {
        value: BatchTimeout {
            timeout: timeout.clone(),
        }
        .encode_to_vec(),
        ..entry.clone()
    };
    Ok((group, timeout))
}

fn timeout(entry: &ConfigValue) -> Option<String> {
    Some(BatchTimeout::decode(&entry.value[..]).ok()?.timeout)
}

/// A change that an orderer took.
struct Change<'a> {
    channel: &'a str,
    envelope: &'a Envelope,
    /// What it sets.
    value: &'a str,
    /// The least number of its block.
    from: u64,
}

impl Change<'_> {
    /// Whether a configuration is the one that this change makes.
    fn is_in(&self, block: &ConfigEnvelope) -> Result<bool, CallError> {
        if block
            .last_update
            .as_ref()
            .is_some_and(|update| update.payload == self.envelope.payload)
        {
            return Ok(true);
        }
        // Two of one moment change the same version of the value, and the second counts no more.
        let root = block
            .config
            .as_ref()
            .and_then(|config| config.channel_group.as_ref());
        let entry = root.and_then(|root| root.groups.get(ORDERER)?.values.get(BATCH_TIMEOUT));
        if entry.and_then(timeout).as_deref() == Some(self.value) {
            return Err(CallError::Refused("somebody else's proof came first".to_owned()));
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
    let mut last = CallError::Silent(format!("{} has no peer", organisation.name));
    for node in &organisation.nodes {
        let found = async {
            let peer = Peer::connect(access, node).await?;
            // A peer that is behind would refuse to wait for a block that is not its next one.
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
        match within(PATIENCE + access.cut_after(), found).await {
            Ok(found) => return Ok(found),
            Err(e) => last = e.of(node),
        }
    }
    Err(last)
}

/// The id in an envelope of ours.
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
            values: [(BATCH_TIMEOUT.to_owned(), value)].into(),
            ..ConfigGroup::default()
        };
        Config {
            sequence: 1,
            channel_group: Some(ConfigGroup {
                groups: [(ORDERER.to_owned(), orderer)].into(),
                ..ConfigGroup::default()
            }),
        }
    }

    #[test]
    fn the_value_is_raised_by_one_millisecond_and_nothing_else_changes() {
        let before = config("2s");
        let (after, value) = raised(&before).expect("it can be read");
        assert_eq!(value, "2001ms");
        assert_eq!(Some(&after), config("2001ms").channel_group.as_ref());
        let update =
            configupdate::update("ch1", &before.channel_group.expect("it is set"), &after).expect("a change");
        assert_eq!(
            update.write_set.expect("it is set").groups[ORDERER].values[BATCH_TIMEOUT].version,
            5
        );
    }

    #[test]
    fn a_proof_that_another_one_overtook_is_told() {
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
        // Somebody took a member in meanwhile: ours may still come.
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
