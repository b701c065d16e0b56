//! Keys of a node, derived from the seed of its generation.
//!
//! Formats of `CometBFT` 0.38: `p2p/key.go`, `privval/file.go`, `crypto/ed25519`.

use crate::Seed;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use chainpool_agent::{NodeName, Secret};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Purpose of a key. Its label makes the keys of a node different.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// Signs votes.
    Validator,
    /// Identifies the node to its peers.
    Node,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Node => "node",
        }
    }
}

/// Public identifiers of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// P2P id: 40 lower-case hex digits.
    pub(super) node_id: String,
    /// Validator address: 40 upper-case hex digits.
    pub(super) address: String,
    /// Public key of the validator: ed25519 in base64.
    pub(super) public_key: String,
}

impl Identity {
    /// The identifiers by their public names.
    pub(super) fn names(&self) -> BTreeMap<String, String> {
        let Self {
            node_id,
            address,
            public_key,
        } = self;
        [
            ("node_id", node_id),
            ("validator_address", address),
            ("validator_public_key", public_key),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .into()
    }
}

/// The keys of one node.
pub(super) struct Keys {
    validator: SigningKey,
    node: SigningKey,
}

impl Keys {
    /// Derives the keys. The seed belongs to one generation of one cluster, so keys never repeat.
    pub(super) fn derive(seed: &Seed, node: &NodeName) -> Self {
        Self {
            validator: derive(seed, node, Purpose::Validator),
            node: derive(seed, node, Purpose::Node),
        }
    }

    /// The public part.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            node_id: hex::encode(short_hash(&self.node)),
            address: address(&self.validator),
            public_key: BASE64.encode(self.validator.verifying_key().as_bytes()),
        }
    }

    /// The content of `node_key.json`.
    pub(super) fn node_key_file(&self) -> Secret<Vec<u8>> {
        let private = private(&self.node);
        Secret::new(
            format!(
                r#"{{"priv_key":{{"type":"tendermint/PrivKeyEd25519","value":"{}"}}}}"#,
                *private
            )
            .into_bytes(),
        )
    }

    /// The content of `priv_validator_key.json`.
    pub(super) fn validator_key_file(&self) -> Secret<Vec<u8>> {
        let Identity {
            address, public_key, ..
        } = self.identity();
        let private = private(&self.validator);
        let text = format!(
            concat!(
                r#"{{"address":"{}","pub_key":{{"type":"tendermint/PubKeyEd25519","value":"{}"}},"#,
                r#""priv_key":{{"type":"tendermint/PrivKeyEd25519","value":"{}"}}}}"#
            ),
            address, public_key, *private
        );
        Secret::new(text.into_bytes())
    }
}

/// Derives a key: SHA-256 of the seed, which has a fixed length, and a unique label.
fn derive(seed: &Seed, node: &NodeName, purpose: Purpose) -> SigningKey {
    let mut hash = Sha256::new();
    hash.update(seed.expose());
    hash.update(format!("chainpool cometbft 1 {} {node}", purpose.label()));
    let secret = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
    SigningKey::from_bytes(&secret)
}

/// The first 20 bytes of the SHA-256 of the public key.
fn short_hash(key: &SigningKey) -> [u8; 20] {
    let hash = Sha256::digest(key.verifying_key().as_bytes());
    let mut short = [0; 20];
    short.copy_from_slice(&hash[..20]);
    short
}

fn address(key: &SigningKey) -> String {
    hex::encode_upper(short_hash(key))
}

/// Base64 of the private key followed by the public one.
fn private(key: &SigningKey) -> Zeroizing<String> {
    let pair = Zeroizing::new(key.to_keypair_bytes());
    Zeroizing::new(BASE64.encode(*pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).expect("a node name")
    }

    fn privates(seed: u8, nodes: &[&str]) -> Vec<Vec<u8>> {
        let seed = Secret::new([seed; 32]);
        nodes
            .iter()
            .map(|n| Keys::derive(&seed, &name(n)))
            .flat_map(|keys| {
                [
                    keys.node_key_file().expose().clone(),
                    keys.validator_key_file().expose().clone(),
                ]
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_keys() {
        assert_eq!(privates(7, &["v0", "v1"]), privates(7, &["v0", "v1"]));
    }

    #[test]
    fn no_two_nodes_purposes_or_seeds_share_a_key() {
        let seeds = [Secret::new([1; 32]), Secret::new([2; 32])];
        let mut seen = BTreeSet::new();
        for seed in &seeds {
            for node in ["v0", "v1", "v10"] {
                let keys = Keys::derive(seed, &name(node));
                assert!(
                    seen.insert(keys.node.to_bytes()),
                    "node key of {node} is not unique"
                );
                assert!(
                    seen.insert(keys.validator.to_bytes()),
                    "validator key of {node} is not unique"
                );
            }
        }
    }

    #[test]
    fn identifiers_are_the_first_20_bytes_of_the_public_keys_hash() {
        let keys = Keys::derive(&Secret::new([3; 32]), &name("v0"));
        let identity = keys.identity();
        let public = BASE64.decode(&identity.public_key).expect("base64");
        assert_eq!(
            identity.address,
            hex::encode_upper(&Sha256::digest(&public)[..20])
        );
        assert_eq!(
            identity.node_id,
            hex::encode(&Sha256::digest(keys.node.verifying_key().as_bytes())[..20])
        );

        let file: serde_json::Value =
            serde_json::from_slice(keys.validator_key_file().expose()).expect("json");
        assert_eq!(file["address"], identity.address);
        assert_eq!(file["pub_key"]["value"], identity.public_key);
        let private = BASE64
            .decode(file["priv_key"]["value"].as_str().expect("text"))
            .expect("base64");
        assert_eq!((private.len(), &private[32..]), (64, &public[..]));
    }
}
