//! State databases of peers.

use serde::{Deserialize, Serialize};

/// A state database. Specs without one are `LevelDb`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StateDatabase {
    /// Embedded in the peer.
    #[default]
    LevelDb,
    /// A node beside the peer.
    CouchDb,
}

impl StateDatabase {
    pub(crate) const ALL: [Self; 2] = [Self::LevelDb, Self::CouchDb];

    /// Parameter value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LevelDb => "leveldb",
            Self::CouchDb => "couchdb",
        }
    }

    /// Default values are not stored.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
