//! What a channel that is ordered by BFT has in its first block. Pure.
//!
//! By Fabric 3.1: `internal/configtxgen/encoder/encoder.go`, `NewOrdererGroup`; `common/policies/bft.go`; `sampleconfig/configtx.yaml`,
//! `SampleAppChannelSmartBft`. At every change of the configuration orderers compute the policy of blocks anew from the consenters
//! and want the very bytes (`orderer/consensus/smartbft/configverifier.go`, `checkConsentersMatchPolicy`).

use super::{
    consensus::Consensus,
    genesis::signatures,
    organisation::{Keyed, Member},
    proto::{
        configtx::{ConfigPolicy, Consenter, Orderers},
        msp::{Classification, MspPrincipal, SerializedIdentity},
        orderer::{BftOptions, ConsensusType, Rotation},
    },
    render::{Certificates, ORDERER_PORT},
};
use chainpool_agent::NodeName;
use prost::Message;

/// The name in the configuration of who takes part.
pub(super) const ORDERERS: &str = "Orderers";

/// How long the leader may leave a request lying that it could order, beside the time that a block may wait to be filled.
const LYING_S: u32 = 8;

/// BFT with the options of Fabric's own sample, but for times. How long a block may wait to be filled counts here, and not in `BatchTimeout`;
/// how large it may be is taken from `BatchSize` (`orderer/consensus/smartbft/util.go`, `createSmartBftConfig`). Leaders must not rotate in
/// this version.
///
/// A leader that falls silent is given up after ten seconds, where the sample has a minute; it tells of itself ten times as often. An
/// orderer that came back hears by that what it lacks, and fetches it ten seconds later (`SmartBFT`'s `heartbeatmonitor.go`). To fetch
/// it at the start (`SyncOnStart`) makes a new channel wait five seconds for nothing.
pub(super) fn consensus(batch_timeout_ms: u32) -> ConsensusType {
    let text = str::to_owned;
    let options = BftOptions {
        request_batch_max_interval: format!("{batch_timeout_ms}ms"),
        incoming_message_buffer_size: 200,
        request_pool_size: 100_000,
        request_forward_timeout: text("1s"),
        request_complain_timeout: format!("{}ms", LYING_S * 1000 + batch_timeout_ms),
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

/// Who takes part. Each has a number, from 1, in the order of the facts' nodes: metrics tell the leader by it. Others know it by the
/// keys in its certificates (3.1.5: `CompareCertPublicKeys`, `detectSelfID`), so new ones for the same keys need no update.
pub(super) fn orderers(ordering: &Keyed) -> Orderers {
    let one =
        |(member, id): (&Member, u32)| consenter(id, &member.name, &member.certificates(), &ordering.msp);
    Orderers {
        consenter_mapping: ordering.members.iter().zip(1..).map(one).collect(),
    }
}

/// One of them.
pub(super) fn consenter(id: u32, node: &NodeName, certificates: &Certificates, msp: &str) -> Consenter {
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

/// A block counts that a quorum of the orderers has signed, each by its own identity.
pub(super) fn block_validation(orderers: &Orderers) -> ConfigPolicy {
    let identity = |consenter: &Consenter| MspPrincipal {
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
