//! Clients that exhaust a ledger's connections.

use chainpool_api::{Evidence, HealthState, NodeEvidence};
use std::collections::BTreeSet;

/// Returns `true` if the only problem of a ledger is that clients have exhausted the connections of its user
/// port. Nothing is done then: they would do the same to another ledger and to restarted nodes.
pub fn is_client_saturated(verdict: HealthState, evidence: &Evidence, stopped: &BTreeSet<String>) -> bool {
    let participates = |node: &NodeEvidence| {
        node.answers && node.unable.is_none() && !node.stuck && node.catching_up != Some(true)
    };
    let wanted = || {
        evidence
            .nodes
            .iter()
            .filter(|(name, _)| !stopped.contains(*name))
            .map(|(_, node)| node)
    };
    let connected = evidence.power.is_none_or(|(part, all)| part == all);
    verdict == HealthState::Degraded
        && connected
        && wanted().all(participates)
        && wanted().any(|node| node.closed_to_users.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::ProcessState;

    #[test]
    fn a_ledger_is_client_saturated_when_it_has_no_other_problem() {
        let closed = || NodeEvidence {
            process: ProcessState::Running,
            answers: true,
            closed_to_users: Some("no answer within 2 s".into()),
            ..NodeEvidence::default()
        };
        let crowded = |verdict: HealthState, nodes: Vec<NodeEvidence>, power: Option<(u64, u64)>| {
            let nodes = nodes
                .into_iter()
                .enumerate()
                .map(|(at, node)| (format!("v{at}"), node))
                .collect();
            is_client_saturated(
                verdict,
                &Evidence {
                    nodes,
                    power,
                    ..Evidence::default()
                },
                &BTreeSet::from(["v9".to_owned()]),
            )
        };
        let open = || NodeEvidence {
            closed_to_users: None,
            ..closed()
        };
        assert!(crowded(
            HealthState::Degraded,
            vec![closed(), open()],
            Some((2, 2))
        ));
        assert!(
            !crowded(HealthState::Degraded, vec![open(), open()], None),
            "no port is closed"
        );
        assert!(
            !crowded(HealthState::Broken, vec![closed(), closed()], None),
            "no new blocks"
        );
        assert!(
            !crowded(HealthState::Degraded, vec![closed(), open()], Some((1, 2))),
            "a partition"
        );
        let dead = NodeEvidence {
            process: ProcessState::Exited(137),
            ..NodeEvidence::default()
        };
        assert!(!crowded(HealthState::Degraded, vec![closed(), dead], None));
        let behind = NodeEvidence {
            catching_up: Some(true),
            ..open()
        };
        assert!(!crowded(HealthState::Degraded, vec![closed(), behind], None));
    }
}
