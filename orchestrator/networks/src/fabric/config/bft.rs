//! BFT part of a channel's configuration. Pure.
//!
//! Fabric 3.1: `internal/configtxgen/encoder/encoder.go`, `NewOrdererGroup`; `common/policies/bft.go`;
//! `sampleconfig/configtx.yaml`, `SampleAppChannelSmartBft`. At every configuration change orderers recompute
//! the block validation policy from the consenters and compare it byte by byte
//! (`orderer/consensus/smartbft/configverifier.go`, `checkConsentersMatchPolicy`).

use crate::fabric::{
    config::policies::signatures,
    model::{files::Certificates, ports::ORDERER_PORT},
    organisations::{member::Member, organisation::OrganisationKeys},
    parameters::consensus::Consensus,
    proto::{
        common::Policy,
        configtx::{Consenter, Orderers},
        lossless::Lossless,
        msp::{Classification, MspPrincipal, SerializedIdentity},
        orderer::{BftOptions, ConsensusType, Rotation},
    },
};
use chainpool_agent::NodeName;
use prost::Message;

/// Name of the consenter mapping in the configuration.
pub(crate) const ORDERERS: &str = "Orderers";

/// How long the leader may delay a request beyond the batch timeout.
const REQUEST_TIMEOUT_S: u32 = 8;

/// BFT with the options of Fabric's sample except for times. The batch timeout counts here and not in
/// `BatchTimeout`; the block size comes from `BatchSize` (`orderer/consensus/smartbft/util.go`,
/// `createSmartBftConfig`). Leader rotation must be off in this version.
///
/// Orderers replace an unresponsive leader after ten seconds, where the sample has a minute; the leader sends
/// ten heartbeats in that time. A reconnected orderer learns from them which blocks it lacks and fetches them
/// ten seconds later (`SmartBFT`'s `heartbeatmonitor.go`). Fetching at the start (`SyncOnStart`) would delay
/// a new channel by five seconds.
pub(crate) fn consensus(batch_timeout_ms: u32) -> ConsensusType {
    let text = str::to_owned;
    let options = BftOptions {
        request_batch_max_interval: format!("{batch_timeout_ms}ms"),
        incoming_message_buffer_size: 200,
        request_pool_size: 100_000,
        request_forward_timeout: text("1s"),
        request_complain_timeout: format!("{}ms", REQUEST_TIMEOUT_S * 1000 + batch_timeout_ms),
        request_auto_remove_timeout: text("3m0s"),
        view_change_resend_interval: text("2s"),
        view_change_timeout: text("10s"),
        leader_heartbeat_timeout: text("10s"),
        leader_heartbeat_count: 10,
        collect_timeout: text("1s"),
        leader_rotation: Rotation::Off.into(),
        ..BftOptions::default()
    };
    ConsensusType {
        r#type: "BFT".to_owned(),
        metadata: options.encode_to_vec(),
        state: 0,
    }
}

/// The consenters. Each has an id, from 1, in the order of the model's nodes; metrics report the leader by
/// it. Orderers identify each other by the keys in the certificates (3.1.5: `CompareCertPublicKeys`,
/// `detectSelfID`), so new certificates for the same keys need no update.
pub(crate) fn orderers(ordering: &OrganisationKeys) -> Orderers {
    let one = |(member, id): (&Member, u32)| {
        consenter(id, &member.name, &member.certificates(), &ordering.msp).into()
    };
    Orderers {
        consenter_mapping: ordering.members.iter().zip(1..).map(one).collect(),
    }
}

/// A consenter.
pub(crate) fn consenter(id: u32, node: &NodeName, certificates: &Certificates, msp: &str) -> Consenter {
    let Certificates { enrolment, tls } = certificates;
    Consenter {
        id,
        host: node.to_string(),
        port: ORDERER_PORT.into(),
        msp_id: msp.to_owned(),
        identity: enrolment.clone().into_bytes(),
        client_tls_cert: tls.clone().into_bytes(),
        server_tls_cert: tls.clone().into_bytes(),
    }
}

/// The block validation policy: signatures of a quorum of the orderers, each by its own identity.
pub(crate) fn block_validation(orderers: &Orderers) -> Policy {
    let identity = |consenter: &Lossless<Consenter>| MspPrincipal {
        principal_classification: Classification::Identity.into(),
        principal: SerializedIdentity {
            mspid: consenter.msp_id.clone(),
            id_bytes: consenter.identity.clone(),
        }
        .encode_to_vec(),
    };
    let consenters = &orderers.consenter_mapping;
    signatures(
        Consensus::Bft.quorum(consenters.len()),
        consenters.iter().map(identity).collect(),
    )
}
