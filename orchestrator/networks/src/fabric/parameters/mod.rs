//! Parameters of Fabric networks.

pub(super) mod chaincode;
pub(super) mod consensus;
pub(super) mod describe;
pub(super) mod state_database;
pub(super) mod validate;
pub(super) mod version;

use crate::fabric::parameters::{
    chaincode::Chaincode, consensus::Consensus, state_database::StateDatabase, version::Version,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Validated parameters. Every field is a parameter of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// The version line of orderers and peers.
    #[serde(default)]
    pub(crate) version: Version,
    /// Consensus protocol of the orderers.
    #[serde(default)]
    pub(crate) consensus: Consensus,
    /// Number of organisations with peers.
    pub(crate) organisations: u16,
    /// Number of peers per organisation.
    pub(crate) peers: u16,
    /// Number of orderers: 1, 3 or 5 with Raft, 4 to 7 with BFT.
    pub(crate) orderers: u16,
    /// The channels' ids.
    pub(crate) channels: Vec<String>,
    /// Chaincodes as a service: `name:version=image`.
    pub(crate) chaincodes: Vec<String>,
    /// Milliseconds after which an incomplete block is cut.
    pub(crate) batch_timeout_ms: u32,
    /// Transactions after which a block is cut.
    pub(crate) batch_messages: u32,
    /// Validity of certificates in days.
    pub(crate) certificate_days: u32,
    /// Run a Fabric CA for each organisation with peers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) certificate_authorities: bool,
    /// State database of the peers.
    #[serde(default, skip_serializing_if = "StateDatabase::is_default")]
    pub(crate) state_database: StateDatabase,
}

/// Two organisations, because a single one needs no ledger. The batch timeout is 200 ms: with the two seconds
/// of Fabric's sample commits appear slow.
impl Default for Parameters {
    fn default() -> Self {
        Self {
            version: Version::default(),
            consensus: Consensus::default(),
            organisations: 2,
            peers: 1,
            orderers: 1,
            channels: vec!["main".to_owned()],
            chaincodes: vec![],
            batch_timeout_ms: 200,
            batch_messages: 500,
            certificate_days: 365,
            certificate_authorities: false,
            state_database: StateDatabase::default(),
        }
    }
}

impl Parameters {
    /// Parses validated parameters.
    pub(crate) fn read(validated: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(validated)
    }

    /// The parsed chaincodes.
    pub(crate) fn chaincodes(&self) -> Vec<Chaincode> {
        self.chaincodes
            .iter()
            .map(|text| Chaincode::parse(text).expect("validated"))
            .collect()
    }
}

#[cfg(test)]
mod tests;
