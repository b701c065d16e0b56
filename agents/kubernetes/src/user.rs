//! As whom a node runs: never as root.

use chainpool_agent::{Error, NodeSpec, Result};
use std::collections::BTreeSet;

/// Who runs a node whose spec names nobody, or root.
const NOBODY: User = User {
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
    /// The spec's user when it is a number and not root; else the one owner of the node's files; else a fixed one.
    /// Restricted Pod Security forbids root, and a name could be root's in the image.
    pub(crate) fn of(node: &NodeSpec) -> Result<Self> {
        let refused = |why: String| {
            Err(Error::Refused(format!(
                "node {}: {why}: name a user that is not root as numbers, such as 1000:1000",
                node.name
            )))
        };
        if let Some(file) = node.files.iter().find(|f| f.mode & 0o6000 != 0) {
            return refused(format!(
                "{} changes its user when it is run (mode {:o}), which no node may on Kubernetes",
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
                    "its user {text:?} is a name, and no pod may start before it is known not to be root"
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
            [] => Ok(NOBODY),
            [(uid, gid)] => Ok(Self { uid: *uid, gid: *gid }),
            _ => refused(
                "it runs as root and its files have several owners, which without root can only be one"
                    .to_owned(),
            ),
        }
    }
}
