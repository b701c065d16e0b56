//! Identities that platform objects carry.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identity (`UUIDv7`: sorts by creation time).
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a default that differs each time would surprise")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// One Chainpool installation. Keeps two control planes on one engine from deleting each other's objects.
    InstanceId
);
uuid_id!(
    /// One cluster: one blockchain network, through all its generations.
    ClusterId
);

/// The generation of a cluster: create is 1, each reset adds 1.
pub type Generation = u32;

/// One generation of one cluster, to which every platform object belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterKey {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: Generation,
}

/// The name of a node inside its cluster: `[a-z]([a-z0-9-]*[a-z0-9])?`, 20 characters at most, so that every
/// platform accepts it as a host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// An invalid node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node name: use 1 to 20 of a-z, 0-9 and -, starting with a letter, not ending with -")]
pub struct NodeNameError(String);

impl NodeName {
    /// Parses a node name.
    pub fn parse(text: &str) -> Result<Self, NodeNameError> {
        let fits = (1..=20).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NodeNameError(text.to_owned()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

/// The id of a kind of platform, such as `docker`: 1 to 20 of `a-z`, `0-9` and `-`, starting with a letter.
///
/// The set is open: an agent's crate defines its own as a constant, and its [`Platform`](crate::Platform)
/// describes it. It names the kind to users; no caller branches on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformKind(&'static str);

impl PlatformKind {
    /// Defines a kind.
    ///
    /// # Panics
    ///
    /// Panics if the id is invalid: in a constant, this is an error of compilation.
    #[must_use]
    pub const fn new(id: &'static str) -> Self {
        let bytes = id.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 20, "1 to 20 characters");
        assert!(bytes[0].is_ascii_lowercase(), "it starts with a letter");
        let mut at = 0;
        while at < bytes.len() {
            let is_valid = bytes[at].is_ascii_lowercase() || bytes[at].is_ascii_digit() || bytes[at] == b'-';
            assert!(is_valid, "only a-z, 0-9 and -");
            at += 1;
        }
        Self(id)
    }

    /// The id.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn node_names_fit_in_a_dns_label(text in "\\PC{0,30}") {
            if let Ok(name) = NodeName::parse(&text) {
                prop_assert!(name.as_str().len() <= 20);
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }
}
