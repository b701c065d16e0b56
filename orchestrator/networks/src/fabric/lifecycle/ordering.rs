//! Check that orderers participate in ordering.

use crate::{
    client::call::CallError,
    fabric::{
        client::{
            access::Access,
            metrics::{Metrics, OrdererStatus, leader},
        },
        health::messages,
        parameters::consensus::Consensus,
    },
};
use chainpool_agent::NodeName;
use futures::future::join_all;

/// Checks that the responsive ones of these orderers participate in a channel and have this many blocks.
pub(crate) async fn check_participation(
    access: &Access,
    channel: &str,
    nodes: &[&NodeName],
    height: u64,
) -> Result<(), CallError> {
    let ask = |node: &&NodeName| {
        let node = (*node).clone();
        async move {
            (Metrics::connect(access, &node).await.ok()?.statuses().await.ok())
                .map(|statuses| (node, statuses.get(channel).copied()))
        }
    };
    let answers: Vec<(NodeName, Option<OrdererStatus>)> = join_all(nodes.iter().map(ask))
        .await
        .into_iter()
        .flatten()
        .collect();
    check_statuses(access.model.parameters.consensus, &answers, nodes.len(), height)
}

/// Checks the reported statuses; `total` counts all orderers.
fn check_statuses(
    consensus: Consensus,
    answers: &[(NodeName, Option<OrdererStatus>)],
    total: usize,
    height: u64,
) -> Result<(), CallError> {
    if let Some((node, _)) = answers.iter().find(|(_, status)| status.is_none()) {
        return Err(CallError::Unavailable(format!(
            "{node} does not participate in ordering yet"
        )));
    }
    let statuses: Vec<(&NodeName, OrdererStatus)> = answers
        .iter()
        .filter_map(|(node, status)| Some((node, (*status)?)))
        .collect();
    let (_, leader) = leader(&statuses)
        .ok_or_else(|| CallError::Unavailable(format!("no {} leader yet", consensus.title())))?;
    let active = usize::try_from(leader.active).unwrap_or(usize::MAX);
    if total > 1 && active < answers.len().max(consensus.quorum(total)) {
        return Err(CallError::Unavailable(messages::following(
            consensus,
            active,
            &format!("{total} orderers"),
        )));
    }
    match answers
        .iter()
        .find(|(_, status)| status.is_some_and(|status| status.height + consensus.tolerated_lag() < height))
    {
        Some((node, _)) => Err(CallError::Unavailable(format!("{node} is still catching up"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_orderers_participate_when_the_leader_counts_all_responsive_ones() {
        let node = |n: usize| NodeName::parse(&format!("orderer{n}")).expect("a name");
        let status = |is_leader, active, height| {
            Some(OrdererStatus {
                is_leader,
                knows_leader: true,
                active,
                height,
                ..OrdererStatus::default()
            })
        };
        let assessed = |statuses: &[Option<OrdererStatus>], total| {
            let answers: Vec<_> = statuses
                .iter()
                .enumerate()
                .map(|(n, status)| (node(n), *status))
                .collect();
            check_statuses(Consensus::Raft, &answers, total, 7).map_err(|e| e.to_string())
        };
        let refused = |why: &str| Err(why.to_owned());
        // A single orderer counts no followers.
        assert_eq!(assessed(&[status(true, 0, 7)], 1), Ok(()));
        assert_eq!(assessed(&[status(false, 0, 7)], 1), refused("no Raft leader yet"));
        assert_eq!(
            assessed(&[status(true, 2, 7), None], 2),
            refused("orderer1 does not participate in ordering yet")
        );
        assert_eq!(
            assessed(&[status(true, 1, 7), status(false, 0, 7)], 2),
            refused("the leader reaches 1 of 2 orderers")
        );
        assert_eq!(
            assessed(&[status(true, 2, 8), status(false, 0, 6)], 2),
            refused("orderer1 is still catching up")
        );
        assert_eq!(assessed(&[status(true, 2, 8), status(false, 0, 7)], 2), Ok(()));
        // One of three failed earlier.
        assert_eq!(assessed(&[status(true, 2, 7), status(false, 0, 7)], 3), Ok(()));
        assert_eq!(
            assessed(&[status(true, 2, 7); 3], 3),
            refused("the leader reaches 2 of 3 orderers")
        );
        assert_eq!(assessed(&[], 3), refused("no Raft leader yet"));
    }

    #[test]
    fn bft_orderers_participate_when_all_responsive_ones_follow_one_leader() {
        let node = |n: u64| NodeName::parse(&format!("orderer{n}")).expect("a name");
        let assessed = |leader_id: &[u64]| {
            // It fetches the newest block with the next one.
            let status = |number, leader_id| OrdererStatus {
                is_leader: number == leader_id,
                knows_leader: true,
                height: 6,
                leader_id,
                ..OrdererStatus::default()
            };
            let answers: Vec<_> = leader_id
                .iter()
                .zip(1u64..)
                .map(|(leader_id, number)| (node(number), Some(status(number, *leader_id))))
                .collect();
            check_statuses(Consensus::Bft, &answers, 4, 7).map_err(|e| e.to_string())
        };
        let refused = |why: &str| Err(why.to_owned());
        assert_eq!(assessed(&[1, 1, 1, 1]), Ok(()));
        // One failed earlier.
        assert_eq!(assessed(&[1, 1, 1]), Ok(()));
        assert_eq!(assessed(&[1, 1]), refused("2 of 4 orderers follow the leader"));
        assert_eq!(
            assessed(&[1, 1, 1, 4]),
            refused("3 of 4 orderers follow the leader")
        );
        assert_eq!(assessed(&[4, 4, 4]), refused("no BFT leader yet"));
    }
}
