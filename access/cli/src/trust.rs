//! Trust in the server's certificate.

use crate::exit::{Exit, Failure, Result};
use reqwest::{Certificate, ClientBuilder};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{fs, path::Path, sync::Arc};

/// Trusted certificates.
pub(crate) enum Trust<'a> {
    /// The system's CAs.
    System,
    /// Only the CAs in a file.
    CaFile(&'a Path),
    /// Only this certificate, for any name: the local server's, from its context file.
    Pinned(&'a str),
    /// None: plain HTTP, which must also work on a machine without CAs.
    NoTls,
}

impl Trust<'_> {
    /// Applies the trust to a client.
    pub(crate) fn configure(&self, http: ClientBuilder) -> Result<ClientBuilder> {
        Ok(match self {
            Self::System => http,
            Self::CaFile(path) => http.tls_certs_only(read_ca_file(path)?),
            Self::Pinned(pem) => http.tls_backend_preconfigured(pinned(pem)?),
            Self::NoTls => http.tls_certs_only([]),
        })
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<Certificate>> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("cannot read the server's CA from {}: {why}", path.display()),
        )
    };
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(wrong("no certificate in the file".to_owned())),
        found => found.map_err(|error| wrong(error.to_string())),
    }
}

fn pinned(pem: &str) -> Result<ClientConfig> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("invalid certificate of the local server in its context file: {why}"),
        )
    };
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedCertificate {
            certificate,
            provider,
        }))
        .with_no_client_auth())
}

/// Trusts one certificate. TLS signatures are still verified, which proves possession of its key.
#[derive(Debug)]
struct PinnedCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
