//! How orderers agree. What differs from one way to another in more than the first block is told here, as values.
//!
//! By Raft the leader counts who hears it. By BFT nobody counts: every orderer keeps a request until it is in a block, follows
//! the leader of the view that it is in, and complains of one that does nothing. So what counts there is how many orderers follow
//! the same leader, and a request goes to all of them, as Fabric's own gateway hands it over (3.1: `internal/pkg/gateway/submit.go`).

use super::version::Version;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// How many orderers BFT is offered with: the fewest of which one may lie, and of which two may.
const BFT_ORDERERS: RangeInclusive<u64> = 4..=7;

/// A way to agree. Specs of before there was a choice mean Raft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Consensus {
    /// Bears orderers that stop.
    #[default]
    Raft,
    /// Bears orderers that lie.
    Bft,
}

impl Consensus {
    pub(super) const ALL: [Self; 2] = [Self::Raft, Self::Bft];

    /// As parameters write it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Bft => "bft",
        }
    }

    /// As people say it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Raft => "Raft",
            Self::Bft => "BFT",
        }
    }

    /// How many of so many orderers must take part. Fabric 3.1 for BFT: `common/policies/bft.go`, `ComputeBFTQuorum`; the same in
    /// `SmartBFT` (`internal/bft/util.go`, `computeQuorum`).
    pub(super) fn quorum(self, orderers: usize) -> usize {
        match self {
            Self::Raft => orderers / 2 + 1,
            Self::Bft => (orderers + liars(orderers) + 1).div_ceil(2),
        }
    }

    /// How many of so many orderers must have taken a request before it counts as handed over.
    pub(super) fn takers(self, orderers: usize) -> usize {
        match self {
            Self::Raft => 1,
            Self::Bft => self.quorum(orderers),
        }
    }

    /// How long orderers are given to have a leader, and to have all with it: a few elections by Raft. By BFT a leader that fell silent is
    /// given up after ten seconds, and the next one likewise.
    pub(super) fn election_ms(self) -> i64 {
        match self {
            Self::Raft => 12_000,
            Self::Bft => 30_000,
        }
    }

    /// How many blocks an orderer may lack and still take part. One that came back by BFT fetches what it lacks when that is two blocks
    /// or more, so the newest one only with the next (seen with 3.1.5).
    pub(super) fn may_lack(self) -> u64 {
        match self {
            Self::Raft => 0,
            Self::Bft => 1,
        }
    }

    /// Whether transactions are held back while an orderer is taken in: one of Fabric 2.5.0 may stand still else, see `members`.
    pub(super) fn holds_back(self) -> bool {
        self == Self::Raft
    }

    /// Whether a leader notices that it has lost the others, and leads no more.
    pub(super) fn leader_steps_down(self) -> bool {
        self == Self::Raft
    }

    /// Why a version line does not know it.
    pub(super) fn of_version(self, version: Version) -> Result<(), String> {
        match (self, version) {
            (Self::Bft, Version::V2_5) => {
                Err("Fabric 2.5 knows no BFT, its orderers agree by Raft; set version to 3.1, or consensus to raft".to_owned())
            }
            (Self::Raft, _) | (Self::Bft, Version::V3_1) => Ok(()),
        }
    }

    /// Why so many orderers make no sense.
    pub(super) fn of_orderers(self, orderers: u64) -> Result<(), String> {
        let fewer = orderers.saturating_sub(1);
        match self {
            Self::Raft if [1, 3, 5].contains(&orderers) => Ok(()),
            Self::Raft if orderers.is_multiple_of(2) => Err(format!(
                "must be 1, 3 or 5, not {orderers}: Raft orders while more than half of the orderers live, so {orderers} bear no more losses than {fewer}"
            )),
            Self::Raft => Err(format!(
                "must be 1, 3 or 5, not {orderers}: more orderers make Raft slower; only BFT is offered with them"
            )),
            Self::Bft if BFT_ORDERERS.contains(&orderers) => Ok(()),
            Self::Bft => Err(format!(
                "must be 4 to 7, not {orderers}: of 3f+1 orderers BFT bears f that fail or lie, which is none of fewer than 4, 1 of 4 and 2 of 7"
            )),
        }
    }
}

/// How many of so many orderers may lie.
fn liars(orderers: usize) -> usize {
    orderers.saturating_sub(1) / 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_way_is_stored_as_it_is_written() {
        for consensus in Consensus::ALL {
            assert_eq!(json!(consensus), consensus.as_str());
            assert_eq!(
                from_value::<Consensus>(json!(consensus.as_str())).ok(),
                Some(consensus)
            );
        }
    }

    #[test]
    fn a_quorum_is_what_fabric_computes() {
        for (orderers, raft) in [(1, 1), (3, 2), (5, 3)] {
            assert_eq!(
                (Consensus::Raft.quorum(orderers), Consensus::Raft.takers(orderers)),
                (raft, 1),
                "{orderers}"
            );
        }
        for (orderers, bft) in [(4, 3), (5, 4), (6, 4), (7, 5)] {
            assert_eq!(
                (Consensus::Bft.quorum(orderers), Consensus::Bft.takers(orderers)),
                (bft, bft),
                "{orderers}"
            );
        }
    }

    proptest::proptest! {
        /// Any two quorums of BFT have an honest orderer in common, and there is a quorum without those that lie.
        #[test]
        fn two_quorums_meet_in_somebody_honest(orderers in 1usize..200) {
            let quorum = Consensus::Bft.quorum(orderers);
            proptest::prop_assert!(2 * quorum > orderers + liars(orderers));
            proptest::prop_assert!(quorum <= orderers - liars(orderers));
        }
    }
}
