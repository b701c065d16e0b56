//! Genesis block of a channel. Pure: the same organisations give the same bytes, which all nodes must share.
//!
//! Structure of Fabric 2.5: `internal/configtxgen/encoder/encoder.go`, `protoutil/blockutils.go`; the BFT
//! part is in `bft`.

use super::{
    bft,
    consensus::Consensus,
    msp,
    network_model::Organisation,
    organisation::{OrganisationKeys, Organisations},
    parameters::Parameters,
    proto::{
        common::{
            Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Envelope, Header, HeaderType,
            ImplicitMetaPolicy, LastConfig, Metadata, NOutOf, OrdererBlockMetadata, Payload, Policy,
            PolicyType, Rule, SignatureHeader, SignaturePolicy, SignaturePolicyEnvelope, SignatureRule,
            Timestamp,
        },
        configtx::{
            AnchorPeer, AnchorPeers, BlockDataHashingStructure, Capabilities, Capability, Config,
            ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigValue, HashingAlgorithm, OrdererAddresses,
        },
        msp::{Classification, MspPrincipal, MspRole, MspRoleType},
        orderer::{
            BatchSize, BatchTimeout, ChannelRestrictions, ConsensusType, RaftConsenter, RaftMetadata,
            RaftOptions,
        },
    },
    render::{ORDERER_PORT, PEER_PORT},
};
use chainpool_agent::NodeName;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Policy for changes of elements without another policy.
const ADMINS: &str = "Admins";

/// Names of the configuration groups of the orderers and of the peers' organisations.
pub(super) const ORDERER: &str = "Orderer";
pub(super) const APPLICATION: &str = "Application";
/// Values that control when a block is cut.
pub(super) const BATCH_SIZE: &str = "BatchSize";
pub(super) const BATCH_TIMEOUT: &str = "BatchTimeout";
/// Name of the consensus value; with Raft it also holds the consenters.
pub(super) const CONSENSUS: &str = "ConsensusType";
/// Name of the block validation policy.
pub(super) const BLOCK_VALIDATION: &str = "BlockValidation";
/// Fabric's name of Raft.
pub(super) const RAFT: &str = "etcdraft";
/// Name of the value with the addresses of an organisation's orderers.
pub(super) const ENDPOINTS: &str = "Endpoints";

/// Size limits of a block: as in Fabric's sample.
pub(super) const BLOCK_MAX_BYTES: u32 = 10 * 1024 * 1024;
pub(super) const BLOCK_PREFERRED_BYTES: u32 = 2 * 1024 * 1024;

/// Distinguishes the genesis blocks of channels.
pub(super) struct Origin<'a> {
    /// The channel's id.
    pub(super) channel: &'a str,
    /// Genesis time.
    pub(super) at: chainpool_api::Timestamp,
    /// 24 unique bytes.
    pub(super) nonce: &'a [u8],
}

/// Builds the genesis block.
pub(super) fn block(origin: &Origin, parameters: &Parameters, organisations: &Organisations) -> Block {
    let data = envelope(origin, channel_group(parameters, organisations)).encode_to_vec();
    Block {
        header: Some(BlockHeader {
            number: 0,
            previous_hash: vec![],
            data_hash: Sha256::digest(&data).to_vec(),
        }),
        data: Some(BlockData { data: vec![data] }),
        metadata: Some(BlockMetadata { metadata: metadata() }),
    }
}

/// Signatures, last configuration, validation codes, orderer metadata, commit hash. The genesis block is
/// unsigned and is itself the last configuration.
fn metadata() -> Vec<Vec<u8>> {
    let last_config = Some(LastConfig { index: 0 });
    let of_orderer = OrdererBlockMetadata {
        last_config,
        consenter_metadata: vec![],
    };
    let signatures = Metadata {
        value: of_orderer.encode_to_vec(),
        signatures: vec![],
    };
    let last_config = Metadata {
        value: LastConfig { index: 0 }.encode_to_vec(),
        signatures: vec![],
    };
    vec![
        signatures.encode_to_vec(),
        last_config.encode_to_vec(),
        vec![],
        vec![],
        vec![],
    ]
}

/// The only transaction, unsigned.
fn envelope(origin: &Origin, channel_group: ConfigGroup) -> Envelope {
    let Origin { channel, at, nonce } = origin;
    let creator = [];
    let channel_header = ChannelHeader {
        r#type: HeaderType::Config.into(),
        version: 1,
        timestamp: Some(timestamp(*at)),
        channel_id: (*channel).to_owned(),
        tx_id: hex::encode(Sha256::new().chain_update(nonce).chain_update(creator).finalize()),
        epoch: 0,
        extension: vec![],
        tls_cert_hash: vec![],
    };
    let signature_header = SignatureHeader {
        creator: creator.to_vec(),
        nonce: nonce.to_vec(),
    };
    let config = ConfigEnvelope {
        config: Some(Config {
            sequence: 0,
            channel_group: Some(channel_group),
        }),
        last_update: None,
    };
    let payload = Payload {
        header: Some(Header {
            channel_header: channel_header.encode_to_vec(),
            signature_header: signature_header.encode_to_vec(),
        }),
        data: config.encode_to_vec(),
    };
    Envelope {
        payload: payload.encode_to_vec(),
        signature: vec![],
    }
}

fn timestamp(at: chainpool_api::Timestamp) -> Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000) * 1_000_000).expect("less than a second");
    Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos,
    }
}

fn channel_group(parameters: &Parameters, organisations: &Organisations) -> ConfigGroup {
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
            let validation = bft::block_validation(&orderers);
            (
                bft::consensus(parameters.batch_timeout_ms),
                validation,
                Some((bft::ORDERERS, value(&orderers))),
            )
        }
    };
    let mut policies = ruling();
    policies.insert(BLOCK_VALIDATION.to_owned(), validation);
    let common = [
        (CONSENSUS, value(&consensus)),
        (
            BATCH_SIZE,
            batch_size(parameters.batch_messages, BLOCK_PREFERRED_BYTES),
        ),
        (BATCH_TIMEOUT, batch_timeout(parameters.batch_timeout_ms)),
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

/// Numbers of transactions and of bytes after which a block is cut.
pub(super) fn batch_size(messages: u32, preferred_max_bytes: u32) -> ConfigValue {
    value(&BatchSize {
        max_message_count: messages,
        absolute_max_bytes: BLOCK_MAX_BYTES,
        preferred_max_bytes,
    })
}

/// Time after which an incomplete block is cut.
pub(super) fn batch_timeout(milliseconds: u32) -> ConfigValue {
    value(&BatchTimeout {
        timeout: format!("{milliseconds}ms"),
    })
}

fn application_group(organisations: &Organisations) -> ConfigGroup {
    let mut policies = ruling();
    for name in ["LifecycleEndorsement", "Endorsement"] {
        policies.insert(name.to_owned(), implicit(Rule::Majority, "Endorsement"));
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

/// An organisation of peers: MSP, anchor peer and policies.
pub(super) fn organisation_group(organisation: &Organisation) -> ConfigGroup {
    use MspRoleType::{Admin, Client, Peer};
    let anchor = |node: &NodeName| AnchorPeer {
        host: node.to_string(),
        port: PEER_PORT.into(),
    };
    let anchors = AnchorPeers {
        anchor_peers: organisation.nodes.first().map(anchor).into_iter().collect(),
    };
    let policy = |name, roles: &[MspRoleType]| (name, signature(&organisation.msp, roles));
    ConfigGroup {
        values: named([
            ("MSP", membership(organisation)),
            ("AnchorPeers", value(&anchors)),
        ]),
        policies: named([
            policy("Readers", &[Admin, Peer, Client]),
            policy("Writers", &[Admin, Client]),
            policy(ADMINS, &[Admin]),
            policy("Endorsement", &[Peer]),
        ]),
        ..group()
    }
}

/// The organisation of the orderers.
fn ordering_group(ordering: &Organisation) -> ConfigGroup {
    use MspRoleType::{Admin, Member};
    let policy = |name, roles: &[MspRoleType]| (name, signature(&ordering.msp, roles));
    ConfigGroup {
        values: named([
            ("MSP", membership(ordering)),
            (ENDPOINTS, endpoints(&ordering.nodes)),
        ]),
        policies: named([
            policy("Readers", &[Member]),
            policy("Writers", &[Member]),
            policy(ADMINS, &[Admin]),
        ]),
        ..group()
    }
}

fn membership(organisation: &Organisation) -> ConfigValue {
    value(&msp::config(
        &organisation.msp,
        &organisation.ca,
        &organisation.tls_ca,
    ))
}

/// Addresses of the orderers.
pub(super) fn endpoints(orderers: &[NodeName]) -> ConfigValue {
    value(&OrdererAddresses {
        addresses: orderers
            .iter()
            .map(|node| format!("{node}:{ORDERER_PORT}"))
            .collect(),
    })
}

/// A Raft consenter; the others identify it by the key of its TLS certificate.
pub(super) fn consenter(node: &NodeName, certificate: &str) -> RaftConsenter {
    RaftConsenter {
        host: node.to_string(),
        port: ORDERER_PORT.into(),
        client_tls_cert: certificate.as_bytes().to_vec(),
        server_tls_cert: certificate.as_bytes().to_vec(),
    }
}

/// All orderers are consenters. A new channel's first election begins two ticks after its start
/// (`orderer/consensus/etcdraft/node.go`, `campaignTicker`; measured): with the sample's tick of 500 ms
/// nothing would commit for a second. Without a leader an election begins after two to four seconds, where
/// the sample has five to ten; the margin is for busy hosts.
fn raft(ordering: &OrganisationKeys) -> RaftMetadata {
    RaftMetadata {
        consenters: ordering
            .members
            .iter()
            .map(|member| consenter(&member.name, &member.tls.certificate))
            .collect(),
        options: Some(RaftOptions {
            tick_interval: "100ms".to_owned(),
            election_tick: 20,
            heartbeat_tick: 1,
            max_inflight_blocks: 5,
            snapshot_interval_size: 16 * 1024 * 1024,
        }),
    }
}

/// A group with the default policy.
fn group() -> ConfigGroup {
    ConfigGroup {
        mod_policy: ADMINS.to_owned(),
        ..ConfigGroup::default()
    }
}

fn named<'a, T>(entries: impl IntoIterator<Item = (&'a str, T)>) -> BTreeMap<String, T> {
    entries
        .into_iter()
        .map(|(name, entry)| (name.to_owned(), entry))
        .collect()
}

pub(super) fn value(message: &impl Message) -> ConfigValue {
    ConfigValue {
        version: 0,
        value: message.encode_to_vec(),
        mod_policy: ADMINS.to_owned(),
    }
}

fn capability(name: &str) -> ConfigValue {
    value(&Capabilities {
        capabilities: named([(name, Capability {})]),
    })
}

/// Default policies: any organisation's readers and writers, and a majority of the administrators.
fn ruling() -> BTreeMap<String, ConfigPolicy> {
    named([
        ("Readers", implicit(Rule::Any, "Readers")),
        ("Writers", implicit(Rule::Any, "Writers")),
        (ADMINS, implicit(Rule::Majority, ADMINS)),
    ])
}

/// A policy over the subgroups' policies of this name.
fn implicit(rule: Rule, sub_policy: &str) -> ConfigPolicy {
    policy(
        PolicyType::ImplicitMeta,
        &ImplicitMetaPolicy {
            sub_policy: sub_policy.to_owned(),
            rule: rule.into(),
        },
    )
}

/// One signature by a member with one of these roles.
fn signature(msp: &str, roles: &[MspRoleType]) -> ConfigPolicy {
    let principal = |role: &MspRoleType| MspPrincipal {
        principal_classification: Classification::Role.into(),
        principal: MspRole {
            msp_identifier: msp.to_owned(),
            role: (*role).into(),
        }
        .encode_to_vec(),
    };
    signatures(1, roles.iter().map(principal).collect())
}

/// Signatures of `n` of these identities.
pub(super) fn signatures(n: usize, identities: Vec<MspPrincipal>) -> ConfigPolicy {
    let number = |n: usize| i32::try_from(n).expect("a few roles or orderers");
    let signed_by = |n: usize| SignaturePolicy {
        r#type: Some(SignatureRule::SignedBy(number(n))),
    };
    let rule = NOutOf {
        n: number(n),
        rules: (0..identities.len()).map(signed_by).collect(),
    };
    let rule = Some(SignaturePolicy {
        r#type: Some(SignatureRule::NOutOf(rule)),
    });
    policy(
        PolicyType::Signature,
        &SignaturePolicyEnvelope {
            version: 0,
            rule,
            identities,
        },
    )
}

fn policy(kind: PolicyType, message: &impl Message) -> ConfigPolicy {
    let policy = Some(Policy {
        r#type: kind.into(),
        value: message.encode_to_vec(),
    });
    ConfigPolicy {
        version: 0,
        policy,
        mod_policy: ADMINS.to_owned(),
    }
}

#[cfg(test)]
#[path = "genesis_tests.rs"]
mod tests;
