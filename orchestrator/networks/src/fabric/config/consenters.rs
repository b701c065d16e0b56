//! Consenters in a channel's configuration, and adding one. Pure.
//!
//! With BFT the consenter mapping and the block validation policy change together, one orderer at a time:
//! Fabric 3.1, `orderer/consensus/smartbft/configverifier.go` and `common/channelconfig`.

use crate::fabric::{
    client::call::CallError,
    config::{
        bft::{self, ORDERERS},
        names::{BLOCK_VALIDATION, CONSENSUS, ORDERER, RAFT},
        raft, values,
    },
    model::files::Certificates,
    proto::{
        configtx::{ConfigGroup, ConfigValue, Orderers},
        orderer::{ConsensusType, RaftMetadata},
    },
};
use chainpool_agent::NodeName;
use prost::Message;

/// The orderers of a channel in the order in which they joined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Consenters {
    Raft(RaftMetadata),
    Bft(Orderers),
}

impl Consenters {
    /// Reads the consenters of a channel's configuration.
    pub(crate) fn read(root: &ConfigGroup) -> Result<Self, CallError> {
        let orderer = root.groups.get(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
        let consensus: ConsensusType = decode(orderer, CONSENSUS)?;
        if consensus.r#type == RAFT {
            return RaftMetadata::decode(&consensus.metadata[..])
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
            Self::Raft(raft) => raft.consenters.push(raft::consenter(node, &certificates.tls)),
            Self::Bft(Orderers { consenter_mapping }) => {
                let next = consenter_mapping
                    .iter()
                    .map(|consenter| consenter.id)
                    .max()
                    .unwrap_or(0)
                    + 1;
                consenter_mapping.push(bft::consenter(next, node, certificates, msp));
            }
        }
    }

    /// Writes the consenters to a channel's configuration.
    pub(crate) fn write(&self, orderer: &mut ConfigGroup) -> Result<(), CallError> {
        match self {
            Self::Raft(raft) => {
                let kind: ConsensusType = decode(orderer, CONSENSUS)?;
                set(
                    orderer,
                    CONSENSUS,
                    &values::value(&ConsensusType {
                        metadata: raft.encode_to_vec(),
                        ..kind
                    }),
                )
            }
            Self::Bft(orderers) => {
                set(orderer, ORDERERS, &values::value(orderers))?;
                let validation = orderer
                    .policies
                    .get_mut(BLOCK_VALIDATION)
                    .ok_or_else(|| unreadable(BLOCK_VALIDATION))?;
                validation.policy = bft::block_validation(orderers).policy;
                Ok(())
            }
        }
    }
}

fn decode<M: Message + Default>(orderer: &ConfigGroup, name: &str) -> Result<M, CallError> {
    let value = orderer.values.get(name).ok_or_else(|| unreadable(name))?;
    M::decode(&value.value[..]).map_err(|_| unreadable(name))
}

/// Replaces the content of a group's value; version and policy stay.
pub(crate) fn set(group: &mut ConfigGroup, name: &str, new: &ConfigValue) -> Result<(), CallError> {
    group
        .values
        .get_mut(name)
        .ok_or_else(|| unreadable(name))?
        .value
        .clone_from(&new.value);
    Ok(())
}

pub(crate) fn unreadable(what: &str) -> CallError {
    CallError::Refused(format!("the channel configuration has no readable {what}"))
}
