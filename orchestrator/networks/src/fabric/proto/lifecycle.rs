//! `peer/lifecycle/lifecycle.proto`: chaincode packages and definitions.
//!
//! Empty fields of a definition mean Fabric's defaults: plugins `escc` and `vscc`, and the channel's endorsement
//! policy. Collections stay encoded (`protos.CollectionConfigPackage`), so that they keep all their fields.

use prost::{Message, Oneof};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InstallChaincodeArgs {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) chaincode_install_package: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InstallChaincodeResult {
    #[prost(string, tag = "1")]
    pub(crate) package_id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct QueryInstalledChaincodesArgs {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct QueryInstalledChaincodesResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) installed_chaincodes: Vec<InstalledChaincode>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InstalledChaincode {
    #[prost(string, tag = "1")]
    pub(crate) package_id: String,
    #[prost(string, tag = "2")]
    pub(crate) label: String,
}

/// The field that `ApproveChaincodeDefinitionForMyOrgArgs` has beside those of
/// [`CommitChaincodeDefinitionArgs`].
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ApprovalSource {
    #[prost(message, optional, tag = "9")]
    pub(crate) source: Option<ChaincodeSource>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ChaincodeSource {
    #[prost(oneof = "Source", tags = "2")]
    pub(crate) r#type: Option<Source>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(crate) enum Source {
    #[prost(message, tag = "2")]
    LocalPackage(LocalPackage),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LocalPackage {
    #[prost(string, tag = "1")]
    pub(crate) package_id: String,
}

/// Also used as `CheckCommitReadinessArgs`, which has the same fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CommitChaincodeDefinitionArgs {
    #[prost(int64, tag = "1")]
    pub(crate) sequence: i64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) version: String,
    #[prost(string, tag = "4")]
    pub(crate) endorsement_plugin: String,
    #[prost(string, tag = "5")]
    pub(crate) validation_plugin: String,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) validation_parameter: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(crate) collections: Option<Vec<u8>>,
    #[prost(bool, tag = "8")]
    pub(crate) init_required: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CheckCommitReadinessResult {
    /// Approvals by MSP id.
    #[prost(btree_map = "string, bool", tag = "1")]
    pub(crate) approvals: BTreeMap<String, bool>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct QueryChaincodeDefinitionArgs {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct QueryChaincodeDefinitionResult {
    #[prost(int64, tag = "1")]
    pub(crate) sequence: i64,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, tag = "3")]
    pub(crate) endorsement_plugin: String,
    #[prost(string, tag = "4")]
    pub(crate) validation_plugin: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) validation_parameter: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(crate) collections: Option<Vec<u8>>,
    #[prost(bool, tag = "7")]
    pub(crate) init_required: bool,
    /// Approvals of the committed definition by MSP id.
    #[prost(btree_map = "string, bool", tag = "8")]
    pub(crate) approvals: BTreeMap<String, bool>,
}
