//! Repairs of a cluster since it was last healthy.

use crate::{Backoff, millis};
use chainpool_api::Timestamp;
use std::collections::BTreeSet;

/// Repairs since the cluster was last healthy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    at: Option<Timestamp>,
    nodes: BTreeSet<String>,
    /// The number of repairs limited to `nodes`.
    count: u32,
}

impl Repairs {
    /// Records a repair of these nodes.
    pub(super) fn note(&mut self, nodes: &BTreeSet<String>, now: Timestamp) {
        self.count = if nodes.is_subset(&self.nodes) {
            self.count.saturating_add(1)
        } else {
            1
        };
        self.nodes.extend(nodes.iter().cloned());
        self.at = Some(now);
    }

    /// Forgets the repairs but not the time of the last one: the cluster is healthy.
    pub(super) fn recovered(&mut self) {
        self.nodes.clear();
        self.count = 0;
    }

    /// `true` if a repair of these nodes is too soon. The interval doubles once several repairs of the same
    /// nodes had no success: a missing image does not appear within five seconds.
    pub(super) fn is_too_soon(&self, nodes: &BTreeSet<String>, policy: &Backoff, now: Timestamp) -> bool {
        let interval = if nodes.is_subset(&self.nodes) {
            policy.interval(self.count)
        } else {
            policy.initial
        };
        self.at.is_some_and(|at| now.millis_since(at) < millis(interval))
    }

    /// `true` if no repair counts.
    pub(super) fn is_clear(&self) -> bool {
        self.nodes.is_empty() && self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_without_success_are_retried_at_growing_intervals() {
        let (one, both): (BTreeSet<String>, BTreeSet<String>) =
            (["v1".into()].into(), ["v1".into(), "v2".into()].into());
        let policy = Backoff::default();
        let start = Timestamp(1_000_000);
        let mut repairs = Repairs::default();
        assert!(!repairs.is_too_soon(&one, &policy, start));
        (0..7).for_each(|_| repairs.note(&one, start));
        let too_soon = |repairs: &Repairs, nodes, millis| {
            repairs.is_too_soon(nodes, &policy, Timestamp(start.0 + millis))
        };
        assert!(too_soon(&repairs, &one, 9_999) && !too_soon(&repairs, &one, 10_000));
        assert!(too_soon(&repairs, &both, 4_999) && !too_soon(&repairs, &both, 5_000));
        repairs.note(&both, start);
        assert!(
            !too_soon(&repairs, &one, 5_000),
            "another node restarts the count"
        );
        (0..7).for_each(|_| repairs.note(&one, start));
        assert!(too_soon(&repairs, &one, 5_000));
        repairs.recovered();
        assert!(repairs.is_clear() && !too_soon(&repairs, &one, 5_000));
        assert!(
            too_soon(&repairs, &one, 4_999),
            "two repairs are never closer than this"
        );
    }
}
