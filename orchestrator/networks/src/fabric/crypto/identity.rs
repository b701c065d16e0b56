//! Signing identities of an organisation.

use crate::fabric::proto::msp::SerializedIdentity;
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::DecodePrivateKey,
};
use prost::Message;

/// An enrolled identity with its key.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Its organisation's MSP id.
    pub(crate) msp: String,
    /// Its enrolment certificate in PEM.
    pub(crate) certificate: String,
    key: SigningKey,
}

impl Identity {
    /// Reads the key from PKCS#8 PEM.
    pub(crate) fn read(msp: &str, certificate: &str, key: &str) -> Result<Self, p256::pkcs8::Error> {
        Ok(Self {
            msp: msp.to_owned(),
            certificate: certificate.to_owned(),
            key: SigningKey::from_pkcs8_pem(key)?,
        })
    }

    /// The serialized identity for message headers.
    pub(crate) fn creator(&self) -> Vec<u8> {
        SerializedIdentity {
            mspid: self.msp.clone(),
            id_bytes: self.certificate.clone().into_bytes(),
        }
        .encode_to_vec()
    }

    /// Signs with ECDSA and SHA-256, in DER. Fabric accepts only signatures with a low S
    /// (`bccsp/utils/ecdsa.go`).
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.key.sign(message);
        signature
            .normalize_s()
            .unwrap_or(signature)
            .to_der()
            .as_bytes()
            .to_vec()
    }
}
