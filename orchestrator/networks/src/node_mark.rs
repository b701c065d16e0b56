//! Marks of nodes.

use chainpool_api::{Mark, NodeEvidence, ProcessState};

/// The mark of a node from its own evidence.
pub fn node_mark(node: &NodeEvidence) -> Mark {
    if !node.answers && node.process == ProcessState::Unknown {
        Mark::None
    } else if !node.answers || node.unable.is_some() {
        Mark::Problem
    } else if node.stuck || node.catching_up == Some(true) || node.closed_to_users.is_some() {
        Mark::Attention
    } else {
        Mark::Ok
    }
}
