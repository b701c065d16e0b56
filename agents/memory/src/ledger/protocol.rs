//! The protocol of a node: requests and answers, one line of JSON each.

use chainpool_agent::NodeName;
use serde::{Deserialize, Serialize};

/// A request to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Request {
    /// Get its height and the participants.
    Status,
    /// Get the hash of the block at this height.
    Block {
        /// The height.
        height: u64,
    },
    /// Commit this value under this key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Get the value under this key.
    Get {
        /// The key.
        key: String,
    },
    /// Make this node a member, if it is not one.
    Admit {
        /// The node.
        node: NodeName,
    },
}

/// A node's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Answer {
    /// To `status`.
    Status {
        /// The ledger's own name.
        chain_id: String,
        /// Its newest block.
        height: u64,
        /// The nodes that it is connected to.
        peers: usize,
        /// The number of members that take part, and of all members.
        power: (usize, usize),
    },
    /// To `block`.
    Block {
        /// The hash.
        hash: String,
    },
    /// To `put` and `admit`.
    Committed {
        /// The block that holds it.
        height: u64,
        /// The transaction's hash.
        transaction: String,
    },
    /// To `get`.
    Entry {
        /// The value.
        value: String,
        /// The block that holds it.
        height: u64,
    },
    /// A refusal.
    Refused {
        /// The reason.
        why: String,
    },
}
