//! Whom the client trusts to be the server.

use crate::exit::{Exit, Failure, Result};
use reqwest::{Certificate, ClientBuilder};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{fs, path::Path, sync::Arc};

/// Whom to trust.
pub(crate) enum Trust<'a> {
    /// The authorities of the system.
    System,
    /// The authorities in a file, and no others.
    Authority(&'a Path),
    /// Exactly this certificate, whatever names are in it: the local server's own, as it wrote it down.
    Exactly(&'a str),
    /// Nobody: without TLS nobody is asked, and a machine without authorities must be able to do that.
    Nobody,
}

impl Trust<'_> {
    /// Tells a client.
    pub(crate) fn tell(&self, http: ClientBuilder) -> Result<ClientBuilder> {
        Ok(match self {
            Self::System => http,
            Self::Authority(path) => http.tls_certs_only(read_authorities(path)?),
            Self::Exactly(pem) => http.tls_backend_preconfigured(exactly(pem)?),
            Self::Nobody => http.tls_certs_only([]),
        })
    }
}

fn read_authorities(path: &Path) -> Result<Vec<Certificate>> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Usage,
            format!(
                "cannot take the server's authority from {}: {why}",
                path.display()
            ),
        )
    };
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(wrong("there is no certificate in it".to_owned())),
        found => found.map_err(|error| wrong(error.to_string())),
    }
}

fn exactly(pem: &str) -> Result<ClientConfig> {
    let wrong = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("the local server's certificate in its context file is not one: {why}"),
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
        .with_custom_certificate_verifier(Arc::new(Exactly {
            certificate,
            provider,
        }))
        .with_no_client_auth())
}

/// Trusts one certificate. The server's signatures are checked as ever, so only who has its key can be it.
#[derive(Debug)]
struct Exactly {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Exactly {
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
