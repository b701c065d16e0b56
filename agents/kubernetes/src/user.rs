//! The user of a node, which is never root.

use chainpool_agent::{Error, NodeSpec, Result};
use std::collections::BTreeSet;

/// The user of a node whose spec has no user, or root.
const DEFAULT_USER: User = User {
    uid: 10_001,
    gid: 10_001,
};

/// A numeric user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The spec's user if it is numeric and not root, else the single owner of the node's files, else a fixed
    /// user. Restricted Pod Security forbids root, and a user name may be an alias of root in the image.
    pub(crate) fn of(node: &NodeSpec) -> Result<Self> {
        let refused = |reason: String| {
            Err(Error::Refused(format!(
                "node {}: {reason}: set a numeric user other than root, such as 1000:1000",
                node.name
            )))
        };
        if let Some(file) = node.files.iter().find(|f| f.mode & 0o6000 != 0) {
            return refused(format!(
                "{} has a setuid or setgid bit (mode {:o}), which is not allowed on Kubernetes",
                file.path, file.mode
            ));
        }
        let text = node.user.as_deref().unwrap_or("0");
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| {
            if text == "root" {
                Some(0)
            } else {
                text.parse().ok()
            }
        };
        match (number(uid), number(gid)) {
            (Some(0), Some(_)) => {}
            (Some(uid), Some(gid)) => return Ok(Self { uid, gid }),
            _ => {
                return refused(format!(
                    "its user {text:?} is a name, which may be an alias of root"
                ));
            }
        }
        let owners: BTreeSet<_> = node
            .files
            .iter()
            .map(|f| f.owner)
            .filter(|(uid, _)| *uid != 0)
            .collect();
        match owners.iter().collect::<Vec<_>>().as_slice() {
            [] => Ok(DEFAULT_USER),
            [(uid, gid)] => Ok(Self { uid: *uid, gid: *gid }),
            _ => refused(
                "it runs as root and its files have several owners, which is impossible without root"
                    .to_owned(),
            ),
        }
    }
}
