//! HTTPS to the control ports of nodes.

use crate::{
    client::{call::CallError, http::Http},
    fabric::client::{
        access::Access,
        secure::{Secure, secure},
    },
};
use chainpool_agent::NodeName;
use chainpool_api::Timestamp;

/// A connection to a control port. Dropping it closes the connection.
pub(crate) struct Control {
    pub(crate) http: Http,
    /// Expiry of the node's TLS certificate.
    pub(crate) certificate_expiry: Option<Timestamp>,
}

impl Control {
    /// Connects to a node.
    pub(crate) async fn connect(access: &Access, node: &NodeName, port: &str) -> Result<Self, CallError> {
        let Secure {
            stream,
            certificate_expiry,
        } = secure(access, node, port).await?;
        Ok(Self {
            http: Http::start(stream, node).await?,
            certificate_expiry,
        })
    }
}
