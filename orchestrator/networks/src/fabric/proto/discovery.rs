//! `discovery/protocol.proto`: service discovery of endorsers.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SignedRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Request {
    #[prost(message, optional, tag = "1")]
    pub(crate) authentication: Option<AuthInfo>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) queries: Vec<Query>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AuthInfo {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) client_identity: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Query {
    #[prost(string, tag = "1")]
    pub(crate) channel: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) cc_query: Option<ChaincodeQuery>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeQuery {
    #[prost(message, repeated, tag = "1")]
    pub(crate) interests: Vec<ChaincodeInterest>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeInterest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) chaincodes: Vec<ChaincodeCall>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeCall {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Response {
    #[prost(message, repeated, tag = "1")]
    pub(crate) results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct QueryResult {
    #[prost(oneof = "Found", tags = "1, 3")]
    pub(crate) found: Option<Found>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum Found {
    #[prost(message, tag = "1")]
    Error(Error),
    #[prost(message, tag = "3")]
    Chaincodes(ChaincodeQueryResult),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Error {
    #[prost(string, tag = "1")]
    pub(crate) content: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeQueryResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) content: Vec<EndorsementDescriptor>,
}

/// Endorsers; only their existence is used.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct EndorsementDescriptor {
    #[prost(string, tag = "1")]
    pub(crate) chaincode: String,
}
