//! Detects permanently stalled orderers of Fabric 2.5.0; `lifecycle::members` explains the cause. Pure.
//!
//! An orderer that starts while the others commit may stall too, because it re-applies the consenter changes
//! from its log. It still answers, but either it knows no leader, or the leader does not reach it and it gets
//! no blocks. If there is no leader because of them, they cannot be distinguished from the others, so all
//! are suspected. Restarting a healthy one does no harm then: there is no leader to lose.

use crate::fabric::{
    client::metrics::{OrdererStatus, leader},
    parameters::consensus::Consensus,
};

/// Fault of a responsive orderer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// It does not participate although there is a leader.
    NotParticipating,
    /// There is no leader, and it may be the reason. An election ends long before a restart for this fault.
    Suspected,
}

/// Stalled orderers of a channel among the responsive ones; `total` counts all orderers, `newest` is the
/// known height.
pub(crate) fn stalled_orderers<N: Copy>(
    consensus: Consensus,
    total: usize,
    newest: u64,
    statuses: &[(N, OrdererStatus)],
) -> Vec<(N, Stall)> {
    let select = |stall, is_one: &dyn Fn(&N, &OrdererStatus) -> bool| {
        statuses
            .iter()
            .filter(|(node, status)| is_one(node, status))
            .map(|(node, _)| (*node, stall))
            .collect::<Vec<_>>()
    };
    if let Some((_, leader)) = leader(statuses) {
        return select(Stall::NotParticipating, &|_, status| {
            is_not_participating(status, newest, &leader, statuses.len())
        });
    }
    // BFT replaces an unresponsive leader, and its orderers are not known to stall.
    if consensus == Consensus::Bft || statuses.len() < consensus.quorum(total) {
        return vec![];
    }
    select(Stall::Suspected, &|_, _| true)
}

/// It knows no leader, or it lacks blocks while the leader does not reach all responsive orderers. A BFT
/// orderer that lacks blocks fetches them after a while.
fn is_not_participating(
    status: &OrdererStatus,
    newest: u64,
    leader: &OrdererStatus,
    answering: usize,
) -> bool {
    let misses_one =
        leader.active > 0 && usize::try_from(leader.active).is_ok_and(|active| active < answering);
    !status.knows_leader || (status.leader_id == 0 && status.height < newest && misses_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderer_without_leader_or_blocks_is_stalled() {
        let status = |knows_leader, height, leader_id| OrdererStatus {
            knows_leader,
            leader_id,
            height,
            ..OrdererStatus::default()
        };
        let leader = |active| OrdererStatus {
            is_leader: true,
            knows_leader: true,
            active,
            height: 9,
            ..OrdererStatus::default()
        };
        for (own, active, expected) in [
            (status(true, 9, 0), 3, false),
            (status(false, 9, 0), 3, true),
            // It is catching up.
            (status(true, 7, 0), 3, false),
            (status(true, 7, 0), 2, true),
            // The channel is idle: the orderer that the leader does not reach is unknown.
            (status(true, 9, 0), 2, false),
            // The leader has not counted its followers yet.
            (status(true, 7, 0), 0, false),
            (status(true, 7, 2), 2, false),
        ] {
            let statuses = [(0, leader(active)), (1, own), (2, status(true, 9, 0))];
            let expected = if expected {
                vec![(1, Stall::NotParticipating)]
            } else {
                vec![]
            };
            assert_eq!(
                stalled_orderers(Consensus::Raft, 3, 9, &statuses),
                expected,
                "{own:?} {active}"
            );
        }
    }

    #[test]
    fn without_a_leader_all_are_suspected_unless_too_few_answer() {
        let status = |knows_leader, height| OrdererStatus {
            knows_leader,
            height,
            ..OrdererStatus::default()
        };
        let suspects = |consensus, total, statuses: &[OrdererStatus]| {
            let statuses: Vec<(usize, OrdererStatus)> = statuses.iter().copied().enumerate().collect();
            let found = stalled_orderers(consensus, total, 9, &statuses);
            assert!(found.iter().all(|(_, stall)| *stall == Stall::Suspected));
            found.into_iter().map(|(node, _)| node).collect::<Vec<_>>()
        };
        let raft = Consensus::Raft;
        assert_eq!(
            suspects(raft, 3, &[status(true, 9), status(false, 9), status(false, 8)]),
            [0, 1, 2]
        );
        // Restarting the first did not help: the other one is stalled.
        assert_eq!(suspects(raft, 2, &[status(false, 9), status(true, 9)]), [0, 1]);
        assert_eq!(suspects(raft, 1, &[status(false, 9)]), [0]);
        assert_eq!(suspects(raft, 3, &[status(false, 9)]), Vec::<usize>::new());
        assert_eq!(
            suspects(Consensus::Bft, 4, &[status(false, 9); 4]),
            Vec::<usize>::new()
        );
    }
}
