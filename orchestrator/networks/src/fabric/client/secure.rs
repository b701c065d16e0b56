//! TLS over the platform's byte stream.

use crate::{
    client::call::{CallError, connected, unavailable},
    fabric::{client::access::Access, crypto::tls, model::ports::GRPC},
};
use chainpool_agent::{ByteStream, NodeName};
use chainpool_api::Timestamp;
use rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A TLS stream to a node and the expiry of the node's certificate.
pub(crate) struct Secure {
    pub(crate) stream: TlsStream<ByteStream>,
    pub(crate) certificate_expiry: Option<Timestamp>,
}

/// Connects to a node's port and authenticates the node.
pub(crate) async fn secure(access: &Access, node: &NodeName, port: &str) -> Result<Secure, CallError> {
    let trust = access.trust(node)?;
    let config = if port == GRPC { &trust.grpc } else { &trust.control };
    let name = ServerName::try_from(node.to_string())
        .map_err(|e| CallError::Refused(format!("{node} is not a valid TLS server name: {e}")))?;
    let connect = async {
        let stream = access
            .nodes
            .dial(node, port)
            .await
            .map_err(|e| CallError::Unavailable(e.to_string()))?;
        TlsConnector::from(std::sync::Arc::clone(config))
            .connect(name, stream)
            .await
            .map_err(|e| unavailable(&e))
    };
    let stream = connected(Box::pin(connect)).await?;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    Ok(Secure {
        certificate_expiry: shown.and_then(|certificate| tls::expiry(certificate)),
        stream,
    })
}
