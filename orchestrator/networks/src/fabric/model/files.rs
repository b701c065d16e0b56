//! Files in a node's home: their paths, and reading them back from a spec.

use crate::fabric::crypto::msp;
use chainpool_agent::{File, NodeSpec, Secret, SpecHash};

/// Paths of a node's TLS certificate and key.
pub(crate) const TLS: &str = "tls/server.crt";
pub(crate) const TLS_KEY: &str = "tls/server.key";

/// Owner of a node's files and user of its process. Neither image needs a user of its own for it.
pub(crate) const USER: (u32, u32) = (1000, 1000);

/// Home of orderers and peers.
pub(crate) const HOME: &str = "/var/hyperledger/node";

/// Home of Fabric CAs.
pub(crate) const CA_HOME: &str = "/etc/hyperledger/fabric-ca-server/node";

/// A file in a node's home.
pub(crate) fn file(home: &str, path: &str, content: Secret<Vec<u8>>, secret: bool) -> File {
    let mode = if secret { 0o400 } else { 0o444 };
    File {
        path: format!("{home}/{path}"),
        content,
        mode,
        owner: USER,
        secret,
        once: false,
    }
}

/// The node with new contents of some files.
pub(crate) fn with_files<const N: usize>(
    node: &NodeSpec,
    home: &str,
    contents: [(&str, Secret<Vec<u8>>); N],
) -> NodeSpec {
    let mut node = NodeSpec {
        hash: SpecHash(String::new()),
        ..node.clone()
    };
    for (path, content) in contents {
        for file in node.files.iter_mut().filter(|file| is_at(file, home, path)) {
            file.content = content.clone();
        }
    }
    node
}

/// Public certificates of a node in PEM.
pub(crate) struct Certificates {
    pub(crate) enrolment: String,
    pub(crate) tls: String,
}

/// Reads the certificates from a node's files. `None`: a render did not write them.
pub(crate) fn certificates(node: &NodeSpec) -> Option<Certificates> {
    Some(Certificates {
        enrolment: text(node, HOME, &format!("msp/{}", msp::CERTIFICATE))?,
        tls: text(node, HOME, TLS)?,
    })
}

/// The text of a file in a node's home.
pub(crate) fn text(node: &NodeSpec, home: &str, path: &str) -> Option<String> {
    String::from_utf8(find(node, home, path)?.content.expose().clone()).ok()
}

/// Finds a file in a node's home.
pub(crate) fn find<'a>(node: &'a NodeSpec, home: &str, path: &str) -> Option<&'a File> {
    node.files.iter().find(|file| is_at(file, home, path))
}

fn is_at(file: &File, home: &str, path: &str) -> bool {
    file.path
        .strip_prefix(home)
        .and_then(|rest| rest.strip_prefix('/'))
        == Some(path)
}
