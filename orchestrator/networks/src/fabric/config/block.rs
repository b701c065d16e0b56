//! Configuration in the blocks of a channel. Pure.

use crate::{
    client::call::CallError,
    fabric::proto::{
        common::{Block, Envelope, Metadata, OrdererBlockMetadata, Payload},
        configtx::ConfigEnvelope,
    },
};
use prost::Message;

/// Number of the last configuration block, from a block's signed metadata.
pub(crate) fn last_config(block: &Block) -> Result<u64, CallError> {
    let unreadable = || {
        CallError::Refused("the newest block has no readable reference to the last configuration".to_owned())
    };
    let signatures = block
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.metadata.first())
        .ok_or_else(unreadable)?;
    let metadata = Metadata::decode(&signatures[..]).map_err(|_| unreadable())?;
    let orderer = OrdererBlockMetadata::decode(&metadata.value[..]).map_err(|_| unreadable())?;
    Ok(orderer.last_config.ok_or_else(unreadable)?.index)
}

/// The configuration in a block. `None`: it holds transactions.
pub(crate) fn configuration(block: &Block) -> Option<ConfigEnvelope> {
    let [only] = &block.data.as_ref()?.data[..] else {
        return None;
    };
    let payload = Payload::decode(&Envelope::decode(&only[..]).ok()?.payload[..]).ok()?;
    let header =
        crate::fabric::proto::common::ChannelHeader::decode(&payload.header?.channel_header[..]).ok()?;
    if header.r#type != i32::from(crate::fabric::proto::common::HeaderType::Config) {
        return None;
    }
    ConfigEnvelope::decode(&payload.data[..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{
        crypto::envelope::{Stamp, seal, tests::test_identity},
        proto::common::{BlockData, BlockMetadata, HeaderType, LastConfig},
        proto::configtx::Config,
    };

    fn block_of(kind: HeaderType) -> Block {
        let (identity, _) = test_identity();
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
    fn a_block_refers_to_the_last_configuration() {
        assert_eq!(last_config(&block_of(HeaderType::Config)), Ok(7));
        assert!(last_config(&Block::default()).is_err());
    }

    #[test]
    fn configuration_blocks_differ_from_transaction_blocks() {
        let found = configuration(&block_of(HeaderType::Config)).and_then(|envelope| envelope.config);
        assert_eq!(found.map(|config| config.sequence), Some(3));
        assert_eq!(configuration(&block_of(HeaderType::EndorserTransaction)), None);
        assert_eq!(configuration(&Block::default()), None);
    }
}
