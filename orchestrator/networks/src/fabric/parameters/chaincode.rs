//! Chaincodes as parameters.

use chainpool_agent::NodeName;
use sha2::{Digest, Sha256};

/// A peer names a package's file after label and hash; this keeps the file name short enough.
const CHAINCODE_MAX: usize = 64;

/// Fabric 2.5: `core/chaincode/lifecycle/scc.go`, `systemChaincodeNames`.
const SYSTEM_CHAINCODES: [&str; 5] = ["cscc", "escc", "lscc", "qscc", "vscc"];

/// A chaincode that runs as a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chaincode {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) image: String,
}

impl Chaincode {
    /// Parses `name:version=image` by Fabric's rules.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('=')
            .and_then(|(left, image)| Some((left.split_once(':')?, image)));
        let Some(((name, version), image)) = parts else {
            return Err(format!("{text:?} must be written as name:version=image"));
        };
        let is_name = name
            .split(['-', '_'])
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if !is_name {
            return Err(format!(
                "{name:?} is not a valid chaincode name: use letters and digits with single - or _ between them"
            ));
        }
        if SYSTEM_CHAINCODES.contains(&name) {
            return Err(format!(
                "{name:?} is a system chaincode of Fabric; choose another name"
            ));
        }
        if version.is_empty()
            || !version
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.+-".contains(c))
        {
            return Err(format!(
                "{version:?} is not a valid chaincode version: use letters, digits, _ . + and -"
            ));
        }
        if let Some(long) = [name, version]
            .into_iter()
            .find(|part| part.len() > CHAINCODE_MAX)
        {
            return Err(format!(
                "{long:?} is too long: at most {CHAINCODE_MAX} characters"
            ));
        }
        if image.is_empty()
            || !image
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
        {
            return Err(format!("{image:?} is not a valid image reference"));
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            image: image.to_owned(),
        })
    }

    /// Its node: `cc-<name>`, or with a part of the name's hash if that is not a valid node name.
    pub(crate) fn node(&self) -> NodeName {
        NodeName::parse(&format!("cc-{}", self.name)).unwrap_or_else(|_| {
            let plain: String = self
                .name
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(8)
                .collect();
            let hash = hex::encode(&Sha256::digest(&self.name)[..4]);
            NodeName::parse(&format!("cc-{}-{hash}", plain.to_ascii_lowercase()))
                .expect("20 characters at most, the last a digit of the hash")
        })
    }
}
