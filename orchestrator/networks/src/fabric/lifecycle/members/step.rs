//! Steps from the configuration of a channel to that of the model. Pure.

use crate::{
    client::call::CallError,
    fabric::{
        config::{
            consenters::{Consenters, decode, edit, unreadable},
            names::{APPLICATION, BATCH_SIZE, BATCH_TIMEOUT, ENDPOINTS, ORDERER},
            organisation,
            values::{self, BLOCK_MAX_BYTES, BLOCK_PREFERRED_BYTES},
        },
        model::{NetworkModel, Organisation, files::Certificates},
        proto::{
            configtx::{ConfigGroup, OrdererAddresses},
            lossless::Lossless,
            orderer::{BatchSize, BatchTimeout},
        },
    },
};
use chainpool_agent::NodeName;
use std::collections::BTreeMap;

/// Batch settings while block cutting is suspended: a long timeout, and a size beyond the allowed parameter.
pub(crate) const SUSPENDED_TIMEOUT_MS: u32 = 30_000;
const SUSPENDED_MESSAGES: u32 = 1_000_000;

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

/// The next step from a configuration to that of the model. `None`: there is none left.
pub(crate) fn next_step(
    model: &NetworkModel,
    known: &Known,
    before: &Lossless<ConfigGroup>,
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
        set_batching(
            orderer,
            (model.parameters.batch_messages, BLOCK_PREFERRED_BYTES),
            model.parameters.batch_timeout_ms,
        )?;
        return Ok(Some(Step::Resume(after)));
    };
    let certificates = known
        .get(node)
        .ok_or_else(|| CallError::Refused(format!("the stored spec has no certificates of {node}")))?;
    consenters.add(node, certificates, &model.ordering.msp);
    consenters.write(orderer)?;
    if model.parameters.consensus.suspends_batching() {
        set_batching(
            orderer,
            (SUSPENDED_MESSAGES, BLOCK_MAX_BYTES),
            SUSPENDED_TIMEOUT_MS,
        )?;
    }
    let addresses: Vec<NodeName> = model
        .ordering
        .nodes
        .iter()
        .filter(|node| consenters.has(node))
        .cloned()
        .collect();
    let own = orderer
        .groups
        .get_mut(&model.ordering.name)
        .ok_or_else(|| unreadable(&model.ordering.name))?;
    edit::<OrdererAddresses>(own, ENDPOINTS, |known| **known = values::endpoints(&addresses))?;
    Ok(Some(Step::Orderer(node.clone(), after)))
}

/// Sets size and timeout of blocks.
fn set_batching(
    orderer: &mut ConfigGroup,
    (messages, bytes): (u32, u32),
    milliseconds: u32,
) -> Result<(), CallError> {
    edit::<BatchSize>(orderer, BATCH_SIZE, |size| {
        **size = values::batch_size(messages, bytes);
    })?;
    edit::<BatchTimeout>(orderer, BATCH_TIMEOUT, |timeout| {
        **timeout = values::batch_timeout(milliseconds);
    })
}

/// Checks the batch size for suspension; the timeout is no criterion because proofs change it.
pub(crate) fn is_batching_suspended(root: &ConfigGroup) -> Result<bool, CallError> {
    let orderer = root.groups.get(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
    let size: BatchSize = decode(orderer, BATCH_SIZE)?;
    Ok(size.max_message_count == SUSPENDED_MESSAGES)
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
