//! Orderers of Fabric 2.5.0 that stand still for ever, as `members` tells why. Pure.
//!
//! One that starts while the others commit may do so too: it applies what took the orderers in from its log once more. It answers all the
//! same, and has heard of no leader since; or the leader does not hear it, and it gets no blocks. When so many stand still that
//! nobody leads any more, nothing tells them from the others: then those are suspected that have heard of no leader since they were started,
//! else all but the one that is furthest, because the others can elect one among them.

use super::{
    consensus::Consensus,
    metrics::{Part, leader},
};

/// What is wrong with an orderer that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Still {
    /// It takes no part although there is a leader.
    Apart,
    /// Nobody leads, and it may be the reason. An election is over long before anybody starts it anew for that.
    Suspect,
}

/// Who stands still on a channel, of the orderers that answer; so many are there in all, and the newest block known has this height.
pub(super) fn still<N: Copy + Ord>(consensus: Consensus, total: usize, newest: u64, parts: &[(N, Part)]) -> Vec<(N, Still)> {
    let those = |still, is_one: &dyn Fn(&N, &Part) -> bool| {
        parts.iter().filter(|(node, part)| is_one(node, part)).map(|(node, _)| (*node, still)).collect::<Vec<_>>()
    };
    if let Some((_, leader)) = leader(parts) {
        return those(Still::Apart, &|_, part| is_apart(part, newest, &leader, parts.len()));
    }
    // By BFT a leader is given up when it is silent for long, and no orderer is known to stand still.
    if consensus == Consensus::Bft || parts.len() < consensus.quorum(total) {
        return vec![];
    }
    let unheard = those(Still::Suspect, &|_, part| !part.heard);
    let furthest = parts.iter().max_by_key(|(node, part)| (part.height, *node)).map(|(node, _)| *node);
    if unheard.is_empty() { those(Still::Suspect, &|node, _| Some(*node) != furthest) } else { unheard }
}

/// It has not heard of the leader, or lacks blocks while the leader does not hear all that answer. By BFT no leader counts, and who lacks
/// blocks fetches them after a while.
fn is_apart(part: &Part, newest: u64, leader: &Part, answering: usize) -> bool {
    let misses_one = leader.active > 0 && usize::try_from(leader.active).is_ok_and(|active| active < answering);
    !part.heard || (part.follows == 0 && part.height < newest && misses_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderer_stands_still_that_hears_nothing_or_gets_no_blocks_unheard() {
        let part = |heard, height, follows| Part { leads: false, heard, active: 0, follows, height };
        let leader = |active| Part { leads: true, heard: true, active, follows: 0, height: 9 };
        for (own, active, expected) in [
            (part(true, 9, 0), 3, false),
            (part(false, 9, 0), 3, true),
            // It catches up.
            (part(true, 7, 0), 3, false),
            (part(true, 7, 0), 2, true),
            // Nobody writes: who it is that the leader does not hear is not known.
            (part(true, 9, 0), 2, false),
            // The leader has yet to count.
            (part(true, 7, 0), 0, false),
            (part(true, 7, 2), 2, false),
        ] {
            let parts = [(0, leader(active)), (1, own), (2, part(true, 9, 0))];
            let expected = if expected { vec![(1, Still::Apart)] } else { vec![] };
            assert_eq!(still(Consensus::Raft, 3, 9, &parts), expected, "{own:?} {active}");
        }
    }

    #[test]
    fn without_a_leader_those_are_suspected_who_keep_the_others_from_electing_one() {
        let part = |heard, height| Part { leads: false, heard, active: 0, follows: 0, height };
        let suspects = |consensus, total, parts: &[Part]| {
            let parts: Vec<(usize, Part)> = parts.iter().copied().enumerate().collect();
            let found = still(consensus, total, 9, &parts);
            assert!(found.iter().all(|(_, still)| *still == Still::Suspect));
            found.into_iter().map(|(node, _)| node).collect::<Vec<_>>()
        };
        let raft = Consensus::Raft;
        assert_eq!(suspects(raft, 3, &[part(true, 9), part(false, 9), part(false, 8)]), [1, 2]);
        assert_eq!(suspects(raft, 3, &[part(true, 8), part(true, 9), part(true, 8)]), [0, 2]);
        assert_eq!(suspects(raft, 1, &[part(false, 9)]), [0]);
        assert_eq!(suspects(raft, 1, &[part(true, 9)]), Vec::<usize>::new());
        // Too few answer: that is why nobody leads.
        assert_eq!(suspects(raft, 3, &[part(false, 9)]), Vec::<usize>::new());
        assert_eq!(suspects(Consensus::Bft, 4, &[part(false, 9); 4]), Vec::<usize>::new());
    }
}
