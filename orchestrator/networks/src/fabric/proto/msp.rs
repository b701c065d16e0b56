//! `msp/msp_config.proto`, `msp/msp_principal.proto`, `msp/identities.proto`: MSPs and identities.

use prost::{Enumeration, Message};

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SerializedIdentity {
    #[prost(string, tag = "1")]
    pub(crate) mspid: String,
    /// The certificate in PEM.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) id_bytes: Vec<u8>,
}

/// Kind of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum Classification {
    Role = 0,
    OrganizationUnit = 1,
    Identity = 2,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MspPrincipal {
    #[prost(enumeration = "Classification", tag = "1")]
    pub(crate) principal_classification: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) principal: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum MspRoleType {
    Member = 0,
    Admin = 1,
    Client = 2,
    Peer = 3,
    Orderer = 4,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MspRole {
    #[prost(string, tag = "1")]
    pub(crate) msp_identifier: String,
    #[prost(enumeration = "MspRoleType", tag = "2")]
    pub(crate) role: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MspConfig {
    /// 0: a Fabric MSP by X.509.
    #[prost(int32, tag = "1")]
    pub(crate) r#type: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) config: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FabricMspConfig {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) root_certs: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "8")]
    pub(crate) crypto_config: Option<FabricCryptoConfig>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(crate) tls_root_certs: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "11")]
    pub(crate) fabric_node_ous: Option<FabricNodeOus>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FabricCryptoConfig {
    #[prost(string, tag = "1")]
    pub(crate) signature_hash_family: String,
    #[prost(string, tag = "2")]
    pub(crate) identity_identifier_hash_function: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FabricNodeOus {
    #[prost(bool, tag = "1")]
    pub(crate) enable: bool,
    #[prost(message, optional, tag = "2")]
    pub(crate) client_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "3")]
    pub(crate) peer_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "4")]
    pub(crate) admin_ou_identifier: Option<FabricOuIdentifier>,
    #[prost(message, optional, tag = "5")]
    pub(crate) orderer_ou_identifier: Option<FabricOuIdentifier>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FabricOuIdentifier {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) certificate: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) organizational_unit_identifier: String,
}
