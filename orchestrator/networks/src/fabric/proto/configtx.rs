//! `common/configtx.proto`, `common/configuration.proto`, `peer/configuration.proto`: the configuration of a
//! channel.

use super::lossless::Lossless;
use prost::Message;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigEnvelope {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<Config>,
    #[prost(message, optional, tag = "2")]
    pub(crate) last_update: Option<super::common::Envelope>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Config {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) channel_group: Option<Lossless<ConfigGroup>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigGroup {
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(crate) groups: BTreeMap<String, Lossless<ConfigGroup>>,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(crate) values: BTreeMap<String, Lossless<ConfigValue>>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(crate) policies: BTreeMap<String, Lossless<ConfigPolicy>>,
    #[prost(string, tag = "5")]
    pub(crate) mod_policy: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigValue {
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) mod_policy: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigPolicy {
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) policy: Option<Lossless<super::common::Policy>>,
    #[prost(string, tag = "3")]
    pub(crate) mod_policy: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigUpdate {
    #[prost(string, tag = "1")]
    pub(crate) channel_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) read_set: Option<Lossless<ConfigGroup>>,
    #[prost(message, optional, tag = "3")]
    pub(crate) write_set: Option<Lossless<ConfigGroup>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigUpdateEnvelope {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) config_update: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) signatures: Vec<ConfigSignature>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ConfigSignature {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) signature_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct HashingAlgorithm {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct BlockDataHashingStructure {
    #[prost(uint32, tag = "1")]
    pub(crate) width: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct OrdererAddresses {
    #[prost(string, repeated, tag = "1")]
    pub(crate) addresses: Vec<String>,
}

/// Consenter mapping of BFT.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Orderers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) consenter_mapping: Vec<Lossless<Consenter>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Consenter {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(string, tag = "2")]
    pub(crate) host: String,
    #[prost(uint32, tag = "3")]
    pub(crate) port: u32,
    #[prost(string, tag = "4")]
    pub(crate) msp_id: String,
    /// The enrolment certificate in PEM.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) identity: Vec<u8>,
    /// PEM.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) client_tls_cert: Vec<u8>,
    /// PEM.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) server_tls_cert: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
#[expect(clippy::zero_sized_map_values, reason = "it is a map on the wire")]
pub(crate) struct Capabilities {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) capabilities: BTreeMap<String, Capability>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Capability {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AnchorPeers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) anchor_peers: Vec<AnchorPeer>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AnchorPeer {
    #[prost(string, tag = "1")]
    pub(crate) host: String,
    #[prost(int32, tag = "2")]
    pub(crate) port: i32,
}
