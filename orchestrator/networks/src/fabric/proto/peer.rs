//! `peer/proposal.proto`, `peer/proposal_response.proto`, `peer/transaction.proto`, `peer/chaincode.proto`,
//! `peer/query.proto`, `common/ledger.proto`: proposals, responses, and transactions.

use super::{common::Timestamp, lossless::Lossless};
use prost::Message;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SignedProposal {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) proposal_bytes: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Proposal {
    /// A `common::Header`.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) header: Vec<u8>,
    /// A [`ChaincodeProposalPayload`].
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeHeaderExtension {
    #[prost(message, optional, tag = "2")]
    pub(crate) chaincode_id: Option<ChaincodeId>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeId {
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}

/// Without the transient map: it is not used, and a transaction must not hold it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeProposalPayload {
    /// A [`ChaincodeInvocationSpec`].
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) input: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeInvocationSpec {
    #[prost(message, optional, tag = "1")]
    pub(crate) chaincode_spec: Option<ChaincodeSpec>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeSpec {
    /// 1: Go. Peers ignore it.
    #[prost(int32, tag = "1")]
    pub(crate) r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) chaincode_id: Option<ChaincodeId>,
    #[prost(message, optional, tag = "3")]
    pub(crate) input: Option<ChaincodeInput>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeInput {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) args: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ProposalResponse {
    #[prost(int32, tag = "1")]
    pub(crate) version: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    pub(crate) response: Option<Response>,
    /// A `ProposalResponsePayload`; passed on unchanged.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) payload: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub(crate) endorsement: Option<Lossless<Endorsement>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Response {
    /// Like HTTP status codes.
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Endorsement {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) endorser: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Transaction {
    #[prost(message, repeated, tag = "1")]
    pub(crate) actions: Vec<TransactionAction>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TransactionAction {
    /// A `common::SignatureHeader`.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) header: Vec<u8>,
    /// A [`ChaincodeActionPayload`].
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeActionPayload {
    /// A [`ChaincodeProposalPayload`].
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) chaincode_proposal_payload: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(crate) action: Option<ChaincodeEndorsedAction>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeEndorsedAction {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) proposal_response_payload: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) endorsements: Vec<Lossless<Endorsement>>,
}

/// Response of `cscc` `GetChannels`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChannelQueryResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) channels: Vec<ChannelInfo>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChannelInfo {
    #[prost(string, tag = "1")]
    pub(crate) channel_id: String,
}

/// Response of `qscc` `GetChainInfo`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct BlockchainInfo {
    /// The number of blocks.
    #[prost(uint64, tag = "1")]
    pub(crate) height: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) current_block_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) previous_block_hash: Vec<u8>,
}
