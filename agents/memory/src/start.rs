//! The start of a node's process.

use crate::{
    World,
    ledger::NodeBehavior,
    process::{Process, Program},
    program,
};
use chainpool_agent::{Error, NodeState, Place, Result};

impl World {
    /// Starts a stopped node. Its published ports must be free.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        let (key, was) = match state.process(name) {
            Some(process) => (process.key, process.state.clone()),
            None => return Err(Error::Busy(format!("{name} was just removed"))),
        };
        if was == NodeState::Running {
            return Ok(());
        }
        if let Some((port, holder)) = state.port_conflict(name) {
            let reason = format!("port {port} is in use by {holder}: free it or give the host other ports");
            return Err(Error::Occupied {
                place: Place::Port(port),
                reason,
            });
        }
        let (labels, at) = (state.labels(name), state.second());
        let world = self.me.upgrade().expect("the caller holds it");
        state.catch_up(key);
        if let Some(process) = state.process_mut(name) {
            process.state = NodeState::Running;
            if was != NodeState::Paused {
                process.starts += 1;
                process.is_ready = false;
                process.behavior = NodeBehavior::default();
                match process.program.clone() {
                    Program::Steps(steps) => {
                        process.task = Some(
                            tokio::spawn(program::run(world, name.to_owned(), process.starts, steps))
                                .abort_handle(),
                        );
                    }
                    Program::Ledger(_) => process.say(at, false, "ledger node started"),
                    Program::Setup(code) => {
                        process.say(at, false, "setup done");
                        process.state = NodeState::Exited(code);
                    }
                    Program::Absent(command) => {
                        let text = format!("not found: {command:?}");
                        process.say(at, true, &text);
                        process.state = NodeState::Exited(127);
                    }
                }
            }
        }
        state.catch_up(key);
        let ended = match state.process(name) {
            Some(Process {
                state: NodeState::Exited(code),
                job: false,
                ..
            }) => Some(*code),
            _ => None,
        };
        state.wake(labels.as_ref(), ended);
        drop(state);
        self.notify();
        Ok(())
    }
}
