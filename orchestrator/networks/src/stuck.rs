//! Nodes that stand still: they answer, wait for what does not come, and only a new start helps.

use chainpool_agent::NodeName;
use chainpool_api::Evidence;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a node may stand still: one that was just started may only seem to.
const STUCK: Duration = Duration::from_secs(15);
/// How long one that answered before may be silent.
const SILENT: Duration = Duration::from_secs(30);
/// As many times that is it at most.
const LONGEST: u32 = 4;

/// Since when nodes have stood still. Who waits for them starts them anew.
#[derive(Debug, Default)]
pub struct Stuck {
    since: BTreeMap<String, Instant>,
    starts: u32,
    have_answered: bool,
}

impl Stuck {
    /// For nodes that have all answered before: those that do not answer any more are waited for in vain too.
    pub fn or_silent() -> Self {
        Self { have_answered: true, ..Self::default() }
    }

    /// Those that have stood still for too long by now, who shall be started anew. All get their time once more then, and more of it: they
    /// may wait for each other, and on a busy machine nothing comes of it when now the one and now the other is away.
    pub fn overdue(&mut self, evidence: &Evidence, now: Instant) -> Vec<NodeName> {
        let limit = |name: &String| match evidence.nodes.get(name)? {
            node if node.stuck => Some(STUCK),
            // One that was never made has nothing to be started.
            node if self.have_answered && !node.answers && node.process != "absent" => Some(SILENT),
            _ => None,
        };
        let limits: BTreeMap<&String, Duration> = evidence.nodes.keys().filter_map(|name| Some((name, limit(name)?))).collect();
        self.since.retain(|name, _| limits.contains_key(name));
        for name in limits.keys() {
            self.since.entry((*name).clone()).or_insert(now);
        }
        let times = (self.starts + 1).min(LONGEST);
        let overdue = self.since.iter().filter(|(name, since)| limits.get(name).is_some_and(|limit| now - **since >= *limit * times));
        let overdue: Vec<NodeName> = overdue.filter_map(|(name, _)| NodeName::parse(name).ok()).collect();
        if !overdue.is_empty() {
            self.starts += 1;
            self.since.values_mut().for_each(|since| *since = now);
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::NodeEvidence;

    #[test]
    fn nodes_that_stand_still_get_their_time_and_more_after_each_new_start() {
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
        assert_eq!(at(30, [true, true]), [], "b waited for a, which needs its time");
        assert_eq!(at(45, [true, true]), [node("a"), node("b")]);
        assert_eq!(at(80, [true, false]), []);
        assert_eq!(at(90, [true, true]), [node("a")]);
        assert_eq!(at(1000, [true, false]), [node("a")]);
        assert_eq!(at(1059, [true, false]), []);
        assert_eq!(at(1060, [true, false]), [node("a")], "it does not grow for ever");
    }

    #[test]
    fn nodes_that_have_answered_before_are_started_anew_when_they_are_silent_for_long() {
        let seen = |process: &str| {
            let node = NodeEvidence { process: process.to_owned(), ..NodeEvidence::default() };
            Evidence { nodes: BTreeMap::from([("a".to_owned(), node)]), ..Evidence::default() }
        };
        let start = Instant::now();
        let after = |stuck: &mut Stuck, process, seconds| stuck.overdue(&seen(process), start + Duration::from_secs(seconds)).len();
        for (mut stuck, process, expected) in
            [(Stuck::or_silent(), "paused", 1), (Stuck::or_silent(), "absent", 0), (Stuck::default(), "running", 0)]
        {
            assert_eq!([0, 29, 30].map(|seconds| after(&mut stuck, process, seconds)), [0, 0, expected], "{process}");
        }
    }
}
