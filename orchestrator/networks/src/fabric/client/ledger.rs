//! System chaincodes `cscc` and `qscc` of a peer: joined channels and their heights.

use crate::{
    client::call::{ACTION, ANSWER, CallError},
    fabric::{
        client::endorser::{Peer, Proposal},
        proto::{
            common::{Block, BlockHeader},
            peer::{BlockchainInfo, ChannelQueryResponse},
        },
    },
};
use sha2::{Digest, Sha256};

/// System chaincode for channels, without a channel.
const CHANNELS: (&str, &str) = ("", "cscc");

/// System chaincode for ledgers, without a channel.
const LEDGERS: (&str, &str) = ("", "qscc");

impl Peer {
    /// Joined channels.
    pub(crate) async fn channels(&self) -> Result<Vec<String>, CallError> {
        let list: ChannelQueryResponse = self.query(CHANNELS, "GetChannels", &[], ANSWER).await?;
        Ok(list
            .channels
            .into_iter()
            .map(|channel| channel.channel_id)
            .collect())
    }

    /// Joins a channel by its genesis block. Idempotent.
    pub(crate) async fn join(&self, block: &[u8]) -> Result<(), CallError> {
        let proposal = Proposal::new(&self.identity, CHANNELS.0, CHANNELS.1, "JoinChain", &[block]);
        match self.endorse(&proposal, ACTION).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(why)) if why.contains("already exists") => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Height of a channel and hash of its newest block.
    pub(crate) async fn info(&self, channel: &str) -> Result<BlockchainInfo, CallError> {
        self.query(LEDGERS, "GetChainInfo", &[channel.as_bytes()], ANSWER)
            .await
    }

    /// Checks that the peer has this many blocks of a channel.
    pub(crate) async fn has(&self, channel: &str, height: u64) -> Result<(), CallError> {
        let own = self.info(channel).await?.height;
        let behind = || CallError::Unavailable(format!("{own} of {height} blocks received"));
        (own >= height).then_some(()).ok_or_else(behind)
    }

    /// Hash of the block with this number.
    pub(crate) async fn hash(&self, channel: &str, number: u64) -> Result<Vec<u8>, CallError> {
        let block: Block = self
            .query(
                LEDGERS,
                "GetBlockByNumber",
                &[channel.as_bytes(), number.to_string().as_bytes()],
                ANSWER,
            )
            .await?;
        Ok(hash(&block.header.unwrap_or_default()))
    }
}

/// Hash of a block: SHA-256 of its DER-encoded header (`protoutil/blockutils.go`).
pub(crate) fn hash(header: &BlockHeader) -> Vec<u8> {
    let BlockHeader {
        number,
        previous_hash,
        data_hash,
    } = header;
    let content = [integer(*number), octets(previous_hash), octets(data_hash)].concat();
    Sha256::digest(tagged(0x30, &content)).to_vec()
}

/// A non-negative integer in as few bytes as possible.
fn integer(number: u64) -> Vec<u8> {
    let bytes = [&[0][..], &number.to_be_bytes()].concat();
    let first = (0..8)
        .find(|n| bytes[*n] != 0 || bytes[n + 1] & 0x80 != 0)
        .unwrap_or(8);
    tagged(0x02, &bytes[first..])
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    tagged(0x04, bytes)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len())
        .ok()
        .filter(|length| *length < 0x80)
        .expect("a header is two hashes and a number");
    [&[tag, length], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_der() {
        for (number, expected) in [
            (0, vec![2, 1, 0]),
            (1, vec![2, 1, 1]),
            (127, vec![2, 1, 127]),
            (128, vec![2, 2, 0, 128]),
            (256, vec![2, 2, 1, 0]),
            (u64::MAX, vec![2, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            assert_eq!(integer(number), expected, "{number}");
        }
    }

    #[test]
    fn a_header_is_hashed_in_der() {
        let header = BlockHeader {
            number: 1,
            previous_hash: vec![1; 32],
            data_hash: vec![2; 32],
        };
        let der = [&[0x30, 71, 2, 1, 1, 4, 32][..], &[1; 32], &[4, 32], &[2; 32]].concat();
        assert_eq!(hash(&header), Sha256::digest(der).to_vec());
        // The genesis block has no previous hash.
        let header = BlockHeader {
            number: 0,
            previous_hash: vec![],
            data_hash: vec![2; 32],
        };
        let der = [&[0x30, 39, 2, 1, 0, 4, 0, 4, 32][..], &[2; 32]].concat();
        assert_eq!(hash(&header), Sha256::digest(der).to_vec());
    }
}
