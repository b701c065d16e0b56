//! Steps from the configuration of a channel to that of the model. Pure.

use crate::{
    client::call::CallError,
    fabric::{
        config::{
            consenters::{Consenters, edit, unreadable},
            names::{APPLICATION, ENDPOINTS, ORDERER},
            organisation, values,
        },
        lifecycle::members::batching::{Batching, is_batching_suspended, suspend},
        model::{NetworkModel, Organisation, files::Certificates},
        proto::{
            configtx::{ConfigGroup, OrdererAddresses},
            lossless::Lossless,
        },
    },
};
use chainpool_agent::NodeName;
use std::collections::BTreeMap;

/// Certificates by orderer.
pub(crate) type Known = BTreeMap<NodeName, Certificates>;

/// A step with the resulting configuration.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Organisations(Lossless<ConfigGroup>),
    Orderer(NodeName, Lossless<ConfigGroup>),
    /// Block cutting resumes.
    Resume(Lossless<ConfigGroup>),
}

/// The next step from a configuration to that of the model. `None`: there is none left. Everything else in the
/// configuration stays, because users may have changed it. `batching` applies when block cutting resumes.
pub(crate) fn next_step(
    model: &NetworkModel,
    known: &Known,
    before: &Lossless<ConfigGroup>,
    batching: &Batching,
) -> Result<Option<Step>, CallError> {
    let mut after = before.clone();
    let application = after
        .groups
        .get_mut(APPLICATION)
        .ok_or_else(|| unreadable(APPLICATION))?;
    let missing: Vec<&Organisation> = model
        .organisations
        .iter()
        .filter(|o| !application.groups.contains_key(&o.name))
        .collect();
    if !missing.is_empty() {
        application.groups.extend(
            missing
                .into_iter()
                .map(|o| (o.name.clone(), organisation::organisation_group(o).into())),
        );
        return Ok(Some(Step::Organisations(after)));
    }
    let orderer = after.groups.get_mut(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
    let mut consenters = Consenters::read(before)?;
    let Some(node) = model.ordering.nodes.iter().find(|node| !consenters.has(node)) else {
        if !is_batching_suspended(before)? {
            return Ok(None);
        }
        batching.write(orderer)?;
        return Ok(Some(Step::Resume(after)));
    };
    let certificates = known
        .get(node)
        .ok_or_else(|| CallError::Refused(format!("the stored spec has no certificates of {node}")))?;
    consenters.add(node, certificates, &model.ordering.msp);
    consenters.write(orderer)?;
    if model.parameters.consensus.suspends_batching() {
        suspend(orderer)?;
    }
    let own = orderer
        .groups
        .get_mut(&model.ordering.name)
        .ok_or_else(|| unreadable(&model.ordering.name))?;
    edit::<OrdererAddresses>(own, ENDPOINTS, |known| {
        let mut new = values::endpoints(std::slice::from_ref(node)).addresses;
        new.retain(|address| !known.addresses.contains(address));
        known.addresses.extend(new);
    })?;
    Ok(Some(Step::Orderer(node.clone(), after)))
}

/// Returns true if a configuration includes the result of a step.
pub(crate) fn is_applied(root: &ConfigGroup, step: &Step) -> Result<bool, CallError> {
    match step {
        Step::Orderer(node, _) => Ok(Consenters::read(root)?.has(node)),
        Step::Resume(_) => Ok(!is_batching_suspended(root)?),
        Step::Organisations(after) => {
            let names = |root: &ConfigGroup| {
                root.groups
                    .get(APPLICATION)
                    .map(|group| group.groups.keys().cloned().collect::<Vec<_>>())
            };
            Ok(names(root) == names(after))
        }
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
