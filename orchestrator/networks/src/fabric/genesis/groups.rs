//! The configuration in a genesis block. Pure.

use crate::fabric::{
    config::{
        bft,
        names::{APPLICATION, BATCH_SIZE, BATCH_TIMEOUT, BLOCK_VALIDATION, CONSENSUS, ORDERER, RAFT},
        organisation::{group, ordering_group, organisation_group},
        policies::{element, implicit, ruling},
        raft::raft,
        values::{BLOCK_PREFERRED_BYTES, batch_size, batch_timeout, capability, named, value},
    },
    organisations::Organisations,
    parameters::{Parameters, consensus::Consensus},
    proto::{
        common::Rule,
        configtx::{BlockDataHashingStructure, ConfigGroup, HashingAlgorithm},
        orderer::{ChannelRestrictions, ConsensusType},
    },
};
use prost::Message;

pub(crate) fn channel_group(parameters: &Parameters, organisations: &Organisations) -> ConfigGroup {
    ConfigGroup {
        groups: named([
            (ORDERER, orderer_group(parameters, organisations)),
            (APPLICATION, application_group(organisations)),
        ]),
        values: named([
            (
                "HashingAlgorithm",
                value(&HashingAlgorithm {
                    name: "SHA256".to_owned(),
                }),
            ),
            (
                "BlockDataHashingStructure",
                value(&BlockDataHashingStructure { width: u32::MAX }),
            ),
            (
                "Capabilities",
                capability(parameters.version.channel_capability()),
            ),
        ]),
        policies: ruling(),
        ..group()
    }
}

fn orderer_group(parameters: &Parameters, organisations: &Organisations) -> ConfigGroup {
    let ordering = &organisations.ordering;
    let (consensus, validation, own) = match parameters.consensus {
        Consensus::Raft => {
            let raft = ConsensusType {
                r#type: RAFT.to_owned(),
                metadata: raft(ordering).encode_to_vec(),
                state: 0,
            };
            (raft, implicit(Rule::Any, "Writers"), None)
        }
        Consensus::Bft => {
            let orderers = bft::orderers(ordering);
            let validation = element(bft::block_validation(&orderers));
            (
                bft::consensus(parameters.batch_timeout_ms),
                validation,
                Some((bft::ORDERERS, value(&orderers))),
            )
        }
    };
    let mut policies = ruling();
    policies.insert(BLOCK_VALIDATION.to_owned(), validation.into());
    let common = [
        (CONSENSUS, value(&consensus)),
        (
            BATCH_SIZE,
            value(&batch_size(parameters.batch_messages, BLOCK_PREFERRED_BYTES)),
        ),
        (BATCH_TIMEOUT, value(&batch_timeout(parameters.batch_timeout_ms))),
        (
            "ChannelRestrictions",
            value(&ChannelRestrictions { max_count: 0 }),
        ),
        ("Capabilities", capability("V2_0")),
    ];
    ConfigGroup {
        groups: named([(ordering.name.as_str(), ordering_group(&ordering.model()))]),
        values: named(common.into_iter().chain(own)),
        policies,
        ..group()
    }
}

fn application_group(organisations: &Organisations) -> ConfigGroup {
    let mut policies = ruling();
    for name in ["LifecycleEndorsement", "Endorsement"] {
        policies.insert(name.to_owned(), implicit(Rule::Majority, "Endorsement").into());
    }
    ConfigGroup {
        groups: named(
            organisations
                .peers
                .iter()
                .map(|keyed| (keyed.name.as_str(), organisation_group(&keyed.model()))),
        ),
        values: named([("Capabilities", capability("V2_5"))]),
        policies,
        ..group()
    }
}
