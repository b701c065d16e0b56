//! TLS to nodes. A node is authenticated only by its organisation's TLS authority and its name.

use chainpool_api::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::sync::Arc;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// TLS configurations for the nodes of one organisation.
pub(crate) struct Trust {
    /// For gRPC, where messages are signed individually.
    pub(crate) grpc: Arc<ClientConfig>,
    /// For control ports: with the control certificate.
    pub(crate) control: Arc<ClientConfig>,
}

impl Trust {
    /// Builds the configurations from the authority's certificate, the control certificate and its key, all
    /// in PEM.
    pub(crate) fn new(authority: &str, certificate: &str, key: &str) -> Result<Self, rustls::Error> {
        let unreadable = |what: &str| rustls::Error::General(format!("{what} is not PEM"));
        let mut roots = RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_slice(authority.as_bytes())
                .map_err(|_| unreadable("an authority's certificate"))?,
        )?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let chain = vec![
            CertificateDer::from_pem_slice(certificate.as_bytes())
                .map_err(|_| unreadable("the control certificate"))?,
        ];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unreadable("the control key"))?;
        let mut grpc = builder.clone().with_no_client_auth();
        grpc.alpn_protocols = vec![b"h2".to_vec()];
        let mut control = builder.with_client_auth_cert(chain, key)?;
        control.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            grpc: Arc::new(grpc),
            control: Arc::new(control),
        })
    }
}

/// Expiry of a certificate. `None`: it is unreadable.
pub(crate) fn expiry(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(Timestamp(
        certificate.validity().not_after.timestamp().checked_mul(1000)?,
    ))
}

/// Expiry of a certificate in PEM.
pub(crate) fn pem_expiry(certificate: &str) -> Option<Timestamp> {
    expiry(&CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_of_a_certificate_is_read() {
        let mut parameters = rcgen::CertificateParams::new(vec!["orderer1".to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let expected = "2031-02-03T00:00:00Z".parse().ok();
        assert_eq!(
            (expiry(certificate.der()), pem_expiry(&certificate.pem())),
            (expected, expected)
        );
        assert_eq!((expiry(b"nothing"), pem_expiry("nothing")), (None, None));
        Trust::new(&certificate.pem(), &certificate.pem(), &key.serialize_pem()).expect("readable");
        assert!(Trust::new("nothing", &certificate.pem(), &key.serialize_pem()).is_err());
    }
}
