//! Process states as evidence shows them.

use chainpool_agent::NodeState;

/// Process state as reported by the platform.
pub(crate) fn text(state: &NodeState) -> String {
    match state {
        NodeState::Created => "created".to_owned(),
        NodeState::Running => "running".to_owned(),
        NodeState::Paused => "paused".to_owned(),
        NodeState::Exited(code) => format!("exited {code}"),
        NodeState::Changing(how) => how.clone(),
        NodeState::Absent => "absent".to_owned(),
    }
}
