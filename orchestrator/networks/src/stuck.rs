//! Nodes that stand still: they answer, wait for what does not come, and only a new start helps. Or they answered, and do no more.

use chainpool_agent::NodeName;
use chainpool_api::Evidence;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// As many times as its limit a fault may last at most.
const LONGEST: u32 = 4;

/// What only a new start ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    StandsStill,
    /// It answered before.
    Silent,
}

impl Fault {
    /// How long it may last: one that was just started may only seem to stand still.
    fn limit(self) -> Duration {
        match self {
            Self::StandsStill => Duration::from_secs(15),
            Self::Silent => Duration::from_secs(30),
        }
    }
}

/// Since when nodes have had a fault. Who waits for them starts them anew.
#[derive(Debug, Default)]
pub struct Stuck {
    since: BTreeMap<String, (Fault, Instant)>,
    answered: BTreeSet<String>,
    starts: u32,
}

impl Stuck {
    /// Of nodes of which these have answered before.
    pub fn after(answered: BTreeSet<String>) -> Self {
        Self {
            answered,
            ..Self::default()
        }
    }

    /// Those that have stood still, or been silent, for too long by now, who shall be started anew. All get their time once more then, and
    /// more of it: they may wait for each other, and on a busy machine nothing comes of it when now the one and now the other is away.
    pub fn overdue(&mut self, evidence: &Evidence, now: Instant) -> Vec<NodeName> {
        self.answered.extend(
            evidence
                .nodes
                .iter()
                .filter(|(_, node)| node.answers)
                .map(|(name, _)| name.clone()),
        );
        let fault = |name: &String| match evidence.nodes.get(name)? {
            node if node.stuck => Some(Fault::StandsStill),
            node if !node.answers && self.answered.contains(name) => Some(Fault::Silent),
            _ => None,
        };
        let faults: BTreeMap<&String, Fault> = evidence
            .nodes
            .keys()
            .filter_map(|name| Some((name, fault(name)?)))
            .collect();
        self.since
            .retain(|name, (fault, _)| faults.get(name) == Some(fault));
        for (name, fault) in faults {
            self.since.entry(name.clone()).or_insert((fault, now));
        }
        let times = (self.starts + 1).min(LONGEST);
        let overdue = self
            .since
            .iter()
            .filter(|(_, (fault, since))| now - *since >= fault.limit() * times);
        let overdue: Vec<NodeName> = overdue
            .filter_map(|(name, _)| NodeName::parse(name).ok())
            .collect();
        if !overdue.is_empty() {
            self.starts += 1;
            self.since.values_mut().for_each(|(_, since)| *since = now);
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainpool_api::NodeEvidence;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("a name")
    }

    /// Each node stands still, answers, or neither.
    fn seen<const N: usize>(words: [&str; N]) -> Evidence {
        let told = |word: &str| NodeEvidence {
            stuck: word == "stands",
            answers: word == "answers",
            ..NodeEvidence::default()
        };
        let nodes = ["a", "b"]
            .into_iter()
            .zip(words)
            .map(|(name, word)| (name.to_owned(), told(word)));
        Evidence {
            nodes: nodes.collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn nodes_that_stand_still_get_their_time_and_more_after_each_new_start() {
        let (start, mut stuck) = (Instant::now(), Stuck::default());
        let mut at =
            |seconds, words: [&str; 2]| stuck.overdue(&seen(words), start + Duration::from_secs(seconds));
        assert_eq!(at(0, ["stands", "stands"]), []);
        assert_eq!(at(10, ["stands", "answers"]), []);
        assert_eq!(at(14, ["stands", "stands"]), []);
        assert_eq!(at(15, ["stands", "stands"]), [node("a")]);
        assert_eq!(
            at(30, ["stands", "stands"]),
            [],
            "b waited for a, which needs its time"
        );
        assert_eq!(at(45, ["stands", "stands"]), [node("a"), node("b")]);
        assert_eq!(at(80, ["stands", "answers"]), []);
        assert_eq!(at(90, ["stands", "stands"]), [node("a")]);
        assert_eq!(at(1000, ["stands", "answers"]), [node("a")]);
        assert_eq!(at(1059, ["stands", "answers"]), []);
        assert_eq!(
            at(1060, ["stands", "answers"]),
            [node("a")],
            "it does not grow for ever"
        );
    }

    #[test]
    fn only_nodes_that_have_answered_are_started_anew_for_their_silence() {
        let start = Instant::now();
        let after = |stuck: &mut Stuck, word, seconds| {
            stuck
                .overdue(&seen([word]), start + Duration::from_secs(seconds))
                .len()
        };
        let mut slow = Stuck::default();
        assert_eq!(
            [0, 29, 1000].map(|seconds| after(&mut slow, "silent", seconds)),
            [0, 0, 0],
            "it may take its time to start"
        );
        assert_eq!(
            [1001, 1002].map(|seconds| after(&mut slow, "answers", seconds)),
            [0, 0]
        );
        assert_eq!(
            [1003, 1032, 1033].map(|seconds| after(&mut slow, "silent", seconds)),
            [0, 0, 1]
        );
        let mut known = Stuck::after(["a".to_owned()].into());
        assert_eq!(
            [0, 29, 30].map(|seconds| after(&mut known, "silent", seconds)),
            [0, 0, 1]
        );
    }

    #[test]
    fn one_that_comes_back_and_stands_still_has_its_time_for_that() {
        let (start, mut stuck) = (Instant::now(), Stuck::after(["a".to_owned()].into()));
        let mut at = |seconds, word: &str| {
            stuck
                .overdue(&seen([word]), start + Duration::from_secs(seconds))
                .len()
        };
        assert_eq!(
            [
                at(0, "silent"),
                at(20, "stands"),
                at(34, "stands"),
                at(35, "stands")
            ],
            [0, 0, 0, 1]
        );
    }
}
