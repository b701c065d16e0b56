//! Fabric's version lines and their differences.

use serde::{Deserialize, Serialize};

/// A version line. Specs without one are 2.5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    /// Long-term support.
    #[default]
    #[serde(rename = "2.5")]
    V2_5,
    /// The newest.
    #[serde(rename = "3.1")]
    V3_1,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V2_5, Self::V3_1];

    /// Parameter value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V2_5 => "2.5",
            Self::V3_1 => "3.1",
        }
    }

    /// Channel capability. Fabric 3.1: `sampleconfig/configtx.yaml`; BFT needs the newer one
    /// (`internal/configtxgen/encoder`, `NewOrdererGroup`).
    pub(crate) fn channel_capability(self) -> &'static str {
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
}
