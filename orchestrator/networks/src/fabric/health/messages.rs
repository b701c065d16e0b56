//! Texts of verdict reasons.

use crate::fabric::parameters::consensus::Consensus;
use chainpool_api::{NodeEvidence, ProcessState};

/// An unavailable node with its process state.
pub(crate) fn node(name: &str, node: &NodeEvidence) -> String {
    match &node.process {
        ProcessState::Running if node.stuck => format!("{name} is running but stalled"),
        ProcessState::Running => format!("{name} is running but unresponsive"),
        process => format!("{name} {process}"),
    }
}

/// A responsive peer that is not functional. The peer's own text is left out because it changes between
/// probes.
pub(crate) fn unable(name: &str, why: &str) -> String {
    if why.starts_with(HEALTH_UNKNOWN) {
        format!("{name} does not report the health of its state database")
    } else {
        format!("{name} cannot reach its state database")
    }
}

/// Prefix of the reason if a peer does not report its health.
pub(crate) const HEALTH_UNKNOWN: &str = "health unknown";

/// Number of further orderer failures that the network tolerates.
pub(crate) fn margin(consensus: Consensus, answering: usize, total: usize) -> String {
    match answering.saturating_sub(consensus.quorum(total)) {
        0 if total == 1 => "no orderer failure tolerated".to_owned(),
        0 => "no further orderer failure tolerated".to_owned(),
        1 => "1 further orderer failure tolerated".to_owned(),
        more => format!("{more} further orderer failures tolerated"),
    }
}

/// The consequence of too few orderers.
pub(crate) fn quorum_lost(consensus: Consensus) -> &'static str {
    match consensus {
        Consensus::Raft => "no Raft leader",
        Consensus::Bft => "no BFT quorum",
    }
}

/// Too few of the orderers follow the leader.
pub(crate) fn following(consensus: Consensus, following: impl std::fmt::Display, of: &str) -> String {
    match consensus {
        Consensus::Raft => format!("the leader reaches {following} of {of}"),
        Consensus::Bft => format!("{following} of {of} follow the leader"),
    }
}

/// A leader without a quorum.
pub(crate) fn not_following(consensus: Consensus, leader: &str, channel: &str) -> String {
    match consensus {
        Consensus::Raft => {
            format!("{leader} leads channel {channel} but reaches too few orderers")
        }
        Consensus::Bft => {
            format!("{leader} leads channel {channel} but too few orderers follow it")
        }
    }
}

/// All nodes are available again, but the recovery is not confirmed yet.
pub(crate) fn recovery_unconfirmed(consensus: Consensus) -> &'static str {
    match consensus {
        Consensus::Raft => "all nodes available again; waiting for the leader to confirm a quorum",
        Consensus::Bft => "all nodes available again; waiting for the orderers to follow one leader",
    }
}

/// Joins texts. `None`: there are none.
pub(crate) fn list(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
