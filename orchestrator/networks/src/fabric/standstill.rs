//! Orderers of Fabric 2.5.0 that stand still for ever, as `members` tells why. Pure.
//!
//! One that starts while the others commit may do so too: it applies what took the orderers in from its log once more. It answers all the
//! same, and has heard of no leader since; or the leader does not hear it, and it gets no blocks. When so many stand still that
//! nobody leads any more, nothing tells them from the others, and all are suspected: what is started anew has heard of no leader, as one that
//! stands still, and nobody loses a leader by it.

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
pub(super) fn still<N: Copy>(
    consensus: Consensus,
    total: usize,
    newest: u64,
    parts: &[(N, Part)],
) -> Vec<(N, Still)> {
    let those = |still, is_one: &dyn Fn(&N, &Part) -> bool| {
        parts
            .iter()
            .filter(|(node, part)| is_one(node, part))
            .map(|(node, _)| (*node, still))
            .collect::<Vec<_>>()
    };
    if let Some((_, leader)) = leader(parts) {
        return those(Still::Apart, &|_, part| {
            is_apart(part, newest, &leader, parts.len())
        });
    }
    // By BFT a leader is given up when it is silent for long, and no orderer is known to stand still.
    if consensus == Consensus::Bft || parts.len() < consensus.quorum(total) {
        return vec![];
    }
    those(Still::Suspect, &|_, _| true)
}

/// It has not heard of the leader, or lacks blocks while the leader does not hear all that answer. By BFT no leader counts, and who lacks
/// blocks fetches them after a while.
fn is_apart(part: &Part, newest: u64, leader: &Part, answering: usize) -> bool {
    let misses_one =
        leader.active > 0 && usize::try_from(leader.active).is_ok_and(|active| active < answering);
    !part.heard || (part.follows == 0 && part.height < newest && misses_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderer_stands_still_that_hears_nothing_or_gets_no_blocks_unheard() {
        let part = |heard, height, follows| Part {
            heard,
            follows,
            height,
            ..Part::default()
        };
        let leader = |active| Part {
            leads: true,
            heard: true,
            active,
            height: 9,
            ..Part::default()
        };
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
    fn without_a_leader_all_are_suspected_unless_too_few_answer() {
        let part = |heard, height| Part {
            heard,
            height,
            ..Part::default()
        };
        let suspects = |consensus, total, parts: &[Part]| {
            let parts: Vec<(usize, Part)> = parts.iter().copied().enumerate().collect();
            let found = still(consensus, total, 9, &parts);
            assert!(found.iter().all(|(_, still)| *still == Still::Suspect));
            found.into_iter().map(|(node, _)| node).collect::<Vec<_>>()
        };
        let raft = Consensus::Raft;
        assert_eq!(
            suspects(raft, 3, &[part(true, 9), part(false, 9), part(false, 8)]),
            [0, 1, 2]
        );
        // The first was started anew in vain: it is the other that stands still.
        assert_eq!(suspects(raft, 2, &[part(false, 9), part(true, 9)]), [0, 1]);
        assert_eq!(suspects(raft, 1, &[part(false, 9)]), [0]);
        assert_eq!(suspects(raft, 3, &[part(false, 9)]), Vec::<usize>::new());
        assert_eq!(
            suspects(Consensus::Bft, 4, &[part(false, 9); 4]),
            Vec::<usize>::new()
        );
    }
}
