//! Process states of the agents as the API's.

use chainpool_agent::NodeState;
use chainpool_api::ProcessState;

/// The public process state of a node.
pub fn process_state(state: &NodeState) -> ProcessState {
    match state {
        NodeState::Created => ProcessState::Created,
        NodeState::Running => ProcessState::Running,
        NodeState::Unready => ProcessState::Unready,
        NodeState::Paused => ProcessState::Paused,
        NodeState::Exited(code) => ProcessState::Exited(*code),
        NodeState::Changing(how) => ProcessState::Changing(how.clone()),
        NodeState::Absent => ProcessState::Absent,
    }
}
