//! Fabric's version lines and their differences.

use super::organisation::Role;
use serde::{Deserialize, Serialize};

/// A version line. Specs without one are 2.5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    /// Long-term support.
    #[default]
    #[serde(rename = "2.5")]
    V2_5,
    /// The newest.
    #[serde(rename = "3.1")]
    V3_1,
}

impl Version {
    pub(super) const ALL: [Self; 2] = [Self::V2_5, Self::V3_1];

    /// Parameter value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V2_5 => "2.5",
            Self::V3_1 => "3.1",
        }
    }

    /// Role of these nodes in image overrides.
    pub(super) fn role(self, role: Role) -> String {
        match self {
            Self::V2_5 => role.as_str().to_owned(),
            Self::V3_1 => format!("{}-{}", role.as_str(), self.as_str()),
        }
    }

    /// Suitable images: the official one, then the one built by `baseimage/`, which exists only for 2.5.
    pub(super) fn images(self, role: Role) -> Vec<String> {
        let role = role.as_str();
        match self {
            Self::V2_5 => vec![
                format!("hyperledger/fabric-{role}:2.5.16"),
                format!("chainpool/fabric-{role}:2.5.0"),
            ],
            Self::V3_1 => vec![format!("hyperledger/fabric-{role}:3.1.5")],
        }
    }

    /// Channel capability. Fabric 3.1: `sampleconfig/configtx.yaml`; BFT needs the newer one
    /// (`internal/configtxgen/encoder`, `NewOrdererGroup`).
    pub(super) fn channel_capability(self) -> &'static str {
        match self {
            Self::V2_5 => "V2_0",
            Self::V3_1 => "V3_0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_version_is_stored_as_its_parameter_value() {
        for version in Version::ALL {
            assert_eq!(json!(version), version.as_str());
            assert_eq!(from_value::<Version>(json!(version.as_str())).ok(), Some(version));
        }
    }

    #[test]
    fn each_version_line_has_its_own_images() {
        assert_eq!(
            Version::V2_5.images(Role::Peer),
            ["hyperledger/fabric-peer:2.5.16", "chainpool/fabric-peer:2.5.0"]
        );
        assert_eq!(
            Version::V3_1.images(Role::Orderer),
            ["hyperledger/fabric-orderer:3.1.5"]
        );
        assert_eq!(
            Version::ALL.map(|version| version.role(Role::Orderer)),
            ["orderer", "orderer-3.1"]
        );
    }
}
