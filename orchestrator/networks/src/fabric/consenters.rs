//! Who orders a channel, as its configuration tells, and one more beside them. Pure.
//!
//! By BFT who takes part and the policy by which blocks count change together, and one orderer at a time: Fabric 3.1,
//! `orderer/consensus/smartbft/configverifier.go` and `common/channelconfig`.

use super::{
    bft::{self, ORDERERS},
    connect::CallError,
    genesis::{self, BLOCK_VALIDATION, CONSENSUS, ORDERER, RAFT},
    proto::{
        configtx::{ConfigGroup, ConfigValue, Orderers},
        orderer::{ConsensusType, RaftMetadata},
    },
    render::Certificates,
};
use chainpool_agent::NodeName;
use prost::Message;

/// The orderers of a channel, in the order in which they came.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Consenters {
    Raft(RaftMetadata),
    Bft(Orderers),
}

impl Consenters {
    /// Reads them from a channel's configuration.
    pub(super) fn read(root: &ConfigGroup) -> Result<Self, CallError> {
        let orderer = root.groups.get(ORDERER).ok_or_else(|| unreadable(ORDERER))?;
        let consensus: ConsensusType = decode(orderer, CONSENSUS)?;
        if consensus.r#type == RAFT {
            return RaftMetadata::decode(&consensus.metadata[..])
                .map(Self::Raft)
                .map_err(|_| unreadable(CONSENSUS));
        }
        decode(orderer, ORDERERS).map(Self::Bft)
    }

    /// The same by their names.
    pub(super) fn hosts(&self) -> Vec<&str> {
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

    pub(super) fn has(&self, node: &NodeName) -> bool {
        self.hosts().contains(&node.as_str())
    }

    /// Takes one more in, of the organisation of this MSP. By BFT it has the next number: metrics tell the leader by it.
    pub(super) fn take_in(&mut self, node: &NodeName, certificates: &Certificates, msp: &str) {
        match self {
            Self::Raft(raft) => raft.consenters.push(genesis::consenter(node, &certificates.tls)),
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

    /// Makes them those of a channel.
    pub(super) fn write(&self, orderer: &mut ConfigGroup) -> Result<(), CallError> {
        match self {
            Self::Raft(raft) => {
                let kind: ConsensusType = decode(orderer, CONSENSUS)?;
                set(
                    orderer,
                    CONSENSUS,
                    &genesis::value(&ConsensusType {
                        metadata: raft.encode_to_vec(),
                        ..kind
                    }),
                )
            }
            Self::Bft(orderers) => {
                set(orderer, ORDERERS, &genesis::value(orderers))?;
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

/// Gives a value of a group another content under the same rules.
pub(super) fn set(group: &mut ConfigGroup, name: &str, new: &ConfigValue) -> Result<(), CallError> {
    group
        .values
        .get_mut(name)
        .ok_or_else(|| unreadable(name))?
        .value
        .clone_from(&new.value);
    Ok(())
}

pub(super) fn unreadable(what: &str) -> CallError {
    CallError::Refused(format!("its configuration has no {what} that can be read"))
}
