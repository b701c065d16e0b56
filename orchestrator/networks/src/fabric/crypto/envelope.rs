//! Headers and signed envelopes of messages to nodes.

use crate::fabric::{
    crypto::identity::Identity,
    proto::common::{ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader, Timestamp},
};
use prost::Message;
use sha2::{Digest, Sha256};

/// Creator, nonce and time of a message.
pub(crate) struct Stamp {
    /// The creator and the nonce.
    pub(crate) signature_header: SignatureHeader,
    /// Time of creation.
    pub(crate) timestamp: Timestamp,
}

impl Stamp {
    /// Now, with a fresh nonce.
    pub(crate) fn new(identity: &Identity) -> Self {
        Self::at(identity, rand::random(), chainpool_api::Timestamp::now())
    }

    /// At this time, with this nonce.
    pub(crate) fn at(identity: &Identity, nonce: [u8; 24], now: chainpool_api::Timestamp) -> Self {
        let nanos = i32::try_from(now.0.rem_euclid(1000) * 1_000_000).expect("below a second");
        Self {
            signature_header: SignatureHeader {
                creator: identity.creator(),
                nonce: nonce.to_vec(),
            },
            timestamp: Timestamp {
                seconds: now.0.div_euclid(1000),
                nanos,
            },
        }
    }

    /// The transaction id: the hash of nonce and creator.
    pub(crate) fn transaction(&self) -> String {
        let SignatureHeader { creator, nonce } = &self.signature_header;
        hex::encode(Sha256::new().chain_update(nonce).chain_update(creator).finalize())
    }

    /// The header of a message on a channel; `""` is no channel.
    pub(crate) fn header(&self, kind: HeaderType, channel: &str, extension: Vec<u8>) -> Header {
        let channel_header = ChannelHeader {
            r#type: kind.into(),
            timestamp: Some(self.timestamp),
            channel_id: channel.to_owned(),
            tx_id: self.transaction(),
            extension,
            ..ChannelHeader::default()
        };
        Header {
            channel_header: channel_header.encode_to_vec(),
            signature_header: self.signature_header.encode_to_vec(),
        }
    }
}

/// Signs data with this header.
pub(crate) fn seal(identity: &Identity, header: Header, data: Vec<u8>) -> Envelope {
    let payload = Payload {
        header: Some(header),
        data,
    }
    .encode_to_vec();
    Envelope {
        signature: identity.sign(&payload),
        payload,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use p256::{
        ecdsa::{Signature, SigningKey, VerifyingKey, signature::Verifier},
        pkcs8::{EncodePrivateKey, LineEnding},
    };

    /// An identity with a fixed key.
    pub(crate) fn test_identity() -> (Identity, VerifyingKey) {
        let key = SigningKey::from_slice(&[7; 32]).expect("a key");
        let pem = key.to_pkcs8_pem(LineEnding::LF).expect("PEM");
        (
            Identity::read("Org1MSP", "a certificate", &pem).expect("readable"),
            *key.verifying_key(),
        )
    }

    #[test]
    fn a_transactions_id_is_the_hash_of_nonce_and_creator() {
        let (identity, _) = test_identity();
        let stamp = Stamp::at(&identity, [1; 24], chainpool_api::Timestamp(1_795_000_000_123));
        let expected = Sha256::digest([&[1; 24][..], &identity.creator()].concat());
        assert_eq!(stamp.transaction(), hex::encode(expected));
        let header = stamp.header(HeaderType::EndorserTransaction, "ch1", vec![9]);
        let channel = ChannelHeader::decode(&header.channel_header[..]).expect("a header");
        assert_eq!(
            channel.timestamp,
            Some(Timestamp {
                seconds: 1_795_000_000,
                nanos: 123_000_000
            })
        );
        assert_eq!(
            (
                channel.r#type,
                channel.channel_id.as_str(),
                &channel.extension[..]
            ),
            (3, "ch1", &[9][..])
        );
        assert_eq!(channel.tx_id, stamp.transaction());
        assert_ne!(
            Stamp::new(&identity).transaction(),
            Stamp::new(&identity).transaction()
        );
    }

    #[test]
    fn envelope_signatures_have_a_low_s() {
        let (identity, key) = test_identity();
        for n in 0u8..32 {
            let envelope = seal(&identity, Header::default(), vec![n]);
            let signature = Signature::from_der(&envelope.signature).expect("DER");
            assert_eq!(signature.normalize_s(), None);
            key.verify(&envelope.payload, &signature)
                .expect("it is the signature of the payload");
        }
    }
}
