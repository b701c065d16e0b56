//! Nodes that stand still: they answer, wait for what does not come, and only a new start helps.

use chainpool_agent::NodeName;
use chainpool_api::Evidence;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a node may stand still: one that was just started may only seem to.
const STUCK: Duration = Duration::from_secs(15);

/// Since when nodes have stood still. Who waits for them starts them anew.
#[derive(Debug, Default)]
pub struct Stuck(BTreeMap<String, Instant>);

impl Stuck {
    /// Those that have stood still for too long by now. They get the same time once more.
    pub fn overdue(&mut self, evidence: &Evidence, now: Instant) -> Vec<NodeName> {
        let stuck = |name: &String| evidence.nodes.get(name).is_some_and(|node| node.stuck);
        self.0.retain(|name, _| stuck(name));
        for name in evidence.nodes.keys().filter(|name| stuck(name)) {
            self.0.entry(name.clone()).or_insert(now);
        }
        let overdue = self.0.iter_mut().filter(|(_, since)| now - **since >= STUCK);
        let again = |(name, since): (&String, &mut Instant)| {
            *since = now;
            NodeName::parse(name).ok()
        };
        overdue.filter_map(again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::NodeEvidence;

    #[test]
    fn a_node_that_stands_still_gets_its_time_and_the_same_again_after_a_new_start() {
        let node = |name: &str| NodeName::parse(name).expect("a name");
        let seen = |stuck: [bool; 2]| Evidence {
            nodes: ["a", "b"]
                .into_iter()
                .zip(stuck)
                .map(|(name, stuck)| (name.to_owned(), NodeEvidence { stuck, ..NodeEvidence::default() }))
                .collect(),
            ..Evidence::default()
        };
        let (start, mut stuck) = (Instant::now(), Stuck::default());
        let mut at = |seconds, evidence: [bool; 2]| stuck.overdue(&seen(evidence), start + Duration::from_secs(seconds));
        assert_eq!(at(0, [true, true]), []);
        assert_eq!(at(10, [true, false]), []);
        assert_eq!(at(14, [true, true]), []);
        assert_eq!(at(15, [true, true]), [node("a")]);
        assert_eq!(at(16, [true, true]), []);
        assert_eq!(at(29, [true, true]), [node("b")]);
        assert_eq!(at(30, [true, false]), [node("a")]);
    }
}
