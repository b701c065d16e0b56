//! Genesis block of a channel. Pure: the same organisations give the same bytes, which all nodes must share.
//!
//! Structure of Fabric 2.5: `internal/configtxgen/encoder/encoder.go`, `protoutil/blockutils.go`; the BFT
//! part is in `config::bft`.

mod groups;

use crate::fabric::{
    genesis::groups::channel_group,
    organisations::Organisations,
    parameters::Parameters,
    proto::{
        common::{
            Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Envelope, Header, HeaderType,
            LastConfig, Metadata, OrdererBlockMetadata, Payload, SignatureHeader, Timestamp,
        },
        configtx::{Config, ConfigEnvelope, ConfigGroup},
    },
};
use prost::Message;
use sha2::{Digest, Sha256};

/// Distinguishes the genesis blocks of channels.
pub(crate) struct Origin<'a> {
    /// The channel's id.
    pub(crate) channel: &'a str,
    /// Genesis time.
    pub(crate) at: chainpool_api::Timestamp,
    /// 24 unique bytes.
    pub(crate) nonce: &'a [u8],
}

/// Builds the genesis block.
pub(crate) fn block(origin: &Origin, parameters: &Parameters, organisations: &Organisations) -> Block {
    let data = envelope(origin, channel_group(parameters, organisations)).encode_to_vec();
    Block {
        header: Some(BlockHeader {
            number: 0,
            previous_hash: vec![],
            data_hash: Sha256::digest(&data).to_vec(),
        }),
        data: Some(BlockData { data: vec![data] }),
        metadata: Some(BlockMetadata { metadata: metadata() }),
    }
}

/// Signatures, last configuration, validation codes, orderer metadata, commit hash. The genesis block is
/// unsigned and is itself the last configuration.
fn metadata() -> Vec<Vec<u8>> {
    let last_config = Some(LastConfig { index: 0 });
    let of_orderer = OrdererBlockMetadata {
        last_config,
        consenter_metadata: vec![],
    };
    let signatures = Metadata {
        value: of_orderer.encode_to_vec(),
        signatures: vec![],
    };
    let last_config = Metadata {
        value: LastConfig { index: 0 }.encode_to_vec(),
        signatures: vec![],
    };
    vec![
        signatures.encode_to_vec(),
        last_config.encode_to_vec(),
        vec![],
        vec![],
        vec![],
    ]
}

/// The only transaction, unsigned.
fn envelope(origin: &Origin, channel_group: ConfigGroup) -> Envelope {
    let Origin { channel, at, nonce } = origin;
    let creator = [];
    let channel_header = ChannelHeader {
        r#type: HeaderType::Config.into(),
        version: 1,
        timestamp: Some(timestamp(*at)),
        channel_id: (*channel).to_owned(),
        tx_id: hex::encode(Sha256::new().chain_update(nonce).chain_update(creator).finalize()),
        epoch: 0,
        extension: vec![],
        tls_cert_hash: vec![],
    };
    let signature_header = SignatureHeader {
        creator: creator.to_vec(),
        nonce: nonce.to_vec(),
    };
    let config = ConfigEnvelope {
        config: Some(Config {
            sequence: 0,
            channel_group: Some(channel_group.into()),
        }),
        last_update: None,
    };
    let payload = Payload {
        header: Some(Header {
            channel_header: channel_header.encode_to_vec(),
            signature_header: signature_header.encode_to_vec(),
        }),
        data: config.encode_to_vec(),
    };
    Envelope {
        payload: payload.encode_to_vec(),
        signature: vec![],
    }
}

fn timestamp(at: chainpool_api::Timestamp) -> Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000) * 1_000_000).expect("less than a second");
    Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos,
    }
}

#[cfg(test)]
mod tests;
