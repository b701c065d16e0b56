//! Genesis blocks, decoded.

mod readable;

use super::*;
use crate::{
    PublicEndpoints, Seed,
    fabric::{
        config::names::{ADMINS, BATCH_SIZE, CONSENSUS, ORDERER},
        crypto::certificates::CertificateIssuer,
        parameters::{consensus::Consensus, version::Version},
        proto::{
            common::{
                ImplicitMetaPolicy, NOutOf, Policy, PolicyType, Rule, SignaturePolicyEnvelope, SignatureRule,
            },
            configtx::{
                AnchorPeer, AnchorPeers, BlockDataHashingStructure, Capabilities, ConfigPolicy, ConfigValue,
                Consenter, HashingAlgorithm, OrdererAddresses, Orderers,
            },
            lossless::Lossless,
            msp::{Classification, FabricMspConfig, MspConfig, MspRole, MspRoleType, SerializedIdentity},
            orderer::{
                BatchSize, BatchTimeout, BftOptions, ChannelRestrictions, ConsensusType, RaftConsenter,
                RaftMetadata,
            },
        },
    },
};
use chainpool_api::Timestamp as Moment;
use prost::DecodeError;
use readable::shown;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

const AT: Moment = Moment(1_795_000_000_123);

fn parameters() -> Parameters {
    Parameters {
        orderers: 3,
        peers: 2,
        ..Parameters::default()
    }
}

fn organisations(parameters: &Parameters) -> Organisations {
    let seed = Seed::new([7; 32]);
    let public_endpoints = PublicEndpoints {
        address: "192.0.2.7".to_owned(),
        loopback: false,
        machines: BTreeMap::new(),
    };
    Organisations::create(
        &CertificateIssuer::new(&seed, AT, 365),
        parameters,
        "cp-0123456789ab-1",
        &public_endpoints,
    )
}

fn made(parameters: &Parameters) -> Block {
    block(
        &Origin {
            channel: "main",
            at: AT,
            nonce: &[5; 24],
        },
        parameters,
        &organisations(parameters),
    )
}

/// Payload and configuration of the only transaction.
fn opened(block: &Block) -> (Payload, Config) {
    let data = &block.data.as_ref().expect("data").data;
    assert_eq!(data.len(), 1);
    let envelope = Envelope::decode(&data[0][..]).expect("an envelope");
    assert_eq!(envelope.signature, b"");
    let payload = Payload::decode(&envelope.payload[..]).expect("a payload");
    let envelope = ConfigEnvelope::decode(&payload.data[..]).expect("a configuration");
    assert_eq!(envelope.last_update, None);
    (payload, envelope.config.expect("a configuration"))
}

#[test]
fn the_configuration_does_not_change() {
    let (_, config) = opened(&made(&parameters()));
    assert_eq!(config.sequence, 0);
    insta::assert_json_snapshot!("configuration", shown(&config.channel_group.expect("a group")));
}

fn bft(orderers: u16) -> Parameters {
    Parameters {
        version: Version::V3_1,
        consensus: Consensus::Bft,
        orderers,
        ..Parameters::default()
    }
}

fn root(parameters: &Parameters) -> Lossless<ConfigGroup> {
    opened(&made(parameters)).1.channel_group.expect("a group")
}

#[test]
fn bft_and_raft_differ_only_in_the_orderer_group_and_the_capability() {
    let raft = root(&Parameters {
        consensus: Consensus::Raft,
        ..bft(4)
    });
    let mut bft = root(&bft(4));
    assert_eq!(
        Capabilities::decode(&bft.values["Capabilities"].value[..])
            .expect("capabilities")
            .capabilities
            .len(),
        1
    );
    insta::assert_json_snapshot!("orderers_of_bft", shown(&bft.groups[ORDERER]));
    assert_eq!(shown(&bft)["values"]["Capabilities"]["value"], json!(["V3_0"]));
    assert!(!bft.values.contains_key("OrdererAddresses"), "V3_0 refuses it");
    let orderer = bft.groups.get_mut(ORDERER).expect("orderer");
    orderer.values.remove("Orderers").expect("the consenter mapping");
    orderer.values.insert(
        CONSENSUS.to_owned(),
        raft.groups[ORDERER].values[CONSENSUS].clone(),
    );
    orderer.policies.insert(
        "BlockValidation".to_owned(),
        raft.groups[ORDERER].policies["BlockValidation"].clone(),
    );
    assert_eq!(bft, raft);
}

#[test]
fn bft_orderers_have_ids_and_a_quorum_of_them_signs_blocks() {
    for (count, quorum) in [(4, 3), (5, 4), (6, 4), (7, 5)] {
        let parameters = bft(count);
        assert_eq!(
            made(&parameters).encode_to_vec(),
            made(&parameters).encode_to_vec(),
            "every orderer joins with the same bytes"
        );
        let orderer = root(&parameters).groups.remove(ORDERER).expect("orderer");
        let consenters = Orderers::decode(&orderer.values["Orderers"].value[..])
            .expect("orderers")
            .consenter_mapping;
        let ordering = organisations(&parameters).ordering;
        assert_eq!(consenters.len(), usize::from(count));
        for ((consenter, member), id) in consenters.iter().zip(&ordering.members).zip(1..) {
            let (enrolment, tls) = (
                member.enrolment.certificate.as_bytes(),
                member.tls.certificate.as_bytes(),
            );
            assert_eq!(
                (consenter.id, consenter.host.as_str(), consenter.port),
                (id, member.name.as_str(), 7050)
            );
            assert_eq!(
                (consenter.msp_id.as_str(), &consenter.identity[..]),
                ("OrderersMSP", enrolment)
            );
            assert_eq!(
                (&consenter.client_tls_cert[..], &consenter.server_tls_cert[..]),
                (tls, tls)
            );
        }
        let ConfigPolicy {
            policy,
            mod_policy,
            version,
        } = &*orderer.policies["BlockValidation"];
        assert_eq!((mod_policy.as_str(), *version), (ADMINS, 0));
        assert_eq!(
            policy.as_ref().expect("a policy").value,
            block_validation_bytes(quorum, &consenters)
        );
    }
}

/// The policy that Fabric computes and compares byte by byte, encoded by hand: `{rule 2 {n_out_of 2 {n 1,
/// rules 2 {signed_by 1}}}, identities 3 {classification 1: 2, principal 2 {mspid 1, id_bytes 2}}}`. The 0 of
/// the first signer is encoded, too.
fn block_validation_bytes(quorum: u8, consenters: &[Lossless<Consenter>]) -> Vec<u8> {
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut bytes).expect("a vector grows");
        [bytes, content.to_vec()].concat()
    }
    let mut rules = vec![0x08, quorum];
    let mut identities = Vec::new();
    for (consenter, number) in consenters.iter().zip(0u8..) {
        rules.extend(field(2, &[0x08, number]));
        let identity = [
            field(1, consenter.msp_id.as_bytes()),
            field(2, &consenter.identity),
        ]
        .concat();
        identities.extend(field(3, &[vec![0x08, 2], field(2, &identity)].concat()));
    }
    [field(2, &field(2, &rules)), identities].concat()
}

#[test]
fn bft_uses_the_batch_timeout_parameter() {
    let orderer = root(&Parameters {
        batch_timeout_ms: 750,
        batch_messages: 7,
        ..bft(4)
    })
    .groups
    .remove(ORDERER)
    .expect("orderer");
    let ConsensusType {
        r#type,
        metadata,
        state,
    } = ConsensusType::decode(&orderer.values[CONSENSUS].value[..]).expect("consensus");
    assert_eq!((r#type.as_str(), state), ("BFT", 0));
    let options = BftOptions::decode(&metadata[..]).expect("options");
    assert_eq!(options.request_batch_max_interval, "750ms");
    // Fabric reads both from BatchSize.
    assert_eq!(
        (options.request_batch_max_count, options.request_batch_max_bytes),
        (0, 0)
    );
    assert_eq!(
        BatchSize::decode(&orderer.values[BATCH_SIZE].value[..])
            .expect("size")
            .max_message_count,
        7
    );
    // Rules of SmartBFT: `pkg/types/config.go`, `Validate`.
    let time = |text: &str| crate::fabric::config::duration::read(text).expect("a duration");
    assert!(time(&options.request_forward_timeout) <= time(&options.request_complain_timeout));
    assert!(time(&options.request_complain_timeout) <= time(&options.request_auto_remove_timeout));
    assert!(time(&options.view_change_resend_interval) <= time(&options.view_change_timeout));
    assert_eq!(
        (options.leader_rotation(), options.decisions_per_leader),
        (crate::fabric::proto::orderer::Rotation::Off, 0)
    );
}

#[test]
fn a_genesis_block_has_number_0_and_the_hash_of_its_data() {
    let block = made(&parameters());
    let data = block.data.clone().expect("data").data;
    let BlockHeader {
        number,
        previous_hash,
        data_hash,
    } = block.header.clone().expect("a header");
    assert_eq!(
        (number, &previous_hash[..], data_hash),
        (0, &b""[..], Sha256::digest(&data[0]).to_vec())
    );
    let metadata = block.metadata.clone().expect("metadata").metadata;
    assert_eq!(metadata, [&b"\x0a\x02\x0a\x00"[..], b"", b"", b"", b""]);
    assert_eq!(Block::decode(&block.encode_to_vec()[..]), Ok(block));
}

#[test]
fn a_header_names_the_channel_and_the_transaction() {
    let (payload, _) = opened(&made(&parameters()));
    let Header {
        channel_header,
        signature_header,
    } = payload.header.expect("a header");
    let SignatureHeader { creator, nonce } =
        SignatureHeader::decode(&signature_header[..]).expect("a signature header");
    assert_eq!((creator, nonce), (vec![], vec![5; 24]));
    let expected = ChannelHeader {
        r#type: 1,
        version: 1,
        timestamp: Some(Timestamp {
            seconds: 1_795_000_000,
            nanos: 123_000_000,
        }),
        channel_id: "main".to_owned(),
        tx_id: hex::encode(Sha256::digest([5; 24])),
        ..ChannelHeader::default()
    };
    assert_eq!(ChannelHeader::decode(&channel_header[..]), Ok(expected));
}

#[test]
fn blocks_fit_networks_of_every_size() {
    let largest = made(&Parameters {
        organisations: 8,
        peers: 4,
        ..bft(7)
    });
    assert!(
        largest.encoded_len() < 1024 * 1024,
        "an orderer accepts a genesis block of at most 1 MB"
    );
    for (organisations, peers, orderers) in [(1, 1, 1), (2, 1, 3), (8, 4, 5)] {
        let parameters = Parameters {
            organisations,
            peers,
            orderers,
            ..Parameters::default()
        };
        let block = made(&parameters);
        assert!(
            block.encoded_len() < 1024 * 1024,
            "an orderer accepts a genesis block of at most 1 MB"
        );
        let root = opened(&block).1.channel_group.expect("a group");
        let (orderer, application) = (&root.groups["Orderer"], &root.groups["Application"]);
        assert_eq!(
            application.groups.keys().cloned().collect::<Vec<_>>(),
            (1..=organisations).map(|n| format!("org{n}")).collect::<Vec<_>>()
        );
        let consensus = ConsensusType::decode(&orderer.values["ConsensusType"].value[..]).expect("consensus");
        let consenters = RaftMetadata::decode(&consensus.metadata[..])
            .expect("metadata")
            .consenters;
        assert_eq!(consenters.len(), usize::from(orderers));
        let certificates: std::collections::BTreeSet<_> =
            consenters.iter().map(|c| c.server_tls_cert.clone()).collect();
        assert_eq!(
            certificates.len(),
            consenters.len(),
            "Fabric rejects duplicate certificates"
        );
    }
}

/// Tests of `make test-full`.
mod full {
    use super::*;

    /// Needs `FABRIC_TOOLS`, the folder that `scripts/fabric-tools.sh` prints.
    #[test]
    fn configtxgen_reads_the_block() {
        let tools = std::env::var("FABRIC_TOOLS")
            .expect("FABRIC_TOOLS names the folder that scripts/fabric-tools.sh prints");
        let folder = tempfile::tempdir().unwrap();
        for parameters in [
            parameters(),
            Parameters {
                organisations: 1,
                ..Parameters::default()
            },
        ] {
            let path = folder.path().join("main.block");
            std::fs::write(&path, made(&parameters).encode_to_vec()).unwrap();
            let output = Command::new(format!("{tools}/bin/configtxgen"))
                .arg("-inspectBlock")
                .arg(&path)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let read: Value = serde_json::from_slice(&output.stdout).unwrap();
            let group = &read["data"]["data"][0]["payload"]["data"]["config"]["channel_group"];
            let names = |of: &Value| {
                of["groups"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
            };
            assert_eq!(names(group), ["Application", "Orderer"]);
            assert_eq!(
                names(&group["groups"]["Application"]).len(),
                usize::from(parameters.organisations)
            );
            let consensus = &group["groups"]["Orderer"]["values"]["ConsensusType"]["value"];
            assert_eq!(consensus["type"], "etcdraft");
            assert_eq!(
                consensus["metadata"]["consenters"].as_array().unwrap().len(),
                usize::from(parameters.orderers)
            );
            let member = &group["groups"]["Application"]["groups"]["org1"];
            assert_eq!(member["values"]["MSP"]["value"]["config"]["name"], "Org1MSP");
            assert_eq!(
                member["values"]["AnchorPeers"]["value"]["anchor_peers"][0]["host"],
                "peer0-org1"
            );
            assert_eq!(
                member["policies"]["Readers"]["policy"]["value"]["identities"][0]["principal"]["role"],
                "ADMIN"
            );
        }
    }
}
