//! Words of verdicts.

use super::consensus::Consensus;
use chainpool_api::NodeEvidence;

/// A node that does not answer, and what is known of it.
pub(super) fn node(name: &str, node: &NodeEvidence) -> String {
    match node.process.as_str() {
        "running" if node.stuck => format!("{name} runs and stands still"),
        "running" => format!("{name} runs and does not answer"),
        process => format!("{name} {process}"),
    }
}

/// A peer that answers and can do nothing; the words that it has for it change from one look to the next.
pub(super) fn unable(name: &str, why: &str) -> String {
    if why.starts_with(UNTOLD) {
        format!("{name} does not tell whether it has its state database")
    } else {
        format!("{name} has no state database")
    }
}

/// How the reason begins where a peer does not tell whether it can do its part.
pub(super) const UNTOLD: &str = "its health is not told";

/// How many more orderers may be lost.
pub(super) fn margin(consensus: Consensus, answering: usize, total: usize) -> String {
    match answering.saturating_sub(consensus.quorum(total)) {
        0 if total == 1 => "its only orderer must not be lost".to_owned(),
        0 => "can lose no more orderer".to_owned(),
        1 => "can lose 1 more orderer".to_owned(),
        more => format!("can lose {more} more orderers"),
    }
}

/// What is lost with too many orderers.
pub(super) fn unordered(consensus: Consensus) -> &'static str {
    match consensus {
        Consensus::Raft => "no Raft leader",
        Consensus::Bft => "no BFT quorum",
    }
}

/// So many of those orderers that are there are with the leader.
pub(super) fn heard(consensus: Consensus, heard: impl std::fmt::Display, of: &str) -> String {
    match consensus {
        Consensus::Raft => format!("the leader hears {heard} of {of}"),
        Consensus::Bft => format!("{heard} of {of} follow the leader"),
    }
}

/// A leader has too few with it.
pub(super) fn unheard(consensus: Consensus, leader: &str, channel: &str) -> String {
    match consensus {
        Consensus::Raft => {
            format!("{leader} leads channel {channel} and hears too few of the other orderers")
        }
        Consensus::Bft => {
            format!("{leader} leads channel {channel} and too few of the other orderers follow it")
        }
    }
}

/// All are there again, which is not enough yet.
pub(super) fn uncounted(consensus: Consensus) -> &'static str {
    match consensus {
        Consensus::Raft => "all nodes take part again; the leader has yet to count them",
        Consensus::Bft => "all nodes take part again; the orderers have yet to follow one leader",
    }
}

/// Texts one after the other. `None`: there is none.
pub(super) fn list(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
