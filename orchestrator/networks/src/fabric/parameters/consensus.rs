//! Consensus protocols of orderers and their differences beyond the genesis block.
//!
//! A Raft leader counts its active followers. With BFT no node counts: every orderer keeps a request until it
//! is in a block, follows the leader of its view, and complains about an idle leader. So health depends on
//! how many orderers follow the same leader, and a request goes to all of them, as Fabric's own gateway does
//! (3.1: `internal/pkg/gateway/submit.go`).

use crate::fabric::parameters::version::Version;
use chainpool_health::Fabric;
use serde::{Deserialize, Serialize};
use std::{ops::RangeInclusive, time::Duration};

/// Supported numbers of BFT orderers: from the minimum for one Byzantine orderer to the minimum for two.
const BFT_ORDERERS: RangeInclusive<u64> = 4..=7;

/// A consensus protocol. Specs without one are Raft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Consensus {
    /// Tolerates crashed orderers.
    #[default]
    Raft,
    /// Tolerates Byzantine orderers.
    Bft,
}

impl Consensus {
    pub(crate) const ALL: [Self; 2] = [Self::Raft, Self::Bft];

    /// Parameter value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Bft => "bft",
        }
    }

    /// Display name.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Raft => "Raft",
            Self::Bft => "BFT",
        }
    }

    /// Quorum of this number of orderers. Fabric 3.1 for BFT: `common/policies/bft.go`, `ComputeBFTQuorum`;
    /// the same in `SmartBFT` (`internal/bft/util.go`, `computeQuorum`).
    pub(crate) fn quorum(self, orderers: usize) -> usize {
        match self {
            Self::Raft => orderers / 2 + 1,
            Self::Bft => (orderers + max_faulty(orderers) + 1).div_ceil(2),
        }
    }

    /// Number of orderers that must accept a request.
    pub(crate) fn required_acks(self, orderers: usize) -> usize {
        match self {
            Self::Raft => 1,
            Self::Bft => self.quorum(orderers),
        }
    }

    /// Time for orderers to elect a leader that all follow: a few Raft elections. BFT replaces an
    /// unresponsive leader after ten seconds, and again if the next one is unresponsive too.
    pub(crate) fn election(self, policy: &Fabric) -> Duration {
        match self {
            Self::Raft => policy.raft_election,
            Self::Bft => policy.bft_election,
        }
    }

    /// Number of blocks that a participating orderer may lack. A reconnected BFT orderer fetches blocks only
    /// when it lacks two or more, so it gets the newest one together with the next (observed with 3.1.5).
    pub(crate) fn tolerated_lag(self) -> u64 {
        match self {
            Self::Raft => 0,
            Self::Bft => 1,
        }
    }

    /// Block cutting is suspended while an orderer joins; otherwise an orderer of Fabric 2.5.0 may stall, see
    /// `lifecycle::members`.
    pub(crate) fn suspends_batching(self) -> bool {
        self == Self::Raft
    }

    /// A leader steps down when it loses its followers.
    pub(crate) fn leader_steps_down(self) -> bool {
        self == Self::Raft
    }

    /// Checks that a version line supports the protocol.
    pub(crate) fn check_version(self, version: Version) -> Result<(), String> {
        match (self, version) {
            (Self::Bft, Version::V2_5) => {
                Err("Fabric 2.5 does not support BFT; set version to 3.1 or consensus to raft".to_owned())
            }
            (Self::Raft, _) | (Self::Bft, Version::V3_1) => Ok(()),
        }
    }

    /// Checks the number of orderers.
    pub(crate) fn check_orderer_count(self, orderers: u64) -> Result<(), String> {
        let fewer = orderers.saturating_sub(1);
        match self {
            Self::Raft if [1, 3, 5].contains(&orderers) => Ok(()),
            Self::Raft if orderers.is_multiple_of(2) => Err(format!(
                "must be 1, 3 or 5, not {orderers}: Raft needs a majority of the orderers, so {orderers} tolerate no more failures than {fewer}"
            )),
            Self::Raft => Err(format!(
                "must be 1, 3 or 5, not {orderers}: more orderers slow Raft down; use BFT for more"
            )),
            Self::Bft if BFT_ORDERERS.contains(&orderers) => Ok(()),
            Self::Bft => Err(format!(
                "must be 4 to 7, not {orderers}: BFT needs 3f+1 orderers to tolerate f Byzantine ones: 4 for one, 7 for two"
            )),
        }
    }
}

/// Maximum number of Byzantine orderers.
fn max_faulty(orderers: usize) -> usize {
    orderers.saturating_sub(1) / 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_protocol_is_stored_as_its_parameter_value() {
        for consensus in Consensus::ALL {
            assert_eq!(json!(consensus), consensus.as_str());
            assert_eq!(
                from_value::<Consensus>(json!(consensus.as_str())).ok(),
                Some(consensus)
            );
        }
    }

    #[test]
    fn quorums_match_fabric() {
        for (orderers, raft) in [(1, 1), (3, 2), (5, 3)] {
            assert_eq!(
                (
                    Consensus::Raft.quorum(orderers),
                    Consensus::Raft.required_acks(orderers)
                ),
                (raft, 1),
                "{orderers}"
            );
        }
        for (orderers, bft) in [(4, 3), (5, 4), (6, 4), (7, 5)] {
            assert_eq!(
                (
                    Consensus::Bft.quorum(orderers),
                    Consensus::Bft.required_acks(orderers)
                ),
                (bft, bft),
                "{orderers}"
            );
        }
    }

    proptest::proptest! {
        /// Any two BFT quorums share an honest orderer, and the honest orderers form a quorum.
        #[test]
        fn two_bft_quorums_share_an_honest_orderer(orderers in 1usize..200) {
            let quorum = Consensus::Bft.quorum(orderers);
            proptest::prop_assert!(2 * quorum > orderers + max_faulty(orderers));
            proptest::prop_assert!(quorum <= orderers - max_faulty(orderers));
        }
    }
}
