//! `common/common.proto`, `common/policies.proto`: blocks, envelopes, policies.

use prost::{Enumeration, Message, Oneof};

/// Type of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum HeaderType {
    Message = 0,
    Config = 1,
    ConfigUpdate = 2,
    EndorserTransaction = 3,
    DeliverSeekInfo = 5,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Block {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<BlockHeader>,
    #[prost(message, optional, tag = "2")]
    pub(crate) data: Option<BlockData>,
    #[prost(message, optional, tag = "3")]
    pub(crate) metadata: Option<BlockMetadata>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BlockHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) previous_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) data_hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BlockData {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) data: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BlockMetadata {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) metadata: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Metadata {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) value: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) signatures: Vec<MetadataSignature>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MetadataSignature {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) signature_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LastConfig {
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct OrdererBlockMetadata {
    #[prost(message, optional, tag = "1")]
    pub(crate) last_config: Option<LastConfig>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) consenter_metadata: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Payload {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Header {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) channel_header: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature_header: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChannelHeader {
    #[prost(enumeration = "HeaderType", tag = "1")]
    pub(crate) r#type: i32,
    #[prost(int32, tag = "2")]
    pub(crate) version: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(string, tag = "4")]
    pub(crate) channel_id: String,
    #[prost(string, tag = "5")]
    pub(crate) tx_id: String,
    #[prost(uint64, tag = "6")]
    pub(crate) epoch: u64,
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) extension: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    pub(crate) tls_cert_hash: Vec<u8>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SignatureHeader {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) creator: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) nonce: Vec<u8>,
}

/// Type of a policy's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum PolicyType {
    Unknown = 0,
    Signature = 1,
    Msp = 2,
    ImplicitMeta = 3,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Policy {
    #[prost(enumeration = "PolicyType", tag = "1")]
    pub(crate) r#type: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// Number of sub-policies that must be satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum Rule {
    Any = 0,
    All = 1,
    Majority = 2,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ImplicitMetaPolicy {
    #[prost(string, tag = "1")]
    pub(crate) sub_policy: String,
    #[prost(enumeration = "Rule", tag = "2")]
    pub(crate) rule: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SignaturePolicyEnvelope {
    #[prost(int32, tag = "1")]
    pub(crate) version: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) rule: Option<SignaturePolicy>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) identities: Vec<super::msp::MspPrincipal>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SignaturePolicy {
    #[prost(oneof = "SignatureRule", tags = "1, 2")]
    pub(crate) r#type: Option<SignatureRule>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum SignatureRule {
    #[prost(int32, tag = "1")]
    SignedBy(i32),
    #[prost(message, tag = "2")]
    NOutOf(NOutOf),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NOutOf {
    #[prost(int32, tag = "1")]
    pub(crate) n: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) rules: Vec<SignaturePolicy>,
}

/// `common.Status` of orderers and deliver services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum Status {
    Unknown = 0,
    Success = 200,
    BadRequest = 400,
    Forbidden = 403,
    NotFound = 404,
    RequestEntityTooLarge = 413,
    InternalServerError = 500,
    NotImplemented = 501,
    ServiceUnavailable = 503,
}
