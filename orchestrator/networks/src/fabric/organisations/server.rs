//! An organisation's Fabric CA server with its keys.

use crate::fabric::{
    crypto::{certificates::Issued, keys::Key},
    model::files::{self, CA_HOME, TLS, TLS_KEY},
};
use chainpool_agent::{NodeName, NodeSpec, Secret};

/// An organisation's Fabric CA server.
pub(crate) struct Server {
    pub(crate) name: NodeName,
    pub(crate) tls: Issued,
    /// The registrar's password.
    pub(crate) password: Secret<Vec<u8>>,
}

/// Reads a server from its node's files. `None`: a render did not write them, or they were removed.
pub(crate) fn load(node: &NodeSpec, password: Secret<Vec<u8>>) -> Option<Server> {
    let key = Key::read(&files::find(node, CA_HOME, TLS_KEY)?.content)?;
    let certificate = files::text(node, CA_HOME, TLS)?;
    Some(Server {
        name: node.name.clone(),
        tls: Issued { certificate, key },
        password,
    })
}
