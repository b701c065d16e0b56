//! MSP of an organisation, as a folder of files and as part of a channel's configuration.
//!
//! Formats of Fabric 2.5: `msp/configbuilder.go`, `msp/mspimplsetup.go`.

use crate::fabric::proto::msp::{
    FabricCryptoConfig, FabricMspConfig, FabricNodeOus, FabricOuIdentifier, MspConfig,
};
use prost::Message;

/// Path of the enrolment authority's certificate in an MSP folder.
const CA: &str = "cacerts/ca.pem";

/// The roles that a certificate's organisational unit may name.
const ROLES: [&str; 4] = ["client", "peer", "admin", "orderer"];

/// Content of `config.yaml`: a certificate's organisational unit is the holder's role.
pub(crate) fn config_yaml() -> String {
    let unit = |role: &str| {
        let (first, rest) = role.split_at(1);
        let key = first.to_ascii_uppercase() + rest;
        format!("  {key}OUIdentifier:\n    Certificate: {CA}\n    OrganizationalUnitIdentifier: {role}\n")
    };
    format!("NodeOUs:\n  Enable: true\n{}", ROLES.map(unit).concat())
}

/// Public files of an identity's MSP folder, by path. The key goes to [`KEY`].
pub(crate) fn files(ca: &str, tls_ca: &str, certificate: &str) -> Vec<(&'static str, String)> {
    vec![
        (CA, ca.to_owned()),
        ("tlscacerts/tlsca.pem", tls_ca.to_owned()),
        (CERTIFICATE, certificate.to_owned()),
        ("config.yaml", config_yaml()),
    ]
}

/// Path of the identity's certificate in an MSP folder.
pub(crate) const CERTIFICATE: &str = "signcerts/cert.pem";

/// Path of the key in an MSP folder. The file name is arbitrary: a node searches the key of its certificate.
pub(crate) const KEY: &str = "keystore/key.pem";

/// An organisation's MSP for a channel's configuration.
pub(crate) fn config(msp: &str, ca: &str, tls_ca: &str) -> MspConfig {
    let unit = |role: &str| {
        Some(FabricOuIdentifier {
            certificate: ca.as_bytes().to_vec(),
            organizational_unit_identifier: role.to_owned(),
        })
    };
    let [client, peer, admin, orderer] = ROLES.map(unit);
    let config = FabricMspConfig {
        name: msp.to_owned(),
        root_certs: vec![ca.as_bytes().to_vec()],
        crypto_config: Some(FabricCryptoConfig {
            signature_hash_family: "SHA2".to_owned(),
            identity_identifier_hash_function: "SHA256".to_owned(),
        }),
        tls_root_certs: vec![tls_ca.as_bytes().to_vec()],
        fabric_node_ous: Some(FabricNodeOus {
            enable: true,
            client_ou_identifier: client,
            peer_ou_identifier: peer,
            admin_ou_identifier: admin,
            orderer_ou_identifier: orderer,
        }),
    };
    MspConfig {
        r#type: 0,
        config: config.encode_to_vec(),
    }
}
