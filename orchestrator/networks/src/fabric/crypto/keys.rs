//! P-256 keys, derived from the seed of their generation.

use crate::Seed;
use chainpool_agent::Secret;
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A private key with its public half.
pub(crate) struct Key {
    private: SigningKey,
    /// The point, uncompressed.
    public: Vec<u8>,
}

impl Key {
    /// Derives a key. The seed belongs to one generation of one cluster, so keys never repeat.
    pub(crate) fn derive(seed: &Seed, label: &str) -> Self {
        let private = (0u32..)
            .find_map(|count| SigningKey::from_slice(&*bytes(seed, &format!("key {label} {count}"))).ok())
            .expect("all but one in 2^32 hashes are valid keys");
        Self::of(private)
    }

    /// Reads a key in PKCS#8 PEM. `None`: it is invalid.
    pub(crate) fn read(pem: &Secret<Vec<u8>>) -> Option<Self> {
        let text = std::str::from_utf8(pem.expose()).ok()?;
        SigningKey::from_pkcs8_pem(text).ok().map(Self::of)
    }

    fn of(private: SigningKey) -> Self {
        let public = private
            .verifying_key()
            .to_encoded_point(false)
            .as_bytes()
            .to_vec();
        Self { private, public }
    }

    /// Fabric's identifier of a public key: SHA-256 of the uncompressed point.
    pub(crate) fn identifier(&self) -> Vec<u8> {
        Sha256::digest(&self.public).to_vec()
    }

    /// PKCS#8 in PEM.
    pub(crate) fn pem(&self) -> Secret<Vec<u8>> {
        let text = self
            .private
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a key of a named curve can be written");
        Secret::new(text.as_bytes().to_vec())
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Signs deterministically (RFC 6979), so the same seed gives the same certificates, and with a low S as
/// Fabric does.
impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.private.sign(message);
        Ok(signature
            .normalize_s()
            .unwrap_or(signature)
            .to_der()
            .as_bytes()
            .to_vec())
    }
}

/// Derives 32 bytes from the seed, which has a fixed length, and the label.
pub(crate) fn bytes(seed: &Seed, label: &str) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(seed.expose());
    hash.update(format!("chainpool fabric 1 {label}"));
    Zeroizing::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_labels_or_seeds_share_a_key() {
        let mut known = BTreeSet::new();
        for first in [1, 2] {
            let seed = Seed::new([first; 32]);
            for label in ["org1/ca", "org1/tlsca", "org11/ca"] {
                let key = Key::derive(&seed, label);
                assert_eq!(key.pem(), Key::derive(&seed, label).pem());
                assert!(
                    known.insert(key.pem().expose().clone()),
                    "the key of {label} is not unique"
                );
            }
        }
    }

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        let key = Key::derive(&Seed::new([1; 32]), "org1/ca");
        let read = Key::read(&key.pem()).expect("a key");
        assert_eq!((read.pem(), read.identifier()), (key.pem(), key.identifier()));
        assert!(Key::read(&Secret::new(b"nothing".to_vec())).is_none());
    }
}
