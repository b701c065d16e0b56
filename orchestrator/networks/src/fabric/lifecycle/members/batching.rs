//! Size and timeout of a channel's blocks, and their suspension. Pure.

use crate::{
    client::call::CallError,
    fabric::{
        config::{
            consenters::{decode, edit, unreadable},
            names::{BATCH_SIZE, BATCH_TIMEOUT, ORDERER},
            values,
        },
        proto::{
            configtx::ConfigGroup,
            orderer::{BatchSize, BatchTimeout},
        },
    },
};

/// Batch settings while block cutting is suspended: a long timeout, and a size beyond the allowed parameter.
pub(crate) const SUSPENDED_TIMEOUT_MS: u32 = 30_000;
const SUSPENDED_MESSAGES: u32 = 1_000_000;

/// When a channel's blocks are cut.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batching {
    size: BatchSize,
    timeout: BatchTimeout,
}

impl Batching {
    /// Reads the settings of a channel. `None`: block cutting is suspended.
    pub(crate) fn read(root: &ConfigGroup) -> Result<Option<Self>, CallError> {
        let orderer = root.groups.get(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
        let found = Self {
            size: decode(orderer, BATCH_SIZE)?,
            timeout: decode(orderer, BATCH_TIMEOUT)?,
        };
        Ok((!found.is_suspended()).then_some(found))
    }

    /// The number of messages alone is the criterion: proofs change the timeout, and users may change the sizes
    /// meanwhile.
    fn is_suspended(&self) -> bool {
        self.size.max_message_count == SUSPENDED_MESSAGES
    }

    /// Writes the settings to the orderers' group of a channel.
    pub(crate) fn write(&self, orderer: &mut ConfigGroup) -> Result<(), CallError> {
        edit::<BatchSize>(orderer, BATCH_SIZE, |size| **size = self.size)?;
        edit::<BatchTimeout>(orderer, BATCH_TIMEOUT, |timeout| {
            (**timeout).clone_from(&self.timeout);
        })
    }
}

/// Suspends block cutting: only a full block is cut. The size limit of a block stays.
pub(crate) fn suspend(orderer: &mut ConfigGroup) -> Result<(), CallError> {
    edit::<BatchSize>(orderer, BATCH_SIZE, |size| {
        size.max_message_count = SUSPENDED_MESSAGES;
        size.preferred_max_bytes = size.absolute_max_bytes;
    })?;
    edit::<BatchTimeout>(orderer, BATCH_TIMEOUT, |timeout| {
        **timeout = values::batch_timeout(SUSPENDED_TIMEOUT_MS);
    })
}

pub(crate) fn is_batching_suspended(root: &ConfigGroup) -> Result<bool, CallError> {
    Ok(Batching::read(root)?.is_none())
}
