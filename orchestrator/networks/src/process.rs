//! What a platform says of a node's process.

use chainpool_agent::NodeState;

/// The platform's word on a process.
pub(crate) fn word(state: &NodeState) -> String {
    match state {
        NodeState::Created => "created".to_owned(),
        NodeState::Running => "running".to_owned(),
        NodeState::Paused => "paused".to_owned(),
        NodeState::Exited(code) => format!("exited {code}"),
        NodeState::Changing(how) => how.clone(),
        NodeState::Absent => "absent".to_owned(),
    }
}
