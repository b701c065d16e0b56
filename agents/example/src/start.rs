//! The start of a node's process.

use crate::{World, program, state::Body};
use chainpool_agent::{Error, NodeState, ObjectKind, Place, Result};
use std::collections::BTreeSet;

impl World {
    /// Starts a stopped node. Its published ports must be free.
    pub(crate) fn start(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        let Some(process) = state.process(name) else {
            return Err(Error::Busy(format!("{name} was just removed")));
        };
        if process.state == NodeState::Running {
            return Ok(());
        }
        let wanted: BTreeSet<u16> = process
            .spec
            .ports
            .iter()
            .filter_map(|port| port.published)
            .collect();
        let running = state
            .entities
            .iter()
            .filter_map(|((_, name), entity)| match &entity.body {
                Body::Node(process) if process.state == NodeState::Running => Some((name, process)),
                _ => None,
            });
        let mut in_use = running.flat_map(|(name, process)| {
            process
                .spec
                .ports
                .iter()
                .filter_map(move |port| Some((port.published?, name)))
        });
        if let Some((port, holder)) = in_use.find(|(port, _)| wanted.contains(port)) {
            let reason = format!("port {port} is in use by {holder}: free it or give the host other ports");
            return Err(Error::Occupied {
                place: Place::Port(port),
                reason,
            });
        }
        let labels = state
            .entities
            .get(&(ObjectKind::Node, name.to_owned()))
            .and_then(|entity| entity.labels.clone());
        let world = self.me.upgrade().expect("the caller holds it");
        if let Some(process) = state.process(name) {
            process.starts += 1;
            process.is_ready = false;
            process.state = NodeState::Running;
            process.task = Some(
                tokio::spawn(program::run(
                    world,
                    name.to_owned(),
                    process.starts,
                    process.spec.command.clone(),
                ))
                .abort_handle(),
            );
        }
        state.wake(labels.as_ref(), None);
        Ok(())
    }
}
