//! Raft part of a channel's configuration. Pure.

use crate::fabric::{
    model::ports::ORDERER_PORT,
    organisations::organisation::OrganisationKeys,
    proto::orderer::{RaftConsenter, RaftMetadata, RaftOptions},
};
use chainpool_agent::NodeName;

/// A Raft consenter; the others identify it by the key of its TLS certificate.
pub(crate) fn consenter(node: &NodeName, certificate: &str) -> RaftConsenter {
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
pub(crate) fn raft(ordering: &OrganisationKeys) -> RaftMetadata {
    RaftMetadata {
        consenters: ordering
            .members
            .iter()
            .map(|member| consenter(&member.name, &member.tls.certificate).into())
            .collect(),
        options: Some(
            RaftOptions {
                tick_interval: "100ms".to_owned(),
                election_tick: 20,
                heartbeat_tick: 1,
                max_inflight_blocks: 5,
                snapshot_interval_size: 16 * 1024 * 1024,
            }
            .into(),
        ),
    }
}
