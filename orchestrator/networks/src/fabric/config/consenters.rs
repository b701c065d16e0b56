//! Consenters in a channel's configuration, and adding one. Pure.
//!
//! With BFT the consenter mapping and the block validation policy change together, one orderer at a time:
//! Fabric 3.1, `orderer/consensus/smartbft/configverifier.go` and `common/channelconfig`.

use crate::{
    client::call::CallError,
    fabric::{
        config::{
            bft::{self, ORDERERS},
            names::{BLOCK_VALIDATION, CONSENSUS, ORDERER, RAFT},
            raft,
        },
        model::files::Certificates,
        proto::{
            configtx::{ConfigGroup, Orderers},
            lossless::Lossless,
            orderer::{ConsensusType, RaftMetadata},
        },
    },
};
use chainpool_agent::NodeName;
use prost::Message;

/// The orderers of a channel in the order in which they joined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Consenters {
    Raft(Lossless<RaftMetadata>),
    Bft(Lossless<Orderers>),
}

impl Consenters {
    /// Reads the consenters of a channel's configuration.
    pub(crate) fn read(root: &ConfigGroup) -> Result<Self, CallError> {
        let orderer = root.groups.get(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
        let consensus: ConsensusType = decode(orderer, CONSENSUS)?;
        if consensus.r#type == RAFT {
            return Lossless::decode(&consensus.metadata[..])
                .map(Self::Raft)
                .map_err(|_| unreadable(CONSENSUS));
        }
        decode(orderer, ORDERERS).map(Self::Bft)
    }

    /// Host names of the consenters.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Raft(raft) => raft
                .consenters
                .iter()
                .map(|consenter| consenter.host.as_str())
                .collect(),
            Self::Bft(orderers) => orderers
                .consenter_mapping
                .iter()
                .map(|consenter| consenter.host.as_str())
                .collect(),
        }
    }

    pub(crate) fn has(&self, node: &NodeName) -> bool {
        self.hosts().contains(&node.as_str())
    }

    /// Adds an orderer of this MSP. With BFT it gets the next id, by which metrics report the leader.
    pub(crate) fn add(&mut self, node: &NodeName, certificates: &Certificates, msp: &str) {
        match self {
            Self::Raft(raft) => raft
                .consenters
                .push(raft::consenter(node, &certificates.tls).into()),
            Self::Bft(orderers) => {
                let next = orderers
                    .consenter_mapping
                    .iter()
                    .map(|consenter| consenter.id)
                    .max()
                    .unwrap_or(0)
                    + 1;
                let consenter = bft::consenter(next, node, certificates, msp);
                orderers.consenter_mapping.push(consenter.into());
            }
        }
    }

    /// Writes the consenters to a channel's configuration.
    pub(crate) fn write(&self, orderer: &mut ConfigGroup) -> Result<(), CallError> {
        match self {
            Self::Raft(raft) => edit::<ConsensusType>(orderer, CONSENSUS, |consensus| {
                consensus.metadata = raft.encode_to_vec();
            }),
            Self::Bft(orderers) => {
                edit::<Orderers>(orderer, ORDERERS, |mapping| mapping.clone_from(orderers))?;
                let validation = orderer
                    .policies
                    .get_mut(BLOCK_VALIDATION)
                    .ok_or_else(|| unreadable(BLOCK_VALIDATION))?;
                **validation.policy.get_or_insert_default() = bft::block_validation(orderers);
                Ok(())
            }
        }
    }
}

/// Reads a value of a group.
pub(crate) fn decode<M: Message + Default>(group: &ConfigGroup, name: &str) -> Result<M, CallError> {
    let value = group.values.get(name).ok_or_else(|| unreadable(name))?;
    M::decode(&value.value[..]).map_err(|_| unreadable(name))
}

/// Changes a value of a group. Its version, its policy and its unknown fields stay.
pub(crate) fn edit<M: Message + Default>(
    group: &mut ConfigGroup,
    name: &str,
    change: impl FnOnce(&mut Lossless<M>),
) -> Result<(), CallError> {
    let mut message = decode(group, name)?;
    change(&mut message);
    let value = group.values.get_mut(name).ok_or_else(|| unreadable(name))?;
    value.value = message.encode_to_vec();
    Ok(())
}

pub(crate) fn unreadable(what: &str) -> CallError {
    CallError::Refused(format!("the channel configuration has no readable {what}"))
}
