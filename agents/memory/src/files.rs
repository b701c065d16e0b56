//! Files of nodes.

use std::collections::BTreeMap;

/// Files by their paths in a node.
pub(crate) type Files = BTreeMap<String, FileEntry>;

#[derive(Clone)]
pub(crate) struct FileEntry {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}
