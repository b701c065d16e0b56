//! The system chaincodes `cscc` and `qscc` of a peer: which channels it has joined, and how far each is.

use super::{
    connect::{ACTION, ANSWER, CallError},
    endorser::{Peer, Proposal},
    proto::{
        common::{Block, BlockHeader},
        peer::{BlockchainInfo, ChannelQueryResponse},
    },
};
use sha2::{Digest, Sha256};

/// The peer itself, asked for its channels.
const CHANNELS: (&str, &str) = ("", "cscc");
/// The peer itself, asked for its ledgers.
const LEDGERS: (&str, &str) = ("", "qscc");

impl Peer {
    /// The channels that it has joined.
    pub(super) async fn channels(&self) -> Result<Vec<String>, CallError> {
        let list: ChannelQueryResponse = self.ask(CHANNELS, "GetChannels", &[], ANSWER).await?;
        Ok(list
            .channels
            .into_iter()
            .map(|channel| channel.channel_id)
            .collect())
    }

    /// Joins a channel by its first block. A channel that it has joined already is joined.
    pub(super) async fn join(&self, block: &[u8]) -> Result<(), CallError> {
        let proposal = Proposal::new(&self.identity, CHANNELS.0, CHANNELS.1, "JoinChain", &[block]);
        match self.endorse(&proposal, ACTION).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(why)) if why.contains("already exists") => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// How many blocks it has of a channel, and the newest one's hash.
    pub(super) async fn info(&self, channel: &str) -> Result<BlockchainInfo, CallError> {
        self.ask(LEDGERS, "GetChainInfo", &[channel.as_bytes()], ANSWER)
            .await
    }

    /// Whether it has so many blocks of a channel; that it has fewer is an error.
    pub(super) async fn has(&self, channel: &str, height: u64) -> Result<(), CallError> {
        let own = self.info(channel).await?.height;
        let behind = || CallError::Silent(format!("it has {own} blocks of {height}"));
        (own >= height).then_some(()).ok_or_else(behind)
    }

    /// The hash of the block of a number.
    pub(super) async fn hash(&self, channel: &str, number: u64) -> Result<Vec<u8>, CallError> {
        let block: Block = self
            .ask(
                LEDGERS,
                "GetBlockByNumber",
                &[channel.as_bytes(), number.to_string().as_bytes()],
                ANSWER,
            )
            .await?;
        Ok(hash(&block.header.unwrap_or_default()))
    }
}

/// A block's hash: SHA-256 of the DER form of its header (`protoutil/blockutils.go`).
pub(super) fn hash(header: &BlockHeader) -> Vec<u8> {
    let BlockHeader {
        number,
        previous_hash,
        data_hash,
    } = header;
    let content = [integer(*number), octets(previous_hash), octets(data_hash)].concat();
    Sha256::digest(tagged(0x30, &content)).to_vec()
}

/// A whole number: as few bytes as hold it, the sign bit free.
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
        // The first block has no previous one.
        let header = BlockHeader {
            number: 0,
            previous_hash: vec![],
            data_hash: vec![2; 32],
        };
        let der = [&[0x30, 39, 2, 1, 0, 4, 0, 4, 32][..], &[2; 32]].concat();
        assert_eq!(hash(&header), Sha256::digest(der).to_vec());
    }
}
