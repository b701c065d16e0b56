//! Suitable images of nodes by role.

use crate::fabric::{
    model::role::{self, Role},
    parameters::version::Version,
};
use std::collections::BTreeMap;

/// Suitable images by role.
pub(crate) fn images() -> BTreeMap<String, Vec<String>> {
    let of = |version: Version| {
        [Role::Orderer, Role::Peer].map(|role| (node_role(version, role), node(version, role)))
    };
    Version::ALL
        .into_iter()
        .flat_map(of)
        .chain([(role::CA.to_owned(), ca()), (COUCHDB.to_owned(), database())])
        .collect()
}

/// Suitable images: the official one, then the one built by `baseimage/`.
pub(crate) fn ca() -> Vec<String> {
    ["hyperledger/fabric-ca:1.5.21", "chainpool/fabric-ca:1.5.6"]
        .map(str::to_owned)
        .to_vec()
}

/// Role of a `CouchDB` in image overrides.
pub(crate) const COUCHDB: &str = "couchdb";

/// Suitable images. Chainpool builds none: `CouchDB` is in no package registry.
pub(crate) fn database() -> Vec<String> {
    vec!["couchdb:3.4.2".to_owned()]
}

/// Role of an orderer or peer of this version line in image overrides.
pub(crate) fn node_role(version: Version, role: Role) -> String {
    match version {
        Version::V2_5 => role.as_str().to_owned(),
        Version::V3_1 => format!("{}-{}", role.as_str(), version.as_str()),
    }
}

/// Suitable images of an orderer or peer: the official one, then the one built by `baseimage/`, which exists
/// only for 2.5.
pub(crate) fn node(version: Version, role: Role) -> Vec<String> {
    let role = role.as_str();
    match version {
        Version::V2_5 => vec![
            format!("hyperledger/fabric-{role}:2.5.16"),
            format!("chainpool/fabric-{role}:2.5.0"),
        ],
        Version::V3_1 => vec![format!("hyperledger/fabric-{role}:3.1.5")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_line_has_its_own_images() {
        assert_eq!(
            node(Version::V2_5, Role::Peer),
            ["hyperledger/fabric-peer:2.5.16", "chainpool/fabric-peer:2.5.0"]
        );
        assert_eq!(
            node(Version::V3_1, Role::Orderer),
            ["hyperledger/fabric-orderer:3.1.5"]
        );
        assert_eq!(
            Version::ALL.map(|version| node_role(version, Role::Orderer)),
            ["orderer", "orderer-3.1"]
        );
    }
}
